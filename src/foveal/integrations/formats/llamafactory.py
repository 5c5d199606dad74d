"""LLaMA-Factory: a JSON list in its `sharegpt` form, as the released DeepEyesV2 cold-start set has it.

A row is `{"messages": [{"role", "content"}], "images": [...]}`: `<image>` in the texts for each picture, observations
as user turns. The trainer drops rows whose turns do not alternate, so here they are refused, with the reason. Train
with `dataset_dir` and `media_dir` set to the folder; `dataset_info.json` in it names the set `foveal`.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from foveal.integrations.formats.dialogue import Dialogue, Line, Reject, Role, Unfit, Where, read_label
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.pictures import write_by_content
from foveal.integrations.formats.placeholders import joined, parted
from foveal.integrations.formats.rows import Row, read_rows

ROWS, INFO, PICTURES = "foveal.json", "dataset_info.json", "images"
_DATASET_INFO = {
    "foveal": {
        "file_name": ROWS,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
}
_ROLES: dict[Any, Role] = {
    **{"system": "system", "user": "user", "human": "user", "observation": "user", "tool": "user"},
    **{"assistant": "assistant", "gpt": "assistant", "function_call": "assistant"},
}


def write_trajectories(dialogues: Iterable[Dialogue], out: Outbox) -> None:
    """Write conversations as one JSON list, their pictures beside it, and the entry for `dataset_info.json`."""
    (out.folder / INFO).write_text(json.dumps(_DATASET_INFO, indent=2) + "\n", encoding="utf-8")
    with (out.folder / ROWS).open("w", encoding="utf-8") as file:
        file.write("[")
        for dialogue in dialogues:
            with out.row(dialogue.where):
                row = _row(dialogue, out.folder / PICTURES)
                file.write(",\n" if out.kept else "\n")
                file.write(json.dumps(row, ensure_ascii=False))
        file.write("\n]\n")


def read(source: Path) -> Iterator[Dialogue | Reject]:
    """The conversations of JSON or JSON lines files.

    Both kinds of tags are read, `role` and `content` or `from` and `value`. Paths of pictures start at the folder of
    their file.

    Raises:
        InputError: There is no such file.
    """
    return read_rows(source, [".json", ".jsonl"], (), _dialogue)


def _row(dialogue: Dialogue, folder: Path) -> dict[str, Any]:
    lines = dialogue.lines
    if lines[-1].role == "user":  # the trainer takes no conversation that ends without an answer of the model
        lines = lines[:-1]
    _check_order(lines)
    contents = joined(lines)
    held = [content for line in lines for content in line.pictures if isinstance(content, bytes)]
    return {
        "id": dialogue.id,
        "messages": [{"role": line.role, "content": content} for line, content in zip(lines, contents, strict=True)],
        "images": [f"{PICTURES}/{write_by_content(folder, content)}" for content in held],
        "foveal": dialogue.label.model_dump_json() if dialogue.label else None,
    }


def _check_order(lines: tuple[Line, ...]) -> None:
    system = lines[0].role == "system"
    if system and lines[0].pictures:
        raise Unfit("the system message holds a picture, and this format counts none there")
    for number, line in enumerate(lines[system:]):
        if line.role != ("user", "assistant")[number % 2]:
            raise Unfit(
                f"message {number + system + 1} is of the {line.role}: this format wants user and assistant in turn"
            )


def _dialogue(where: Where, value: Row) -> Dialogue:
    said = value["messages"] if "messages" in value else value.get("conversations")
    if not isinstance(said, list):
        raise Unfit("there is no list of messages, neither `messages` nor `conversations`")
    texts = [_said(number, message) for number, message in enumerate(said, start=1)]
    if isinstance(value.get("system"), str) and value["system"]:
        texts.insert(0, ("system", value["system"]))
    images = value.get("images") or []
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise Unfit("`images` is no list of paths")
    pictures = [where.file.parent / image for image in images]
    name = where.name if value.get("id") is None else str(value["id"])
    return Dialogue(where, name, parted(texts, pictures), read_label(value.get("foveal")))


def _said(number: int, message: Any) -> tuple[Role, str]:
    if not isinstance(message, dict):
        raise Unfit(f"message {number} is no object")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if not isinstance(role, str) or role not in _ROLES:
        raise Unfit(f"message {number} has the role {role!r}")
    if not isinstance(content, str):
        raise Unfit(f"message {number} has no text")
    return _ROLES[role], content
