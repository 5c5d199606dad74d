"""A saved run as a folder of plain pages: no server, no network, no build step.

    index.html           one row per trajectory
    pages/<n>.html       trajectory n of the file, from 1
    images/<sha256>.png  the pictures of the run

Every page holds its own style and script and a policy that lets the browser run exactly those two (by hash) and load
nothing but pictures beside the page, so that even text that slipped through the escaping could do nothing.
"""

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from foveal.records import IMAGES, Run, read_run
from foveal.trajectory import Trajectory
from foveal.view import index, page
from foveal.view.html import Html, tag
from foveal.view.page import Pictures

PAGES = "pages"


class Place(NamedTuple):
    """Where the pages of a run go."""

    folder: Path
    pictures: str = IMAGES
    """Address of the folder of pictures, from there; several runs may share one."""
    up: str | None = None
    """Address of the page above them, from there."""


def render_run(folder: Path, out: Path | None = None) -> Path:
    """Write the pages of a saved run.

    Args:
        folder: The run.
        out: Where the pages go, with a copy of the pictures; None writes them into the run itself.

    Returns:
        The path of `index.html`.

    Raises:
        RecordError: `folder` holds no run.
    """
    return write_pages(folder, read_run(folder), folder.resolve().name, Place(folder if out is None else out))


def write_pages(folder: Path, run: Run, name: str, place: Place) -> Path:
    """Write the pages of a run that is read already.

    Args:
        folder: The run.
        run: What `read_run` made of it.
        name: What the pages call it.
        place: Where they go; the pictures that are not there yet are copied.

    Returns:
        The path of `index.html`.
    """
    target, shown = place.folder, place.folder / place.pictures
    (target / PAGES).mkdir(parents=True, exist_ok=True)
    if shown.resolve() != (folder / IMAGES).resolve():
        copy_pictures(folder / IMAGES, shown, run.trajectories)
    last = len(run.trajectories)
    for number, trajectory in enumerate(run.trajectories, start=1):
        content = page.body(trajectory, Pictures(shown, f"../{place.pictures}"))
        bar = _bar(name, number, last)
        written = document(f"{number} · {trajectory.question.text}", "page", bar, tag("main", content))
        (target / PAGES / f"{number}.html").write_text(written, encoding="utf-8")
    content = index.body(name, run.trajectories, run.problems, Pictures(shown, place.pictures))
    above = tag("nav", tag("a", "← all runs", href=place.up, class_="home")) if place.up is not None else None
    first = target / "index.html"
    first.write_text(document(name, "index", *filter(None, [above]), tag("main", content)), encoding="utf-8")
    return first


def copy_pictures(source: Path, target: Path, trajectories: Iterable[Trajectory]) -> None:
    """Put the pictures of trajectories into another folder, by links where the disk has them: their content names them.

    A picture that is missing is left out, and named on the pages.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name in sorted({f"{ref.sha256}.png" for trajectory in trajectories for ref in trajectory.refs}):
        if (target / name).exists() or not (source / name).is_file():
            continue
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)


def _bar(run: str, number: int, last: int) -> Html:
    def step(words: str, to: int, key: str) -> Html:
        there = 1 <= to <= last
        return tag("a", words, href=f"{to}.html" if there else None, rel=key, aria_disabled=None if there else "true")

    back = tag("a", f"← {run}", href="../index.html", class_="home")
    keys = tag("span", tag("kbd", "j"), " ", tag("kbd", "k"), " turns", class_="keys dim")
    place = tag("span", f"{number} of {last}", class_="dim")
    return tag("nav", back, keys, place, step("previous", number - 1, "prev"), step("next", number + 1, "next"))


def document(title: str, kind: str, *content: Html, script: bool = True) -> Html:
    """A whole page in one file, with the style, and a policy that lets it load nothing but pictures beside it.

    Args:
        title: Of the window.
        kind: Class of the body, for the style.
        content: What the body holds.
        script: Add the script of the pages of a run; without it the page can run none.
    """
    style, code = _shipped("style.css"), [_shipped("view.js")] if script else []
    allowed = f"; script-src 'sha256-{code[0].hash}'" if code else ""
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; "
        f"style-src 'sha256-{style.hash}'{allowed}"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", style.text),
    )
    body = tag("body", *content, *(tag("script", one.text) for one in code), class_=kind)
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


class _Shipped(NamedTuple):
    """A file of this package."""

    text: Html
    hash: str
    """As a content security policy names it."""


@cache
def _shipped(name: str) -> _Shipped:
    """Read once for all pages."""
    text = files("foveal.view").joinpath(name).read_text(encoding="utf-8")
    return _Shipped(Html(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())
