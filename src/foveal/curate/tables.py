"""What reading a raw file gives, whatever its format."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from foveal.curate.rejects import Reason


class RawRow(NamedTuple):
    """A row as it was written."""

    number: int
    """Counted from 1: the line of JSONL and CSV, else the row."""
    values: dict[str, Any]


class BadRow(NamedTuple):
    """Something that is no row."""

    number: int | None
    reason: Reason
    message: str
    said: str = ""


class Table(NamedTuple):
    """A raw file that is open."""

    columns: frozenset[str] | None
    """Names of its columns, dotted for the fields of structs; None where only the rows tell."""
    rows: Iterator[RawRow | BadRow]
