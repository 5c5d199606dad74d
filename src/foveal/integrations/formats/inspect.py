"""inspect-ai: samples for its `json_dataset`, one a line, with pictures as files beside it.

`target` is the accepted answer, or the list of them. A question with options (`meta.options`) whose answers name some
of them has `choices`, and then `target` is the letters, as the `multiple_choice` solver wants. It writes the choices
behind the text, so they are taken off there; where the text lists them in another way, there are no `choices`. What
else is known is in `metadata.foveal`.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from foveal.curate.choices import lettered, lists, with_choices, without_choices
from foveal.integrations.formats.dialogue import (
    About,
    Picture,
    Reject,
    Task,
    Unfit,
    Where,
    about,
    first_answer,
    read_about,
)
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.pictures import write_by_content
from foveal.integrations.formats.rows import Row, fields, read_rows
from foveal.reward.choice import options_of, read_choice
from foveal.trajectory import Question

SAMPLES, PICTURES = "samples.jsonl", "images"


def write_questions(tasks: Iterable[Task], out: Outbox, system: str | None = None, suffix: str = "") -> None:
    """Write questions as samples."""
    with (out.folder / SAMPLES).open("w", encoding="utf-8") as file:
        for task in tasks:
            with out.row(task.where):
                sample = _sample(task, out.folder / PICTURES)
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")


def read(source: Path) -> Iterator[Task | Reject]:
    """The samples of JSON or JSON lines files. Paths of pictures start at the folder of their file.

    Raises:
        InputError: There is none.
    """
    return read_rows(source, [".jsonl", ".json"], (), read_sample)


def _sample(task: Task, folder: Path) -> dict[str, Any]:
    first_answer(task)
    images = [
        {"type": "image", "image": f"{PICTURES}/{write_by_content(folder, content)}"}
        for content in task.pictures
        if isinstance(content, bytes)
    ]
    text, choices, letters = _parted(task)
    target = letters if choices else list(task.gold)
    return {
        "id": task.id,
        "input": [{"role": "user", "content": [*images, {"type": "text", "text": text}]}],
        "target": target[0] if len(target) == 1 else target,
        **({"choices": choices} if choices else {}),
        "metadata": {"foveal": about(task).model_dump(mode="json")},
    }


def _parted(task: Task) -> tuple[str, list[str], list[str]]:
    """The text, the options in order of their letters, and the letters of the accepted answers.

    Without options the text is whole: there are none, or their letters would be others there.
    """
    whole: tuple[str, list[str], list[str]] = (task.text, [], [])
    if "options" not in task.meta:
        return whole
    options = options_of(Question(id=task.id, text=task.text, gold=task.gold, meta=task.meta))
    in_order = [chr(ord("A") + number) for number in range(len(options))]
    letters = [read_choice(gold, options) for gold in task.gold]
    # inspect leaves blank options out, and then letters would name others.
    if list(options) != in_order or None in letters or not all(text.strip() for text in options.values()):
        return whole
    text = without_choices(task.text, options)
    if lists(text, options):
        return whole
    return text, list(options.values()), sorted({letter for letter in letters if letter})


def read_sample(where: Where, sample: Row) -> Task:
    """The question of a sample.

    Raises:
        Unfit: It is more than a question, or a picture of it is out of reach.
    """
    text, pictures = _input(where, sample.get("input"))
    metadata = fields(sample, "metadata")
    known = read_about(_json(metadata["foveal"])) if "foveal" in metadata else None
    if known is None:
        target = sample.get("target")
        answers = target if isinstance(target, list) else [] if target in (None, "") else [target]
        options = _options(sample.get("choices"))
        meta = {**metadata, **({"options": options} if options else {})}
        known = About(
            text=text and with_choices(text, options), gold=tuple(map(str, answers)), meta=json.loads(_json(meta))
        )
    if not known.text:
        raise Unfit("the sample has no text")
    name = where.name if sample.get("id") is None else str(sample["id"])
    return Task(where, name, known.text, pictures, known.gold, known.family, known.meta)


def _options(choices: Any) -> dict[str, str]:
    """The choices of a sample by letter; its text does not list them."""
    try:
        return lettered(map(str, choices)) if isinstance(choices, list) else {}
    except ValueError as error:
        raise Unfit(f"the sample has {error}") from None


def _json(value: Any) -> str:
    return json.dumps(value, default=float)  # numbers with a point come as Decimal


def _input(where: Where, value: Any) -> tuple[str, tuple[Picture, ...]]:
    """The text and the pictures of what the user says."""
    if isinstance(value, str):
        return value, ()
    texts: list[str] = []
    pictures: list[Picture] = []
    for message in value if isinstance(value, list) else ():
        if not isinstance(message, dict) or message.get("role") != "user":
            raise Unfit("`input` is more than what a user says: a question set holds the question alone")
        content = message.get("content")
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                texts.append(part["text"])
            elif kind == "image" and isinstance(part.get("image"), str):
                pictures.append(_picture(where, part["image"]))
            else:
                raise Unfit(f"a part of the input is neither text nor picture: {str(part)[:80]}")
    return "".join(texts), tuple(pictures)


def _picture(where: Where, image: str) -> Picture:
    if not image.startswith("data:"):
        if image.startswith(("http://", "https://")):
            raise Unfit(f"picture {image} is on the web: download it first")
        return where.file.parent / image
    try:
        return base64.b64decode(image.partition(";base64,")[2], validate=True)
    except binascii.Error as error:
        raise Unfit(f"a picture is no base64: {error}") from None
