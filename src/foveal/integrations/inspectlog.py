"""What inspect-ai asks and logs, as the plain values that its records are made of. Does not need inspect-ai."""

import base64
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import JsonValue

from foveal.bench.operations import carried_out, operation
from foveal.bench.rows import Item
from foveal.errors import InputError
from foveal.integrations.formats.dialogue import About, Picture, Unfit, Where
from foveal.integrations.formats.inspect import read_sample
from foveal.policy.openai import data_url
from foveal.trajectory import ImagePart, ImageStore, Message, Part, Question, Trajectory, Turn


def sample(item: Item, suffix: str) -> dict[str, Any]:
    """A question of a benchmark as the fields of an inspect `Sample`, as `foveal export --to inspect` writes them.

    Args:
        item: The question.
        suffix: Put behind its text, on a line of its own.

    Raises:
        InputError: A picture is none that can be read.
    """
    text = f"{item.text}\n{suffix}" if suffix else item.text
    images = [{"type": "image", "image": _address(item, picture)} for picture in item.pictures]
    about = About(text=text, gold=item.gold, family=item.family, meta=dict(item.meta))
    return {
        "id": item.id,
        "input": [{"role": "user", "content": [*images, {"type": "text", "text": text}]}],
        "target": list(item.gold),
        "metadata": {"foveal": about.model_dump(mode="json")},
    }


def question(name: str, sample: Mapping[str, Any], images: ImageStore) -> Question:
    """The question of a sample; its pictures are put into the store.

    Args:
        name: Its id.
        sample: `input`, `target` and `metadata` of it.
        images: Where the pictures go.

    Raises:
        InputError: It is more than a question, or a picture cannot be used.
    """
    try:
        task = read_sample(Where(Path("sample"), None), dict(sample))
    except Unfit as error:
        raise InputError(f"sample {name}: {error}", "ask all in one message of the user") from error
    item = Item(name, task.text, task.gold, task.pictures, task.family, task.meta)
    return item.question(images)


def messages(trajectory: Trajectory, images: ImageStore) -> list[dict[str, Any]]:
    """A trajectory as the messages of a chat: calls as tool calls, observations as what the tools answered.

    Args:
        trajectory: What is shown.
        images: Its pictures.
    """
    opening = [message(one, images) for one in trajectory.prompt]
    return [*opening, *(one for number, turn in enumerate(trajectory.turns, 1) for one in _turn(number, turn, images))]


def message(one: Message, images: ImageStore) -> dict[str, Any]:
    """One message of the host."""
    return {"role": one.role, "content": _content(one.parts, images)}


def about(trajectory: Trajectory) -> dict[str, JsonValue]:
    """What a trajectory came to, in flat figures."""
    calls = list(carried_out(trajectory))
    written = [turn.completion_tokens for turn in trajectory.turns if turn.completion_tokens is not None]
    return {
        "stop_reason": trajectory.stop_reason.value,
        "calls": len(calls),
        "tools": [call.tool for call in calls],
        "operations": [operation(call) for call in calls],
        "turns": len(trajectory.turns),
        "completion_tokens": sum(written) if written else None,
        "seconds": round(trajectory.seconds, 3),
        "policy": trajectory.policy,
        "settings": trajectory.settings,
    }


def _turn(number: int, turn: Turn, images: ImageStore) -> Iterator[dict[str, Any]]:
    said: dict[str, Any] = {"role": "assistant", "content": turn.text}
    name = f"call-{number}"
    if turn.call is not None:
        said["tool_calls"] = [{"id": name, "function": turn.call.tool, "arguments": turn.call.arguments}]
    yield said
    if turn.observation is None:
        return
    content, error = _content(turn.observation_parts, images), turn.observation.error
    if turn.call is None:
        yield {"role": "user", "content": content or (error.message if error is not None else "")}
        return
    answer: dict[str, Any] = {"role": "tool", "tool_call_id": name, "function": turn.call.tool, "content": content}
    if error is not None:
        answer["error"] = {"type": "unknown", "message": error.message}
    yield answer


def _content(parts: tuple[Part, ...], images: ImageStore) -> str | list[dict[str, str]]:
    """Text alone as text; text with pictures as a list of both."""
    if not any(isinstance(part, ImagePart) for part in parts):
        return "".join(part.text for part in parts if not isinstance(part, ImagePart))
    return [
        {"type": "image", "image": data_url(images.get(part.image))}
        if isinstance(part, ImagePart)
        else {"type": "text", "text": part.text}
        for part in parts
    ]


def _address(item: Item, picture: Picture) -> str:
    """Path of a picture that is a file, else its content as a data URL."""
    if isinstance(picture, Path):
        return str(picture.absolute())
    try:
        with Image.open(io.BytesIO(picture)) as file:
            kind = Image.MIME.get(file.format or "", "")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"a picture of question {item.id} cannot be read: {error}", "fetch the data again") from error
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
