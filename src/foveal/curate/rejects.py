"""What was set aside on the way into a question set, and why."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from foveal.trajectory import Record

Reason = Literal[
    "unreadable",
    "not_a_row",
    "bad_field",
    "no_question",
    "no_answer",
    "wrong_answer",
    "image_marks",
    "picture_missing",
    "picture_path",
    "picture_kind",
    "picture_size",
    "picture_broken",
    "duplicate",
]
"""Codes of reasons; `docs/curation-sources.md` says what each is."""

MOST_SAID = 120
"""Characters of a field that a reject repeats."""


class Reject(Record):
    """A row that is not in the question set."""

    source: str = ""
    """Name of the source."""
    file: str
    """Its file, as the source names it."""
    row: int | None = None
    """Counted from 1: the line of a text format, else the row. None: the whole file."""
    reason: Reason
    message: str
    """What is wrong, in a sentence."""
    said: str = ""
    """What the row said, in short."""


class Refused(Exception):
    """Raised while a row is looked at: it is not to be kept.

    Args:
        reason: The code.
        message: What is wrong, in a sentence.
    """

    def __init__(self, reason: Reason, message: str):
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message


def shorten(text: str) -> str:
    """The text or its beginning, fit to be written as UTF-8."""
    short = text if len(text) <= MOST_SAID else text[:MOST_SAID] + "…"
    return short.encode(errors="replace").decode()


def in_short(fields: Mapping[str, Any]) -> str:
    """Fields of a row as a line of JSON, long texts cut and bytes as their number."""
    return json.dumps({shorten(name): _short(value) for name, value in fields.items()}, ensure_ascii=False)


def _short(value: Any, depth: int = 3) -> Any:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict | list | tuple):
        if not depth:
            return "…"
        if isinstance(value, dict):
            return {shorten(str(key)): _short(item, depth - 1) for key, item in list(value.items())[:5]}
        return [_short(item, depth - 1) for item in value[:5]]
    if value is None or (isinstance(value, bool | int) and abs(value) < 2**63):
        return value
    return shorten(
        value if isinstance(value, str) else str(value) if isinstance(value, Decimal | float) else repr(value)
    )
