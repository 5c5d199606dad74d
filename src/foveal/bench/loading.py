"""The items of a benchmark, from local files as they were published or from the Hugging Face hub.

Local files are JSON (a list of rows, or a dictionary of rows by id), JSON lines, TSV or CSV as pandas writes them, and
parquet. Rows that cannot become items are told, with file and row, and left out: never silently.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from foveal.bench.benchmark import Benchmark
from foveal.bench.rows import BadRow, Item, Row
from foveal.errors import InputError, MissingDependency

SUFFIXES = (".tsv", ".csv", ".parquet", ".jsonl", ".json")
_SHORT = 64
"""VLMEvalKit: a picture column of at most so many characters holds the index of the row that has the picture."""


class Problem(NamedTuple):
    """A row that was left out."""

    where: str
    """File and row."""
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def load(benchmark: Benchmark, source: Path | None, problem: Callable[[Problem], None]) -> Iterator[Item]:
    """The items of a benchmark, one after the other; files are not held in memory as a whole, except JSON.

    Args:
        benchmark: Says how to read a row.
        source: A file or a folder of files; None for the hub.
        problem: Told about every row that is left out.

    Raises:
        InputError: There is no such file, no file of a known kind, one cannot be read, or no row became an item.
        MissingDependency: `datasets` or `pyarrow` is needed and not installed.
    """
    count = 0
    first: Problem | None = None
    seen: dict[str, str] = {}
    rows: Iterator[tuple[str, Row | BadRow]] = _hub(benchmark) if source is None else _local(source)
    for where, row in rows:
        try:
            if isinstance(row, BadRow):
                raise row
            items = benchmark.read(row)
            for item in items:
                if item.id in seen:
                    raise BadRow(f"the id {item.id!r} is that of {seen[item.id]}")
        except BadRow as error:
            bad = Problem(where, str(error))
            first = first or bad
            problem(bad)
            continue
        for item in items:
            seen[item.id] = where
            count += 1
            yield item
    if not count:
        reason = f"; the first problem is {first}" if first else ""
        raise InputError(
            f"{benchmark.title}: no question in {source or benchmark.data}{reason}",
            f"give a file of the dataset {benchmark.data} as published (docs/benchmarks.md)",
        )


def _local(source: Path) -> Iterator[tuple[str, Row | BadRow]]:
    files = (
        [source] if source.is_file() else sorted(path for path in source.glob("*") if path.suffix.lower() in SUFFIXES)
    )
    if not files:
        what = f"holds no file of the kinds {', '.join(SUFFIXES)}" if source.is_dir() else "is not there"
        raise InputError(f"{source} {what}", "name the file or folder of a benchmark as published")
    for file in files:
        number = -1
        try:
            for number, values in enumerate(_rows(file)):
                yield f"{file} row {number}", values if isinstance(values, BadRow) else Row(values, number, file.parent)
        except (OSError, ValueError, csv.Error) as error:
            raise InputError(f"{file} cannot be read after row {number}: {error}", "fetch the file again") from error


def _rows(file: Path) -> Iterator[Mapping[str, Any] | BadRow]:
    match file.suffix.lower():
        case ".tsv" | ".csv":
            yield from _table(file)
        case ".parquet":
            yield from _parquet(file)
        case ".jsonl":
            with file.open(encoding="utf-8") as lines:
                yield from (_line(line) for line in lines if line.strip())
        case ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(content, Mapping):
                yield from (_mapping(row, key) for key, row in content.items())
            elif isinstance(content, list):
                yield from map(_mapping, content)
            else:
                raise ValueError("neither a list nor a dictionary of rows")
        case suffix:
            raise ValueError(f"{suffix or 'a file without a suffix'} is none of {', '.join(SUFFIXES)}")


def _line(line: str) -> Mapping[str, Any] | BadRow:
    try:
        return _mapping(json.loads(line))
    except (ValueError, RecursionError) as error:
        return BadRow(f"no JSON: {error}")


def _mapping(row: Any, key: str | None = None) -> Mapping[str, Any] | BadRow:
    """The row itself; a dictionary's key is its column `key`."""
    if not isinstance(row, Mapping):
        return BadRow(f"{type(row).__name__}, not an object")
    return row if key is None else {"key": key, **row}


def _table(file: Path) -> Iterator[Mapping[str, Any] | BadRow]:
    """Rows of a TSV or CSV. Those whose picture is the index of another row get that row's picture."""
    owners = {value for row in _plain_table(file) if 0 < len(value := row.get("image") or "") <= _SHORT}
    pictures: dict[str, str] = {}
    if owners:
        for row in _plain_table(file):
            if row.get("index") in owners and len(row["image"] or "") > _SHORT:
                pictures[row["index"] or ""] = row["image"] or ""
    for row in _plain_table(file):
        if None in row.values() or "surplus" in row:
            yield BadRow("it has not as many columns as the first line")
        else:
            yield {**row, "image": pictures.get(row["image"] or "", row["image"])} if row.get("image") else row


def _plain_table(file: Path) -> Iterator[Mapping[str, str | None]]:
    csv.field_size_limit(2**31 - 1)  # a picture is one field
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.DictReader(
            lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", restkey="surplus", strict=True
        )


def _parquet(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependency(
            "reading parquet files needs the package pyarrow, which is not installed", 'pip install "foveal[data]"'
        ) from error
    for batch in parquet.ParquetFile(file).iter_batches(batch_size=16):
        yield from batch.to_pylist()


def _hub(benchmark: Benchmark) -> Iterator[tuple[str, Row | BadRow]]:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency(
            "the hub needs the package datasets, which is not installed", 'pip install "foveal[data]"'
        ) from error
    if benchmark.data.startswith("http"):
        raise InputError(
            f"{benchmark.title} is not on the hub: {benchmark.data}", "fetch its files, and name their folder"
        )
    try:
        rows = datasets.load_dataset(benchmark.data, benchmark.config, split=benchmark.split)
        for name, feature in rows.features.items():
            if isinstance(feature, datasets.Image):  # the files themselves: decoding is ours
                rows = rows.cast_column(name, datasets.Image(decode=False))
            elif isinstance(getattr(feature, "feature", None), datasets.Image):
                rows = rows.cast_column(name, datasets.List(datasets.Image(decode=False)))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{benchmark.data} (split {benchmark.split}) cannot be had from the hub: {error}",
            "check the network, or fetch the files and name their folder",
        ) from error
    for number, values in enumerate(rows):
        yield f"{benchmark.data} {benchmark.split} row {number}", Row(values, number)
