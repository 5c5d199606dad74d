"""Reads a raw file row by row: each row becomes a question with its pictures kept, or a reject."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from pydantic import JsonValue

from foveal.curate.mapping import is_among, value_at
from foveal.curate.pictures import PictureLimits, check_picture, keep_picture, picture_bytes
from foveal.curate.questions import QuestionRow
from foveal.curate.rejects import Refused, Reject, in_short, shorten
from foveal.curate.rows import column_names, open_rows
from foveal.curate.sources import SourceFile
from foveal.curate.tables import BadRow, RawRow
from foveal.errors import ConfigError
from foveal.trajectory import Record

WORKERS = min(8, os.cpu_count() or 1)
"""Threads that decode pictures."""
PROBE_ROWS = 100
"""Rows of JSON after which a column of questions that none has is taken for a mistake."""

log = logging.getLogger(__name__)


class Kept(Record):
    """A row that is kept; whether an earlier one is the same is found later."""

    row: QuestionRow
    """Its id is that of the source, or made of the row's number."""
    pixels: tuple[str, ...]
    """Hashes of its pictures' pixels."""


def read_file(
    pictures: Path, file: SourceFile, limits: PictureLimits, columns: "ColumnWatch"
) -> Iterator[Kept | Reject]:
    """What becomes of each row of a raw file, in order.

    Args:
        pictures: Folder where the pictures of rows that are kept are put.
        file: The raw file.
        limits: What pictures may be kept.
        columns: Told of the columns.

    Raises:
        ConfigError: A column that is named is not there.
        MissingDependency: The package that reads the format is not installed.
    """

    def look(row: RawRow) -> Kept | Reject:
        try:
            return _look(pictures, file, limits, row)
        except Refused as refused:
            said = in_short({name: value_at(row.values, name) for name in file.source.wanted})
            return _reject(file, BadRow(row.number, refused.reason, refused.message, said))

    for outcome in _in_order(look, columns.watch(_rows(file))):
        yield _reject(file, outcome) if isinstance(outcome, BadRow) else outcome


def _rows(file: SourceFile) -> Iterator[RawRow | BadRow | frozenset[str]]:
    """The rows of a file, after the names of its columns if it has them apart."""
    number: int | None = None
    try:
        if file.kind in ("json", "jsonl", "csv") and _is_utf_16(file.path):
            yield BadRow(None, "unreadable", f"UTF-16 and not UTF-8: iconv -f UTF-16 -t UTF-8 {file.path.name}")
            return
        table = open_rows(file.path, file.kind, file.source.wanted, file.source.items)
        if table.columns is not None:
            yield table.columns
        for row in table.rows:
            number = row.number
            yield row
    except OSError as error:
        yield BadRow(number, "unreadable", f"reading stopped: {error}")


def _is_utf_16(path: Path) -> bool:
    """Whether text is of two (or four) bytes a letter: by its mark, or because a letter of ASCII has a zero in it."""
    with path.open("rb") as file:
        head = file.read(4)
    return head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head


def _reject(file: SourceFile, bad: BadRow) -> Reject:
    if bad.reason == "unreadable":
        place = f" row {bad.number}" if bad.number is not None else ""
        log.warning("%s%s: %s; the rest of the file is left out", file.path, place, bad.message)
    return Reject(
        source=file.source.name,
        file=file.name,
        row=bad.number,
        reason=bad.reason,
        message=shorten(bad.message) if len(bad.message) > 1000 else bad.message.encode(errors="replace").decode(),
        said=bad.said,
    )


class ColumnWatch:
    """Finds columns that are named but not there.

    Args:
        file: The file that is read.

    Attributes:
        unseen: Columns that no row has had so far.
        names: Columns that there are.
    """

    def __init__(self, file: SourceFile):
        self._file = file
        self.unseen = set(file.source.needed)
        self.names: set[str] = set()

    def watch(self, rows: Iterable[RawRow | BadRow | frozenset[str]]) -> Iterator[RawRow | BadRow]:
        """The rows, looked at on their way."""
        count = 0
        for row in rows:
            if isinstance(row, frozenset):
                self._see(row)
                if self.unseen:
                    raise no_columns(self._file, self.unseen, self.names)
                continue
            if isinstance(row, RawRow) and self.unseen:
                self._see(column_names(row.values))
                count += 1
                if count == PROBE_ROWS and self._file.source.columns.question in self.unseen:
                    raise no_columns(self._file, self.unseen, self.names)
            yield row

    def _see(self, names: Iterable[str]) -> None:
        found = set(names)
        self.unseen = {name for name in self.unseen if not is_among(name, found)}
        if len(self.names) < 1000:
            self.names |= found


def no_columns(file: SourceFile, unseen: Iterable[str], names: Iterable[str]) -> ConfigError:
    """The error for columns that are named but not there."""
    return ConfigError(
        f"source {file.source.name}: {file.path} has no column {', '.join(sorted(unseen))}; "
        f"there are: {', '.join(sorted(names)[:100]) or 'none'}",
        f"name its columns in the settings of {file.source.name}: columns",
    )


def _look(pictures: Path, file: SourceFile, limits: PictureLimits, row: RawRow) -> Kept:
    """A row as a question; its pictures are kept if all of it is good."""
    fields = file.fields(row.values)
    checked = []
    for number, value in enumerate(fields.pictures, 1):
        try:
            checked.append(check_picture(picture_bytes(value, file.pictures, limits), limits))
        except Refused as refused:
            where = f"picture {number}: " if len(fields.pictures) > 1 else ""
            raise Refused(refused.reason, where + refused.message) from None
    meta: dict[str, JsonValue] = {
        "source": file.source.name,
        "file": file.name,
        "row": row.number,
        "id": fields.id,
        "split": file.split,
        "licence": file.source.licence,
        "domain": fields.domain or file.source.domain,
        "tags": list(fields.tags) or None,
        "reasoning": fields.reasoning,
        "options": fields.options,  # type: ignore[dict-item]  # a list of texts is a list of JSON values
    }
    question = QuestionRow(
        id=f"{file.source.name}-{fields.id}" if fields.id is not None else f"{file.prefix}-{row.number}",
        text=fields.text,
        images=tuple(f"{pictures.name}/{keep_picture(pictures, picture)}" for picture in checked),
        gold=fields.answers,
        family=fields.family or file.source.family,
        meta={key: value for key, value in meta.items() if value is not None},
    )
    return Kept(row=question, pixels=tuple(picture.ref.sha256 for picture in checked))


def _in_order(
    look: Callable[[RawRow], Kept | Reject], rows: Iterable[RawRow | BadRow]
) -> Iterator[Kept | Reject | BadRow]:
    """What `look` says of each row, in their order, with a few under way at a time."""
    waiting: deque[Future[Kept | Reject] | BadRow] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for row in rows:
                waiting.append(row if isinstance(row, BadRow) else pool.submit(look, row))
                if len(waiting) > 2 * WORKERS:
                    first = waiting.popleft()
                    yield first if isinstance(first, BadRow) else first.result()
            for item in waiting:
                yield item if isinstance(item, BadRow) else item.result()
        finally:
            pool.shutdown(cancel_futures=True)
