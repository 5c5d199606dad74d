"""The page of one trajectory: question and outcome on top, then every turn with all that it wrote and got back."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from foveal.trajectory import CellResult, ImagePart, ImageRef, Observation, SearchHit, TextPart, Trajectory, Turn
from foveal.view.code import highlight
from foveal.view.crops import Box, CropReader
from foveal.view.html import Html, join, tag
from foveal.view.outcome import glyph, outcome, stop_text, strip
from foveal.view.words import count, pieces, seconds

LONG_LINES = 40
LONG_CHARACTERS = 3000
"""Longer outputs are folded; all of the text is on the page."""


class Pictures:
    """Writes the pictures of one run; a picture whose file is missing is named instead of drawn."""

    def __init__(self, folder: Path, address: str):
        self._folder = folder
        self._address = address

    def figure(self, ref: ImageRef, caption: str, boxes: Sequence[tuple[Box, str]] = (), lazy: bool = True) -> Html:
        """A picture with its caption and size, boxes drawn over it; a click shows it in full.

        Args:
            ref: The picture.
            caption: Words under it.
            boxes: Boxes in the picture's pixels, each with its label.
            lazy: Load it only when it comes near the screen.
        """
        words = tag("figcaption", tag("b", caption), f" {ref.width} × {ref.height}")
        image = self._image(ref, caption, lazy)
        if image is None:
            missing = tag("p", f"{ref.sha256[:12]}… is missing from the images folder", class_="missing")
            return tag("figure", missing, words)
        frame = tag("a", image, _overlay(ref, boxes), class_="zoom", href=f"{self._address}/{ref.sha256}.png")
        return tag("figure", frame, words)

    def thumbnail(self, ref: ImageRef) -> Html | None:
        """The bare picture; None if its file is missing."""
        return self._image(ref, "", lazy=True)

    def _image(self, ref: ImageRef, alt: str, lazy: bool) -> Html | None:
        file = f"{ref.sha256}.png"
        if not (self._folder / file).is_file():
            return None
        loading = "lazy" if lazy else None
        return tag("img", src=f"{self._address}/{file}", alt=alt, width=ref.width, height=ref.height, loading=loading)


def _overlay(ref: ImageRef, boxes: Sequence[tuple[Box, str]]) -> Html | None:
    if not boxes:
        return None
    size = max(ref.width, ref.height) / 28
    drawn = []
    for box, label in boxes:
        left, top = max(box.left, 0), max(box.top, 0)
        width, height = min(box.right, ref.width) - left, min(box.bottom, ref.height) - top
        if width <= 0 or height <= 0:
            continue  # nothing of the box lies on the picture
        for layer in ("halo", "line"):
            drawn.append(tag("rect", class_=layer, x=left, y=top, width=width, height=height))
        above = top - size * 0.3 if top > size * 1.3 else top + size
        drawn.append(tag("text", label, x=left + size * 0.15, y=above, font_size=size))
    return tag("svg", *drawn, viewBox=f"0 0 {ref.width} {ref.height}", aria_hidden="true") if drawn else None


def body(trajectory: Trajectory, pictures: Pictures) -> Html:
    """Everything between the navigation and the end of the page."""
    inputs = _inputs(trajectory)
    reader = CropReader(len(inputs))
    crops = [_crops(reader, turn) for turn in trajectory.turns]
    turns = [
        _turn(number, turn, boxes, inputs, pictures, is_last=number == len(trajectory.turns))
        for number, (turn, boxes) in enumerate(zip(trajectory.turns, crops, strict=True), start=1)
    ]
    return join([_top(trajectory, inputs, crops, pictures), *turns, _rest(trajectory)])


def _inputs(trajectory: Trajectory) -> tuple[ImageRef, ...]:
    """The pictures of the question as model and sandbox had them: a huge one was scaled down first."""
    prompted = tuple(ref for message in trajectory.prompt for ref in message.images)
    return prompted or trajectory.question.images


def _crops(reader: CropReader, turn: Turn) -> list[Box]:
    code = turn.call.arguments.get("code") if turn.call and turn.call.tool == "code" else None
    return reader.read(code) if isinstance(code, str) else []


def _top(
    trajectory: Trajectory, inputs: Sequence[ImageRef], crops: Sequence[Sequence[Box]], pictures: Pictures
) -> Html:
    question = trajectory.question
    figures = []
    for n, ref in enumerate(inputs, start=1):
        boxes = [(box, f"turn {t}") for t, found in enumerate(crops, start=1) for box in found if box.image == n]
        figures.append(pictures.figure(ref, f"image_{n}", boxes, lazy=False))
    verdict = outcome(trajectory)
    answer = trajectory.answer if trajectory.answer is not None else "no answer"
    facts = [
        _fact(
            "answer", tag("span", answer, class_=f"value {verdict}"), tag("span", verdict, class_=f"badge {verdict}")
        ),
        _fact("gold", tag("span", " · ".join(question.gold), class_="value")) if question.gold else None,
        _fact("reward", *(_chip(name, f"{value:g}") for name, value in trajectory.reward.items()))
        if trajectory.reward
        else None,
        _fact("unscored", tag("span", trajectory.unscored)) if trajectory.unscored else None,
        _fact("stopped", tag("span", stop_text(trajectory.stop_reason))),
        _fact("steps", strip(trajectory), tag("span", _spent(trajectory), class_="dim")),
        _fact("policy", tag("span", f"{trajectory.policy} · profile {trajectory.profile}")),
    ]
    error = tag("p", trajectory.error, class_="problem") if trajectory.error else None
    family = tag("p", question.family, class_="eyebrow") if question.family else None
    text = tag("div", family, tag("h1", question.text), error, tag("dl", *facts), class_="facts")
    return tag("header", tag("div", *figures, class_="pictures") if figures else None, text, class_="top")


def _fact(name: str, *values: str | None) -> Html:
    return tag("div", tag("dt", name), tag("dd", *values))


def _chip(name: str, value: str) -> Html:
    return tag("span", name, " ", tag("b", value), class_="chip")


def _spent(trajectory: Trajectory) -> str:
    written = [turn.completion_tokens for turn in trajectory.turns if turn.completion_tokens is not None]
    parts = [count(len(trajectory.turns), "turn"), seconds(trajectory.seconds)]
    return " · ".join([*parts, f"{sum(written):,} tokens written"] if written else parts)


def _turn(
    number: int, turn: Turn, boxes: Sequence[Box], inputs: Sequence[ImageRef], pictures: Pictures, is_last: bool
) -> Html:
    kind = glyph(turn)
    title = tag("a", f"Turn {number}", href=f"#turn-{number}", class_="anchor")
    mark = tag("span", kind.letter, class_=f"glyph {kind.style}", title=kind.words)
    heading = tag("h2", mark, title, tag("small", kind.words), tag("small", _cost(turn), class_="cost"))
    code = turn.call.arguments.get("code") if turn.call and turn.call.tool == "code" else None
    written = [_piece(p.kind, p.text) for p in pieces(turn.text, code if isinstance(code, str) else None)]
    if turn.finish == "length":
        written.append(tag("p", "cut at the token limit of a turn", class_="problem"))
    back = _observation(turn.observation, boxes, inputs, pictures) if turn.observation else []
    if back and is_last:
        back.append(tag("p", "the trajectory ended here: the model has not seen this", class_="dim"))
    exact = [tag("h4", "written by the model"), tag("pre", turn.text)]
    if turn.observation_parts:
        exact += [tag("h4", "shown to the model"), tag("pre", *_as_shown(turn))]
    folded = tag("details", tag("summary", "exact text"), *exact, class_="exact")
    result = tag("div", *back, class_="back") if back else None
    return tag("section", heading, *written, result, folded, class_="turn", id=f"turn-{number}", tabindex="-1")


def _cost(turn: Turn) -> str:
    parts = [f"model {seconds(turn.seconds)}"] if turn.seconds else []
    if turn.observation is not None and turn.observation.seconds:
        parts.append(f"tool {seconds(turn.observation.seconds)}")
    if turn.prompt_tokens is not None:
        parts.append(f"{turn.prompt_tokens:,} tokens read")
    if turn.completion_tokens is not None:
        parts.append(f"{turn.completion_tokens:,} written")
    return " · ".join(parts)


def _piece(kind: str, text: str) -> Html:
    if kind == "code":
        return _fold("code:", tag("pre", tag("code", highlight(text)), class_="code"), text)
    if kind == "answer":
        return tag("p", text, class_="answer")
    if kind == "tool_call":
        return tag("pre", text, class_="call")
    return _fold("thought:", tag("p", text, class_="thought" if kind == "think" else "prose"), text)


def _fold(name: str, shown: Html, text: str) -> Html:
    """The element as it is, or folded if its text is long. Folded is not cut: a click opens all of it."""
    lines = text.count("\n") + 1
    if lines <= LONG_LINES and len(text) <= LONG_CHARACTERS:
        return shown
    size = f"{name} {count(lines, 'line')}, {count(len(text), 'character')}"
    return tag("details", tag("summary", size), shown, class_="fold")


def _observation(seen: Observation, boxes: Sequence[Box], inputs: Sequence[ImageRef], pictures: Pictures) -> list[Html]:
    if seen.error is not None:
        return [tag("p", tag("b", f"{seen.error.kind} error"), " ", seen.error.message, class_="problem")]
    if seen.cell is not None:
        return _cell(seen.cell, boxes, inputs, pictures)
    shown = [tag("p", "searched for ", tag("q", seen.query), class_="asked")] if seen.query else []
    if seen.image is not None:
        shown.append(tag("div", pictures.figure(seen.image, "searched for"), class_="pictures"))
    hits = [_card(hit, pictures) for hit in seen.hits or ()]
    nothing = tag("p", "nothing found", class_="dim")
    return [*shown, tag("ol", *hits, class_="cards") if hits else nothing]


def _cell(cell: CellResult, boxes: Sequence[Box], inputs: Sequence[ImageRef], pictures: Pictures) -> list[Html]:
    shown = []
    if cell.status != "ok":
        words = {"error": "the code raised", "timeout": "stopped at the time limit", "died": "the session was lost"}
        shown.append(tag("p", tag("b", cell.status), " ", words[cell.status], class_="problem"))
    for name, text in (("stdout", cell.stdout), ("stderr", cell.stderr), ("result", cell.result or "")):
        if text.strip():
            output = tag("pre", text.rstrip("\n"), class_=f"output {name}")
            shown.append(tag("div", tag("h3", name), _fold("", output, text)))
    if cell.truncated:
        shown.append(tag("p", "the sandbox cut this output at its cap", class_="dim"))
    sources = sorted({box.image for box in boxes})
    figures = [pictures.figure(inputs[n - 1], f"cut from image_{n}", _numbered(boxes, n)) for n in sources]
    figures += [pictures.figure(ref, f"came back {n}") for n, ref in enumerate(cell.images, start=1)]
    if figures:
        shown.append(tag("div", *figures, class_="pictures"))
    if not shown:
        shown.append(tag("p", "the code ran and showed nothing", class_="dim"))
    return shown


def _numbered(boxes: Iterable[Box], image: int) -> list[tuple[Box, str]]:
    here = [box for box in boxes if box.image == image]
    return [(box, str(n) if len(here) > 1 else "") for n, box in enumerate(here, start=1)]


def _card(hit: SearchHit, pictures: Pictures) -> Html:
    # Only web addresses become links: an address is text from the web, and `javascript:` is one too.
    is_web = hit.link is not None and hit.link.startswith(("https://", "http://"))
    link = tag("a", hit.title, href=hit.link, rel="noopener noreferrer") if is_web else hit.title
    where = [part for part in (hit.source, hit.date, None if is_web else hit.link) if part]
    if hit.score is not None:
        where.append(f"score {hit.score:.3g}")
    return tag(
        "li",
        pictures.figure(hit.thumbnail, "") if hit.thumbnail else None,
        tag("div", tag("b", link), tag("p", hit.snippet) if hit.snippet else None, tag("small", " · ".join(where))),
    )


def _as_shown(turn: Turn) -> Iterable[str]:
    for part in turn.observation_parts:
        if isinstance(part, TextPart):
            yield part.text
        elif isinstance(part, ImagePart):
            yield tag("mark", f"[picture {part.image.width} × {part.image.height}]")


def _rest(trajectory: Trajectory) -> Html:
    prompt = [
        join([tag("h4", message.role), tag("pre", message.text)]) for message in trajectory.prompt if message.text
    ]
    settings = json.dumps(trajectory.settings, indent=2, ensure_ascii=False, sort_keys=True)
    meta = json.dumps(trajectory.question.meta, indent=2, ensure_ascii=False, sort_keys=True)
    folds = [
        tag("details", tag("summary", "prompt"), *prompt) if prompt else None,
        tag("details", tag("summary", "settings"), tag("pre", settings)) if trajectory.settings else None,
        tag("details", tag("summary", "what the question recorded"), tag("pre", meta))
        if trajectory.question.meta
        else None,
    ]
    started = f" · started {trajectory.started}" if trajectory.started else ""
    ids = tag("p", f"{trajectory.id} · question {trajectory.question.id}{started}", class_="dim")
    return tag("footer", *folds, ids)
