"""TRL: datasets of `messages` and `images` for `SFTTrainer`, of `prompt`, `images` and `solution` for `GRPOTrainer`.

Content is a list of `{"type": "text", "text": ...}` and `{"type": "image"}`, which TRL fills with the pictures of the
row in order. `solution` is the column that TRL's own rewards read. `foveal` (JSON text) is ignored by the trainers.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from foveal.integrations.formats.dialogue import (
    About,
    Dialogue,
    Line,
    Picture,
    Reject,
    Role,
    Task,
    Unfit,
    Where,
    about,
    first_answer,
    read_about,
    read_label,
)
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.placeholders import MARK, parted, refuse_tokens
from foveal.integrations.formats.rows import Row, read_rows
from foveal.integrations.formats.shards import IMAGES, MESSAGES, TEXT, Shards

RUN = {"id": TEXT, "messages": MESSAGES, "images": IMAGES, "foveal": TEXT}
QUESTIONS = {"id": TEXT, "prompt": MESSAGES, "images": IMAGES, "solution": TEXT, "foveal": TEXT}

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "tool": "user", "assistant": "assistant"}
_COLUMNS = ("id", "messages", "prompt", "completion", "images", "image", "solution", "answer", "foveal")


def write_trajectories(dialogues: Iterable[Dialogue], out: Outbox) -> None:
    """Write conversations as rows of `messages` and `images`."""
    with Shards(out.folder, "train", RUN) as shards:
        for dialogue in dialogues:
            with out.row(dialogue.where):
                refuse_tokens(dialogue.lines)
                shards.write({"id": dialogue.id, **columns(dialogue)})


def write_questions(tasks: Iterable[Task], out: Outbox, system: str | None = None, suffix: str = "") -> None:
    """Write questions as rows of `prompt`, `images` and `solution` (the first accepted answer)."""
    with Shards(out.folder, "train", QUESTIONS) as shards:
        for task in tasks:
            with out.row(task.where):
                lines = task.lines(system, suffix)
                refuse_tokens(lines)
                shards.write(
                    {
                        "id": task.id,
                        "prompt": messages(lines),
                        "images": [{"bytes": picture} for picture in task.pictures],
                        "solution": first_answer(task),
                        "foveal": about(task).model_dump_json(),
                    }
                )


def read(source: Path) -> Iterator[Dialogue | Task | Reject]:
    """Conversations (`messages`, or `prompt` and `completion`) or questions (`prompt` alone) of Parquet files.

    Raises:
        InputError: There is none.
    """
    return read_rows(source, [".parquet"], _COLUMNS, _item)


def columns(dialogue: Dialogue) -> Row:
    """`messages`, `images` and `foveal` of a conversation."""
    return {
        "messages": messages(dialogue.lines),
        "images": [{"bytes": picture} for picture in dialogue.pictures],
        "foveal": dialogue.label.model_dump_json() if dialogue.label else None,
    }


def messages(lines: Sequence[Line]) -> list[Row]:
    """Messages of typed parts."""
    return [
        {
            "role": line.role,
            "content": [
                {"type": "text", "text": piece} if isinstance(piece, str) else {"type": "image", "text": None}
                for piece in line.pieces
            ],
        }
        for line in lines
    ]


def dialogue(where: Where, row: Row) -> Dialogue:
    """The conversation of a row.

    Raises:
        Unfit: It holds none, or its pictures do not fit.
    """
    said = row.get("messages")
    if said is None:
        said = [*(row.get("prompt") or ()), *(row.get("completion") or ())]
    return Dialogue(where, name_of(row, where), lines_of(said, pictures(row)), read_label(row.get("foveal")))


def name_of(row: Row, where: Where) -> str:
    """The identifier of a row: its `id`, else that of its place."""
    return where.name if row.get("id") is None else str(row["id"])


def pictures(row: Row) -> list[Picture]:
    """The contents of the pictures of a row, out of `images` or `image`.

    Raises:
        Unfit: One is a reference to a file elsewhere, or nothing.
    """
    held = row.get("images") if row.get("images") is not None else row.get("image")
    found: list[Picture] = []
    for image in held if isinstance(held, list) else [] if held is None else [held]:
        content = image.get("bytes") if isinstance(image, dict) else image
        if not isinstance(content, bytes):
            raise Unfit(f"picture {len(found) + 1} is not in the file")
        found.append(content)
    return found


def lines_of(said: Any, images: Sequence[Picture]) -> tuple[Line, ...]:
    """Messages as lines. Pictures of plain texts stand at their `<image>`, else before the first user's text.

    Raises:
        Unfit: These are no messages, or the pictures do not fit.
    """
    if not isinstance(said, list) or not said or not all(isinstance(message, dict) for message in said):
        raise Unfit("there are no messages")
    if all(isinstance(message.get("content"), str) for message in said):
        texts = [(_role(message), message["content"]) for message in said]
        first = next((number for number, (role, _) in enumerate(texts) if role == "user"), None)
        if first is not None and not any(MARK in text for _, text in texts):
            texts[first] = ("user", MARK * len(images) + texts[first][1])
        return parted(texts, images)
    left = iter(images)
    lines = tuple(Line(_role(message), tuple(_pieces(message.get("content"), left)) or ("",)) for message in said)
    if surplus := len(list(left)):
        raise Unfit(f"{surplus} of {len(images)} pictures have no place in the messages")
    return lines


def _role(message: Row) -> Role:
    role: Role | None = _ROLES.get(str(message.get("role")))
    if role is None:
        raise Unfit(f"there is no role {message.get('role')!r}")
    return role


def _pieces(content: Any, images: Iterator[Picture]) -> Iterator[str | Picture]:
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            yield part["text"]
        elif kind == "image":
            image = next(images, None)
            if image is None:
                raise Unfit("there are fewer pictures than places for them")
            yield image
        else:
            raise Unfit(f"a part of a message is neither text nor picture: {str(part)[:80]}")


def _item(where: Where, row: Row) -> Dialogue | Task:
    asked = row.get("messages") is None and row.get("completion") is None and row.get("prompt") is not None
    return _task(where, row) if asked else dialogue(where, row)


def _task(where: Where, row: Row) -> Task:
    asked = lines_of(row["prompt"], pictures(row))
    known = read_about(row.get("foveal"))
    if known is None:
        user = [line.text.strip() for line in asked if line.role == "user"]
        gold = row.get("solution") if row.get("solution") is not None else row.get("answer")
        known = About(text=user[-1] if user else "", gold=() if gold is None else (str(gold),))
    if not known.text:
        raise Unfit("the question has no text")
    shown = tuple(picture for line in asked for picture in line.pictures)
    return Task(where, name_of(row, where), known.text, shown, known.gold, known.family, known.meta)
