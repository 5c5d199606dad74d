"""Writes the page of benchmark runs, and the pages of their answers, into one folder that opens from disk.

index.html                     this page; it runs no script
pages/<n>-<benchmark>/<mode>/  every answer, as `foveal view` writes them
pages/<n>-<benchmark>/images/  the pictures of all modes
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from foveal.bench.figures import draw
from foveal.bench.pages.gallery import failures, gallery
from foveal.bench.pages.scores import score_table
from foveal.bench.pages.shown import Shown, policy_words, section
from foveal.bench.pages.tools import cost_table, flips, gain_table, key_of_kinds, use_panels
from foveal.bench.report import facts, notes
from foveal.bench.words import ASKED
from foveal.errors import InputError
from foveal.records import FILE, IMAGES, read_run
from foveal.view.html import Html, join, tag
from foveal.view.page import Pictures
from foveal.view.site import PAGES, Place, document, write_pages
from foveal.view.words import count

PAGE = "index.html"


def write_page(folders: Sequence[Path], out: Path) -> Path:
    """Write the page of benchmark runs.

    Args:
        folders: One run or more; models stand beside each other, in this order.
        out: Folder of the page, made here. Pages that it holds are replaced.

    Returns:
        The path of the page.

    Raises:
        RecordError: A folder holds no benchmark run, or it cannot be read.
        InputError: The page cannot be written.
    """
    shown = read(folders)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for one in shown:
            _write_answers(one, out)
        page = out / PAGE
        page.write_text(document(_title(shown), "report evaluation", body(shown, out), script=False), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", "name another folder: --page DIR") from error
    return page


def read(folders: Sequence[Path]) -> list[Shown]:
    """The runs with their figures and answers.

    Raises:
        RecordError: A folder holds no benchmark run, or it cannot be read.
    """
    found, known = [], Counter[tuple[str, str]]()
    for number, folder in enumerate(folders, start=1):
        drawn = draw(folder)
        header = drawn.header
        known[header.benchmark, header.policy] += 1
        again = known[header.benchmark, header.policy]
        model = policy_words(header.policy) + (f" ({again})" if again > 1 else "")
        runs = {mode: read_run(folder / mode) for mode in header.modes if (folder / mode / FILE).exists()}
        found.append(Shown(folder, f"{PAGES}/{number}-{_slug(header.benchmark)}", drawn, runs, model))
    return found


def body(shown: Sequence[Shown], out: Path) -> Html:
    """Everything on the page.

    Args:
        shown: The runs.
        out: Folder of the page; the pages of the runs are there.
    """
    pictures = {one.place: Pictures(out / one.place / IMAGES, f"{one.place}/{IMAGES}") for one in shown}
    panels = list(use_panels(shown))
    return tag(
        "main",
        _top(shown),
        section(
            "Scores",
            score_table(shown),
            words="With 95 % intervals, drawn on a line from 0 to 100 %. Every score opens its answers.",
        ),
        section(
            "What tools add",
            gain_table(shown),
            flips(shown),
            words="The same questions, asked of the same weights, in points. Adaptiveness: how much more often a tool "
            "is called where the model is wrong without one.",
        ),
        section("Ways of asking, and what a question costs", cost_table(shown)),
        section("Tool use by family of questions", *([key_of_kinds(), *panels] if panels else [])),
        section("Wrong answers, by how they ended", gallery(shown, pictures)),
        section(
            "Attempts that are no answers",
            failures(shown),
            words="The endpoint, the sandbox or a search failed. They are not counted, and asked again by the same "
            "command.",
        ),
        section("What the scores depend on", *(_facts(one, open_it=len(shown) == 1) for one in shown)),
    )


def _write_answers(one: Shown, out: Path) -> None:
    for mode, run in one.runs.items():
        name = f"{one.drawn.header.title} · {one.model} · {ASKED.get(mode, mode)}"
        write_pages(one.folder / mode, run, name, Place(out / one.place / mode, f"../{IMAGES}", f"../../../{PAGE}"))


def _title(shown: Sequence[Shown]) -> str:
    titles = list(dict.fromkeys(one.drawn.header.title for one in shown))
    models = list(dict.fromkeys(policy_words(one.drawn.header.policy) for one in shown))
    first = titles[0] if len(titles) == 1 else count(len(titles), "benchmark")
    return f"{first}: {models[0] if len(models) == 1 else count(len(models), 'model')}"


def _top(shown: Sequence[Shown]) -> Html:
    answers = sum(len(run.trajectories) for one in shown for run in one.runs.values())
    totals = [
        ("benchmarks", len({one.drawn.header.benchmark for one in shown})),
        ("models", len({one.drawn.header.policy for one in shown})),
        ("runs", len(shown)),
        ("answers", answers),
    ]
    numbers = [tag("div", tag("dt", words), tag("dd", f"{number:,}")) for words, number in totals]
    eyebrow, title = tag("p", "evaluation", class_="eyebrow"), tag("h1", _title(shown))
    return tag("header", eyebrow, title, tag("dl", *numbers, class_="totals"), class_="run")


def _facts(one: Shown, open_it: bool) -> Html:
    header = one.drawn.header
    said = [tag("p", note, class_="dim") for note in notes(one.drawn)]
    if one.benchmark is not None:
        said.append(tag("p", f"The paper's figure: {one.benchmark.paper}", class_="dim"))
    known = [tag("div", tag("dt", what), tag("dd", text)) for what, text in facts(header)]
    summary = tag("summary", f"{header.title} · {one.model}")
    return tag("details", summary, tag("dl", *known, class_="facts"), join(said), class_="depends", open=open_it)


def _slug(name: str) -> str:
    """A name as part of a path."""
    return "".join(character if character.isascii() and character.isalnum() else "-" for character in name)[:40]
