"""One row of a published benchmark, and the item that it becomes.

A row is read through `Row`, which knows the odd ways in which benchmarks write the same thing, and says what is wrong
with a row in one sentence. Pictures are not opened here: an item holds their bytes or files.
"""

import ast
import base64
import binascii
import contextlib
import json
import math
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from foveal.bench.pictures import decode
from foveal.curate.choices import lettered, with_choices
from foveal.errors import InputError
from foveal.trajectory import ImageStore, Question

Picture = bytes | Path
"""A picture that is still encoded: the bytes of its file, or its file."""

_NO_BASE64 = 255
"""A text of at most so many characters is the name of a file, a longer one base64."""


class BadRow(ValueError):
    """A row cannot become an item; the message says why."""


@dataclass(frozen=True)
class Item:
    """A question of a benchmark whose pictures are still encoded."""

    id: str
    text: str
    gold: tuple[str, ...]
    pictures: tuple[Picture, ...] = ()
    family: str | None = None
    meta: Mapping[str, JsonValue] = field(default_factory=dict)

    def question(self, images: ImageStore, suffix: str = "") -> Question:
        """The question that an agent is asked; its pictures are decoded and put into the store.

        Args:
            images: Where the pictures go.
            suffix: Put behind the text, on a line of its own.

        Raises:
            InputError: A picture is damaged, no picture, or too large.
        """
        refs = []
        for number, picture in enumerate(self.pictures, start=1):
            try:
                refs.append(images.put(decode(picture)))
            except ValueError as error:
                raise InputError(
                    f"picture {number} of question {self.id}: {error}", "fetch the file of the benchmark again"
                ) from error
        text = f"{self.text}\n{suffix}" if suffix else self.text
        return Question(
            id=self.id, text=text, images=tuple(refs), gold=self.gold, family=self.family, meta=dict(self.meta)
        )


@dataclass(frozen=True)
class Row:
    """A row as it was published.

    A value counts as missing if it is None, not a number, an empty text, or not there at all.
    """

    values: Mapping[str, Any]
    number: int
    """From 0, in its file."""
    folder: Path | None = None
    """Where files that the row names are looked for; None for rows of the hub."""

    def get(self, *names: str) -> Any:
        """The first of these columns that is not missing; None if all are."""
        return next((value for name in names if not _missing(value := self.values.get(name))), None)

    def text(self, *names: str) -> str:
        """The same as text, stripped; numbers that are whole lose their `.0`.

        Raises:
            BadRow: All are missing, or the value is no text or number.
        """
        value = self.get(*names)
        if value is None:
            raise BadRow(f"no {' or '.join(names)}")
        return as_text(value, names[0])

    def texts(self, *names: str) -> tuple[str, ...]:
        """A list of texts: a list, the text of a JSON or Python list, or one text alone. Missing is empty.

        Raises:
            BadRow: The value, or one in it, is no text or number.
        """
        value = self.get(*names)
        if value is None:
            return ()
        if isinstance(value, str) and isinstance(read := parse_literal(value), list):
            value = read
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            value = [value]
        return tuple(as_text(one, names[0]) for one in value if not _missing(one))

    def options(self) -> dict[str, str]:
        """The columns A, B, C, ... up to the first that is missing.

        Raises:
            BadRow: A later column is not missing, or one is no text or number.
        """
        found = {
            letter: as_text(self.get(letter), letter)
            for letter in string.ascii_uppercase
            if self.get(letter) is not None
        }
        if list(found) != list(string.ascii_uppercase[: len(found)]):
            raise BadRow(f"the options {', '.join(found)} leave one out")
        return found

    def flag(self, name: str) -> bool:
        """A column of 0 or 1 (also as text or fraction).

        Raises:
            BadRow: It is missing or something else.
        """
        value = self.text(name).casefold()
        if value not in ("0", "1", "true", "false"):
            raise BadRow(f"{name} is {value!r}, not 0 or 1")
        return value in ("1", "true")

    def pictures(self, *names: str) -> tuple[Picture, ...]:
        """The pictures of these columns, in order, at least one: a question without its picture is another question.

        A value is `{"bytes": ..., "path": ...}` as the hub has it, bytes, base64 (also as a `data:` address), the
        name of a file in the folder, or a list of these (also as text).

        Raises:
            BadRow: There is none, a file is not there, or a value is none of these.
        """
        found = tuple(picture for name in names for picture in self._pictures(self.get(name), name))
        if not found:
            raise BadRow(f"no {' or '.join(names)}")
        return found

    def _pictures(self, value: Any, name: str) -> Iterable[Picture]:
        if _missing(value):
            return
        if isinstance(value, str) and value.lstrip().startswith("[") and isinstance(read := parse_literal(value), list):
            value = read
        if isinstance(value, Mapping):
            value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
        if isinstance(value, bytes) and value:
            yield value
        elif isinstance(value, str):
            yield self._file(value, name) if len(value) <= _NO_BASE64 else from_base64(value, name)
        elif isinstance(value, Sequence) and not isinstance(value, bytes):
            for one in value:
                yield from self._pictures(one, name)
        else:
            raise BadRow(f"{name} is no picture but {type(value).__name__}")

    def _file(self, value: str, name: str) -> Path:
        if self.folder is None:
            raise BadRow(f"{name} names the file {value}, which a row of the hub does not bring along")
        for path in (self.folder / value, self.folder / "images" / value):
            # Links may lead anywhere (the hub's cache is made of them), names with .. may not.
            inside = Path(os.path.normpath(path)).is_relative_to(os.path.normpath(self.folder))
            with contextlib.suppress(OSError, ValueError):  # a name that no file can have
                if inside and path.is_file():
                    return path
        raise BadRow(f"{name}: there is no file {value} in {self.folder}")


def choice_item(row: Row, *, id: str, text: str, options: Mapping[str, str], answer: str, **more: Any) -> Item:
    """An item of multiple choice: its options behind the question (`with_choices`), the letter as gold.

    Args:
        row: Where its pictures are, in the column `image`, unless `more` names them.
        id: Of the item.
        text: The question alone.
        options: Letter to text.
        answer: The letter, or the text of an option; two options may have the same text, and then both are right.
        more: Further fields of the item; `meta` gets `options` added.

    Raises:
        BadRow: There are less than two options, or the answer is none of them.
    """
    if len(options) < 2:
        raise BadRow(f"{len(options)} options")
    letter = answer.strip().strip("().").upper()
    right = (
        (letter,)
        if letter in options
        else tuple(n for n, option in options.items() if option.strip() == answer.strip())
    )
    if not right:
        raise BadRow(f"the answer {answer!r} is none of the options {', '.join(options)}")
    meta = {**more.pop("meta", {}), "options": dict(options)}
    pictures = more.pop("pictures", None)
    shown = row.pictures("image") if pictures is None else pictures
    return Item(id, with_choices(text, options), right, shown, meta=meta, **more)


def listed(options: Iterable[str]) -> dict[str, str]:
    """Options by letter, in order; a letter in front of a text, as in `(A) cat` or `A. cat`, is taken off.

    Raises:
        BadRow: There are more options than letters.
    """
    try:
        return lettered(options)
    except ValueError as error:
        raise BadRow(str(error)) from None


def as_text(value: Any, name: str) -> str:
    """A text, or a number as text: 142.0 is `142`.

    Raises:
        BadRow: It is neither.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str | int | float):
        return str(value).strip()
    raise BadRow(f"{name} is no text but {type(value).__name__}")


def whole_number(value: Any, name: str) -> int:
    """A whole number, or its text.

    Raises:
        BadRow: It is none.
    """
    text = as_text(value, name)
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise BadRow(f"{name} is {text}, not a whole number")
    return int(text)


def parse_literal(value: str) -> Any:
    """What the text of a JSON or Python value says; None if it is none."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None


def from_base64(value: str, name: str) -> bytes:
    """The bytes of a base64 text, with or without `data:image/...;base64,` in front.

    Raises:
        BadRow: It is no base64.
    """
    body = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRow(f"{name} is no base64: {error}") from None


def _missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )
