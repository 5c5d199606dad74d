"""Parquet files as `datasets` reads them, written some rows at a time.

Row groups of some 64 MB and files of some 512 MB: a set of any size is written in little memory, and no column of a
file reaches the 2 GiB at which many readers fail. `datasets` finds in the files which columns are pictures.
"""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from foveal.errors import MissingDependency
from foveal.integrations.formats.rows import Row

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise MissingDependency("Parquet files are written with pyarrow", 'pip install "foveal[data]"') from None

TEXT = {"_type": "Value", "dtype": "string"}
NUMBER = {"_type": "Value", "dtype": "float64"}
IMAGES = [{"_type": "Image"}]
BYTES = [{"bytes": {"_type": "Value", "dtype": "large_binary"}}]
MESSAGES = [{"role": TEXT, "content": [{"type": TEXT, "text": TEXT}]}]
"""Columns as `datasets` describes them in JSON: a list is a list of its one element."""

ROW_GROUP_BYTES = 64 << 20
SHARD_BYTES = 512 << 20


class Shards:
    """Writes `data/<split>-00000-of-00001.parquet` and so on; used as a context.

    Args:
        folder: Holds `data/`.
        split: Name of the split.
        features: Columns, by name.
        row_group_bytes: Size of a row group.
        shard_bytes: Size of a file.

    Attributes:
        rows: Written so far.
        bytes: Their size in memory.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        features: Row,
        row_group_bytes: int = ROW_GROUP_BYTES,
        shard_bytes: int = SHARD_BYTES,
    ):
        self.folder, self.split = folder / "data", split
        self.rows = self.bytes = 0
        described = json.dumps({"info": {"features": features}})
        self._schema = pa.schema(
            {name: _arrow(feature) for name, feature in features.items()},
            metadata={"huggingface": described},
        )
        self._row_group_bytes, self._shard_bytes = row_group_bytes, shard_bytes
        self._waiting: list[Row] = []
        self._waiting_bytes = 0
        self._files: list[Path] = []
        self._writer: Any = None

    def write(self, row: Row) -> None:
        """Append a row; pictures are `{"bytes": content}`."""
        self._waiting.append(row)
        self._waiting_bytes += _size(row)
        if self._waiting_bytes >= self._row_group_bytes:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = pa.Table.from_pylist(self._waiting, schema=self._schema)
        self.rows += len(self._waiting)
        self.bytes += table.nbytes
        self._waiting, self._waiting_bytes = [], 0
        if self._writer is None:
            self.folder.mkdir(exist_ok=True)
            self._files.append(self.folder / f"{self.split}-{len(self._files):05d}")
            # Dictionaries of pictures take most of the time and save nothing.
            self._writer = pq.ParquetWriter(
                self._files[-1], self._schema, compression="zstd", compression_level=1, use_dictionary=False
            )
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        if self._files[-1].stat().st_size >= self._shard_bytes:
            self._end_shard()

    def _end_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> "Shards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._end_shard()
        for number, path in enumerate(self._files):
            path.rename(self.folder / f"{self.split}-{number:05d}-of-{len(self._files):05d}.parquet")


def _arrow(feature: Any) -> Any:
    """The type in which `datasets` keeps a column; it takes no other for the same."""
    if isinstance(feature, list):
        return pa.list_(_arrow(feature[0]))
    match feature.get("_type"):
        case "Image":
            return pa.struct({"bytes": pa.binary(), "path": pa.string()})
        case "Value":
            return {"string": pa.string(), "float64": pa.float64(), "large_binary": pa.large_binary()}[feature["dtype"]]
    return pa.struct({name: _arrow(inner) for name, inner in feature.items()})


def _size(value: Any) -> int:
    """Bytes of texts and pictures."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 8
