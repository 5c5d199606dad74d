"""Parquet and arrow files, row by row, in small batches.

A column of pictures may be larger than 2 GiB in one row group: it is read as binary with 64-bit offsets, page by page,
and never made one array.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveal.curate.tables import BadRow, RawRow, Table
from foveal.errors import MissingDependency

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise MissingDependency("parquet and arrow files are read with pyarrow", 'pip install "foveal[data]"') from None

BATCH_BYTES = 32 * 2**20
"""About so much is held as rows at a time."""
READ_AHEAD = 2**20
"""Bytes of a column that are read at a time."""
MOST_ROWS = 1000
"""Rows that are held at a time."""
DAMAGE = (OSError, pa.ArrowException, ValueError, OverflowError)
"""What pyarrow raises on damaged data."""


def open_table(path: Path, kind: Literal["parquet", "arrow"], wanted: Sequence[str]) -> Table:
    """A parquet or arrow file, opened for reading from the first row to the last.

    Args:
        path: The file.
        kind: Which of the two.
        wanted: Columns, perhaps dotted.
    """
    try:
        if kind == "parquet":
            return _open_parquet(path, wanted)
        return _open_arrow(path, wanted)
    except (OSError, pa.ArrowException) as error:
        return Table(None, iter([BadRow(None, "unreadable", f"no {kind} file that can be read: {_line(error)}")]))


def _open_parquet(path: Path, wanted: Sequence[str]) -> Table:
    # Buffered, or the whole column of a row group would be in memory at once.
    file = pq.ParquetFile(
        path,
        buffer_size=READ_AHEAD,
        pre_buffer=False,
        binary_type=pa.large_binary(),
        page_checksum_verification=True,
    )
    total = sum(file.metadata.row_group(number).total_byte_size for number in range(file.metadata.num_row_groups))
    size = max(1, min(MOST_ROWS, BATCH_BYTES * file.metadata.num_rows // max(total, 1)))
    columns = _top_level(file.schema_arrow, wanted)

    def batches() -> Iterator[pa.RecordBatch]:
        with file:
            for group in range(file.metadata.num_row_groups):
                done = 0
                try:
                    for batch in file.iter_batches(size, row_groups=[group], columns=columns, use_threads=False):
                        done += len(batch)
                        yield batch
                except DAMAGE:
                    # Once more, row by row: up to the damage, which raises again.
                    single = file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False)
                    yield from itertools.islice(single, done, None)

    return Table(_names(file.schema_arrow), _rows(batches(), file.schema_arrow))


def _open_arrow(path: Path, wanted: Sequence[str]) -> Table:
    source = pa.memory_map(str(path))
    try:
        reader = pa.ipc.open_stream(source)  # what `datasets` writes
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
    columns = _top_level(reader.schema, wanted)

    def batches() -> Iterator[pa.RecordBatch]:
        with source:
            stored = (
                reader
                if isinstance(reader, pa.RecordBatchReader)
                else map(reader.get_batch, range(reader.num_record_batches))
            )
            for batch in stored:
                size = max(1, min(MOST_ROWS, BATCH_BYTES * len(batch) // max(batch.nbytes, 1)))
                for start in range(0, len(batch), size):
                    yield batch.slice(start, size).select(columns)

    return Table(_names(reader.schema), _rows(batches(), reader.schema))


def _rows(batches: Iterator[Any], schema: Any) -> Iterator[RawRow | BadRow]:
    labels = _labels(schema)
    few_bits = {field.name: field.type for field in schema if _has_few_bits(field.type)}
    number = 0
    try:
        for batch in batches:
            for values in batch.to_pylist():
                number += 1
                for column, names in labels.items():
                    if isinstance(index := values.get(column), int) and 0 <= index < len(names):
                        values[column] = names[index]
                for column in few_bits.keys() & values.keys():
                    values[column] = _as_written(values[column], few_bits[column])
                yield RawRow(number, values)
    except DAMAGE as error:
        yield BadRow(number + 1, "unreadable", f"the file is damaged after {number} rows: {_line(error)}")


def _labels(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of `datasets` ClassLabel columns, which are stored as numbers."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {
            name: [str(label) for label in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # written by something else


def _has_few_bits(kind: Any) -> bool:
    """Whether there are numbers of 16 or 32 bits with a point, at any depth."""
    return _is_small(kind) or any(_has_few_bits(kind.field(number).type) for number in range(kind.num_fields))


def _is_small(kind: Any) -> bool:
    return bool(pa.types.is_float32(kind) or pa.types.is_float16(kind))


def _as_written(value: Any, kind: Any) -> Any:
    """A value whose numbers of few bits are what was written: 1.7, which is 1.7000000476837158 when bits are added."""
    if isinstance(value, dict):
        return {field.name: _as_written(value[field.name], field.type) for field in kind}
    if isinstance(value, tuple):  # an entry of a map
        return tuple(_as_written(item, field.type) for item, field in zip(value, kind, strict=True))
    if isinstance(value, list):
        return [_as_written(item, kind.field(0).type) for item in value]
    if value is None or not _is_small(kind):
        return value
    return float(str(np.float32(value) if pa.types.is_float32(kind) else np.float16(value)))


def _top_level(schema: Any, wanted: Sequence[str]) -> list[str]:
    return [name for name in schema.names if any(path == name or path.startswith(f"{name}.") for path in wanted)]


def _names(fields: Any, prefix: str = "") -> frozenset[str]:
    found = set()
    for field in fields:
        found.add(prefix + field.name)
        if pa.types.is_struct(field.type):
            found |= _names(field.type, f"{prefix}{field.name}.")
    return frozenset(found)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
