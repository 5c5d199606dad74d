"""Files that were released with DeepEyesV2 and MMSearch-R1, read as they are.

Reinforcement learning: parquet files in verl's row schema (`data_source`, `prompt`, `images`, `reward_model`,
`extra_info`), read as a source of questions of the format `deepeyes-rl`. Cold start: JSON in LLaMA-Factory's sharegpt
layout. Image search: a JSON object of recorded results, by the id of the question that they were found for.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from foveal.curate.mapping import MARK, Columns, Fields, Reading, place_marks, read_fields, value_at
from foveal.curate.rejects import Refused, Reject, in_short
from foveal.curate.rows import open_rows, read_items
from foveal.curate.tables import BadRow
from foveal.trajectory import Record

RL_COLUMNS = Columns(
    question="extra_info.question",
    images="images",
    answer="reward_model.ground_truth",
    domain="data_source",
    id="extra_info.index",
)
"""Where the released RL files have what a question needs."""
RL_WANTED = (*RL_COLUMNS.named, "prompt")

FAMILIES = {"reason": "reasoning"}
"""Our names of families where the release has others."""

_SPLITS = {r"perception_all_\d+": "perception", "reason": "reason", "search": "search", "vstar_test": "vstar-test"}
"""What the names of the released files stand for; copies of them lack `data_source`."""


def rl_fields(values: Mapping[str, Any], stem: str) -> Fields:
    """The fields of a row of the released RL files.

    `<image>` marks are counted in the whole prompt, which is what the released code shows; the question itself is
    `extra_info.question`, without the prompt's words on format, or the last user message where that is missing.

    Args:
        values: The row.
        stem: Name of its file, without suffix: tells the data source where the row does not.

    Raises:
        Refused: The row is not as it should be.
    """
    images = values.get("images")
    count = 0 if images is None else len(images) if isinstance(images, list) else 1
    said = [message for message in values.get("prompt") or () if isinstance(message, dict)]
    marks = sum(str(message.get("content")).count(MARK) for message in said)
    if said and marks != count:
        raise Refused("image_marks", f"{marks} {MARK} in the prompt for {count} pictures")
    asked = [message.get("content") for message in said if message.get("role") == "user"]
    question = value_at(values, RL_COLUMNS.question) or (asked[-1] if asked else None)
    extra = values.get("extra_info")
    told = dict(values) | {"extra_info": {**(extra if isinstance(extra, dict) else {}), "question": question}}
    fields = read_fields(told, RL_COLUMNS, Reading())
    domain = fields.domain or next((name for rule, name in _SPLITS.items() if re.fullmatch(rule, stem)), None)
    return fields._replace(domain=domain, family=FAMILIES.get(domain or "", domain))


class ShareGptMessage(Record):
    """One message of a cold-start record."""

    role: Literal["system", "user", "assistant"]
    """What a tool gave back is said by the user."""
    content: str
    """With an `<image>` mark for each picture."""


class ShareGptRecord(Record):
    """One conversation of a cold-start file."""

    file: str
    row: int
    """Counted from 1."""
    messages: tuple[ShareGptMessage, ...] = Field(min_length=2)
    images: tuple[Path, ...] = ()
    """Files of the pictures, in the order of the marks; whether they are there is not looked at."""


def read_sharegpt(path: Path, image_folder: Path | None = None) -> Iterator[ShareGptRecord | Reject]:
    """The conversations of a cold-start file, a JSON list, one at a time.

    Args:
        path: The file.
        image_folder: Where relative paths of pictures begin; the folder of the file by default.

    Yields:
        Records in which as many `<image>` marks as pictures stand; a `Reject` for every other row.

    Raises:
        ConfigError: The file holds a JSON object.
        MissingDependency: ijson is not installed.
    """
    for row in open_rows(path, "json", ("messages", "images")).rows:
        if isinstance(row, BadRow):
            yield Reject(file=path.name, row=row.number, reason=row.reason, message=row.message, said=row.said)
            continue
        try:
            yield _conversation(path, row.number, row.values, image_folder or path.parent)
        except Refused as refused:
            said = in_short({name: row.values.get(name) for name in ("messages", "images")})
            yield Reject(file=path.name, row=row.number, reason=refused.reason, message=refused.message, said=said)


def _conversation(path: Path, row: int, values: Mapping[str, Any], folder: Path) -> ShareGptRecord:
    names = values.get("images") or []
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("bad_field", "images is no list of paths")
    messages = values.get("messages")
    if not isinstance(messages, list):
        raise Refused("bad_field", "messages is no list")
    try:
        record = ShareGptRecord.model_validate(
            {
                "file": path.name,
                "row": row,
                "messages": [
                    {"role": message.get("role"), "content": message.get("content")}
                    if isinstance(message, dict)
                    else message
                    for message in messages
                ],
                "images": [folder / name for name in names],
            }
        )
    except ValidationError as error:
        issue = error.errors(include_url=False, include_input=False)[0]
        raise Refused("bad_field", f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}") from None
    marks = 0
    for message in record.messages:
        place_marks(message.content, message.content.count(MARK))  # refuses halves of UTF-16 pairs
        marks += message.content.count(MARK)
    if marks != len(names):
        raise Refused("image_marks", f"{marks} {MARK} in the messages for {len(names)} pictures")
    if not any(message.role == "assistant" for message in record.messages):
        raise Refused("no_answer", "the assistant says nothing")
    return record


class CachedHit(Record):
    """One result of a recorded image search."""

    title: str
    picture: str | None = None
    """A file, or an address in MMSearch-R1's own caches; None where none could be had."""

    @field_validator("title", mode="before")
    @classmethod
    def _untitled(cls, value: Any) -> Any:
        return "" if value is None else value


class CachedSearch(Record):
    """The recorded results of an image search with the picture of one question."""

    data_id: str
    """`extra_info.index` of the question in the released RL files."""
    hits: tuple[CachedHit, ...]
    """Best first."""


_TITLES = ("tool_returned_web_title", "tool_returned_web_title_list")
_PICTURES = ("cached_images_path", "tool_returned_images_urls")
"""Names of DeepEyesV2's fields, and of MMSearch-R1's."""


def read_search_cache(path: Path, image_folder: Path | None = None) -> Iterator[CachedSearch | Reject]:
    """The recorded image searches of a JSON cache, one at a time.

    The pickles that MMSearch-R1's caches are published as are not read: a pickle can run any code.

    Args:
        path: The file.
        image_folder: Where relative paths of pictures begin; the folder of the file by default.

    Yields:
        Searches in the order of the file; a `Reject` for every entry that is none.

    Raises:
        MissingDependency: ijson is not installed.
    """
    folder = image_folder or path.parent
    try:
        file = path.open("rb")
    except OSError as error:
        yield Reject(file=path.name, reason="unreadable", message=f"cannot be read: {error.strerror}")
        return
    with file:
        for number, pair in enumerate(read_items(file, "", pairs=True), 1):
            if isinstance(pair, BadRow):
                yield Reject(file=path.name, row=pair.number, reason=pair.reason, message=pair.message)
                continue
            data_id, entry = pair
            try:
                yield CachedSearch(data_id=data_id, hits=_hits(entry, folder))
            except (Refused, ValidationError) as error:
                message = error.message if isinstance(error, Refused) else "a title that is no text"
                said = in_short({data_id: entry})
                yield Reject(file=path.name, row=number, reason="bad_field", message=message, said=said)


def _hits(entry: Any, folder: Path) -> tuple[CachedHit, ...]:
    if not isinstance(entry, dict):
        raise Refused("bad_field", "the entry is no object")
    titles = next((entry[name] for name in _TITLES if name in entry), None)
    pictures = next((entry[name] for name in _PICTURES if name in entry), None)
    if not isinstance(titles, list) or not isinstance(pictures, list):
        raise Refused("bad_field", f"it needs lists {' and '.join((_TITLES[0], _PICTURES[0]))}")
    if len(titles) != len(pictures):
        raise Refused("bad_field", f"{len(titles)} titles for {len(pictures)} pictures")
    if not all(picture is None or isinstance(picture, str) for picture in pictures):
        raise Refused("bad_field", "a picture that is no path")
    return tuple(
        CachedHit(title=title, picture=_located(picture, folder) if picture else None)
        for title, picture in zip(titles, pictures, strict=True)
    )


def _located(picture: str, folder: Path) -> str:
    return picture if "://" in picture else os.fspath(folder / picture)
