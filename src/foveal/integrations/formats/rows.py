"""The rows of files that another program may have written, one at a time."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from foveal.curate.rows import SUFFIXES, open_rows
from foveal.curate.tables import BadRow
from foveal.errors import ConfigError, InputError
from foveal.integrations.formats.dialogue import Reject, Unfit, Where, first_issue

Row = dict[str, Any]
Read = TypeVar("Read")

_NO_ROWS = ("dataset_info.json", "rejects.jsonl")
"""Files of a set that hold none of its rows."""


def read_rows(
    source: Path, suffixes: Collection[str], columns: Sequence[str], convert: Callable[[Where, Row], Read]
) -> Iterator[Read | Reject]:
    """Every row, converted; a `Reject` for what is no row, or unfit.

    Args:
        source: A file, or a folder with files of these kinds, however deep; hidden ones are passed over.
        suffixes: Kinds of files, as in `.parquet`.
        columns: What is needed of a row.
        convert: Makes something of a row, or raises `Unfit`.

    Raises:
        InputError: There is no such file.
    """
    for path in _files(source, suffixes):
        try:
            rows = open_rows(path, SUFFIXES[path.suffix.lower()], columns).rows
        except ConfigError as error:  # a settings file among the rows
            yield Reject(Where(path, None), error.what)
            continue
        for row in rows:
            where = Where(path, row.number)
            if isinstance(row, BadRow):
                yield Reject(where, row.message)
                continue
            try:
                yield convert(where, row.values)
            except Unfit as unfit:
                yield Reject(where, str(unfit))
            except ValidationError as error:
                yield Reject(where, first_issue(error))


def fields(row: Row, name: str) -> Row:
    """The fields of a column that is a structure; none if it is something else."""
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def _files(source: Path, suffixes: Collection[str]) -> list[Path]:
    if source.is_file():
        if source.suffix.lower() in suffixes:
            return [source]
        raise InputError(f"{source} is none of: {', '.join(suffixes)}", "name another file, or another format: --from")
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    seen = [path for path in found if not any(name.startswith(".") for name in path.relative_to(source).parts)]
    if files := [path for path in seen if path.name not in _NO_ROWS]:
        return files
    raise InputError(f"there is no file {' or '.join(suffixes)} in {source}", "name the folder that holds the rows")
