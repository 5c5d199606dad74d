"""The rows of a raw file, one at a time, whatever its format.

Memory is bounded by the largest row, not by the file. What is no row is told with its place, and reading goes on where
the format allows it; where it does not (torn JSON, a damaged parquet file), that is one problem for the rest.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

from foveal.curate.rejects import shorten
from foveal.curate.tables import BadRow, RawRow, Table
from foveal.errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from _csv import Reader

FileFormat = Literal["json", "jsonl", "csv", "parquet", "arrow"]

SUFFIXES: Mapping[str, FileFormat] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
}

MAX_LINE = 256 * 2**20
"""Bytes of a line of JSON, and characters of a field of CSV. Rows with pictures in them may be long."""


def open_rows(path: Path, kind: FileFormat, wanted: Sequence[str], items: str | None = None) -> Table:
    """A raw file, opened for reading from the first row to the last.

    Args:
        path: The file.
        kind: Its format.
        wanted: Columns, perhaps dotted; of formats that keep columns apart, only these are read.
        items: Dotted key of the list of rows within a JSON file that holds an object.

    Raises:
        ConfigError: A JSON file holds an object and `items` names no list in it.
        MissingDependency: The package that reads this format is not installed.
    """
    if kind == "jsonl":
        return Table(None, _json_lines(path))
    if kind == "json":
        return _json(path, items)
    if kind == "csv":
        return _csv(path)
    from foveal.curate import columnar  # pyarrow is loaded for its formats only

    return columnar.open_table(path, kind, wanted)


def column_names(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of all fields of a row, dotted for those of structs."""
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from column_names(value, f"{prefix}{key}.")


def _json_lines(path: Path) -> Iterator[RawRow | BadRow]:
    with path.open("rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_LINE)
            if not line:
                return
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                yield BadRow(number, "not_a_row", f"longer than {MAX_LINE // 2**20} MiB", _told(line[:200]))
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _json_row(line, number)


def _json_row(line: bytes, number: int) -> RawRow | BadRow:
    try:
        # Decimals keep a number as it was written: an answer of 1.10 stays 1.10.
        values = json.loads(line, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        return BadRow(number, "not_a_row", f"no JSON: {error}", _told(line[:200]))
    return _object(values, number)


def _object(values: Any, number: int) -> RawRow | BadRow:
    if isinstance(values, dict):
        return RawRow(number, values)
    return BadRow(number, "not_a_row", f"a JSON {type(values).__name__} instead of an object", shorten(repr(values)))


def _told(line: bytes) -> str:
    return shorten(line.decode(errors="replace"))


def _json(path: Path, items: str | None) -> Table:
    try:
        with path.open("rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
            file.seek(0)
            first = file.readline(MAX_LINE).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        return Table(None, iter([BadRow(None, "unreadable", f"cannot be read: {error.strerror}")]))
    if head.startswith(b"{") and items is None:
        if isinstance(_json_row(first, 1), RawRow):
            return Table(None, _json_lines(path))  # JSON lines under another name, as hubs have them
        raise ConfigError(f"{path} holds one JSON object", 'name the list of rows in it: items = "data"')
    prefix = f"{items}.item" if items is not None and head.startswith(b"{") else "item"
    return Table(None, _json_items(path, prefix))


def _json_items(path: Path, prefix: str) -> Iterator[RawRow | BadRow]:
    number = 0
    with path.open("rb") as file:
        _skip_mark(file)
        for number, values in enumerate(read_items(file, prefix), 1):
            yield values if isinstance(values, BadRow) else _object(values, number)
    if not number and prefix != "item":
        raise ConfigError(f"{path} holds no list {prefix.removesuffix('.item')}", "name the list of rows in it: items")


def read_items(file: BinaryIO, prefix: str) -> Iterator[Any]:
    """Values of a JSON list as they are read; last, what kept the rest from being read, if anything did.

    Args:
        file: Open at the beginning of the JSON text.
        prefix: Where the values are: `item` for those of a list, or a dotted key.

    Yields:
        Values, and at most one `BadRow`, as the last.
    """
    try:
        import ijson
    except ModuleNotFoundError:
        raise MissingDependency("JSON files are read with ijson", 'pip install "foveal[data]"') from None
    found = ijson.items(file, prefix)
    for number in itertools.count(1):
        try:
            value = next(found)
        except StopIteration:
            return
        except (ijson.JSONError, ValueError, OSError) as error:  # ValueError: text that is not UTF-8
            message = f"the JSON breaks off or is wrong after {number - 1} rows: {' '.join(str(error).split())}"
            yield BadRow(number, "unreadable", message)
            return
        yield value


def _skip_mark(file: BinaryIO) -> None:
    if file.read(3) != b"\xef\xbb\xbf":
        file.seek(0)


def _csv(path: Path) -> Table:
    # A field may hold a picture as base64; the limit of the module is one for the whole process.
    csv.field_size_limit(MAX_LINE)
    try:
        with _text(path) as file:
            header = next(_csv_reader(path, file), None)
    except csv.Error as error:
        return Table(None, iter([BadRow(1, "unreadable", f"its first line is no header: {error}")]))
    except OSError as error:
        return Table(None, iter([BadRow(None, "unreadable", f"cannot be read: {error.strerror}")]))
    if header is None:
        return Table(None, iter([BadRow(None, "unreadable", "the file is empty")]))
    if len(set(header)) < len(header):
        raise ConfigError(f"{path} has two columns of one name: {', '.join(header)}", "give each a name of its own")
    return Table(frozenset(header), _csv_rows(path, header))


def _text(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _csv_reader(path: Path, file: TextIO) -> "Reader":
    # Strict: a quote that is never closed would else make one field of the rest of the file.
    return csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)


def _csv_rows(path: Path, header: list[str]) -> Iterator[RawRow | BadRow]:
    with _text(path) as file:
        reader = _csv_reader(path, file)
        next(reader)
        while True:
            number = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    yield BadRow(number, "unreadable", f"a quote that is opened from line {number} on never closes")
                    return
                yield BadRow(number, "not_a_row", f"no CSV: {error}")
                continue
            if fields:
                yield _csv_row(number, header, fields)


def _csv_row(number: int, header: list[str], fields: list[str]) -> RawRow | BadRow:
    said = shorten(", ".join(field[:40] for field in fields[:8]))
    if len(fields) != len(header):
        return BadRow(number, "not_a_row", f"{len(fields)} fields under {len(header)} columns", said)
    if any("\udc80" <= letter <= "\udcff" for field in fields if not field.isascii() for letter in field):
        return BadRow(number, "not_a_row", "not UTF-8 text", said)
    return RawRow(number, dict(zip(header, fields, strict=True)))
