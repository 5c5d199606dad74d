"""Measures the intake of curation: parquet files in DeepEyesV2's RL schema become a checked, split question set.

    python benchmarks/curate_intake.py [--rows N] [--slice N] [--folder FOLDER] [--json FILE]
    python benchmarks/curate_intake.py --big-column [--folder FOLDER] [--json FILE]

Every row has a picture of its own, a JPEG of 0.2 to 2 megapixels with grain, 100 KB on average, near what the released
files have; one row in 50 repeats an earlier one with its picture saved again, one in 100 is damaged. Then, each in its
own process: `add` reads, decodes and keeps every row; `check` hashes every picture and compares all rows with one
another and with a benchmark of 500 items; `split` writes a set of what is left, 5 % held out. The goal for 100,000 rows
is less than 2 GiB in each. With `--big-column` the file has few rows, but 2.5 GiB of pictures in one row group, more
than one array of 32-bit offsets can hold; making it takes 6 GB of memory.

Files are made in a temporary folder and removed. A parquet file has `--slice` rows; it is made when the one before it
has been read, and emptied when the next one has been made, so that 100,000 rows need about 11 GB. The time for that is
not counted. Keys of the JSON file: `rows`, `kept`, `rejected`, `raw_mb`, `disk_mb` (the most that was there at a time),
`duplicates`, `leaks`, `train`, `held_out`; for each of `add`, `check`, `split`: `..._seconds`, `..._cpu_seconds` (of
all its threads), `..._rows_per_second`, `..._peak_gb` (largest resident memory of its process).
"""

import argparse
import functools
import io
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from foveal.curate.adding import Progress

RAW = "raw"
BENCHMARK_ITEMS = 500
GRAIN = 2.5
"""Standard deviation of the grain, of 255."""
BIG_BYTES = 5 * 2**29
BIG_PICTURE = 5 * 2**20
QUESTIONS = (
    "How many {} are in the picture?",
    "What is written on the {} next to the door?",
    "Which colour has the {} that is farthest from the camera?",
    "Is there a {} behind the table? Answer with one word.",
)
THINGS = ("cups", "chairs", "sign", "lamp", "birds", "bottle", "cars", "windows")


@functools.cache
def grain() -> npt.NDArray[np.int16]:
    """Noise for a whole picture, made once."""
    return np.random.default_rng(0).normal(0, GRAIN, (1600, 1500, 1)).astype(np.int16)


def scene(number: int) -> Image.Image:
    """A picture with shapes and some grain, unlike every other."""
    rng = np.random.default_rng(number)
    side = int(rng.integers(450, 1400))
    size = side, int(side * rng.uniform(0.6, 1.1))
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h = rng.integers(0, side, 4)
        draw.rectangle(
            (int(x), int(y), int(x + w // 3), int(y + h // 3)), fill=tuple(map(int, rng.integers(0, 256, 3)))
        )
    draw.text((20, 20), f"No. {number}", fill="black")
    noisy = np.asarray(image, np.int16) + grain()[: image.height, : image.width]
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, quality: int = 88) -> bytes:
    """The picture as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def row(number: int) -> dict[str, Any]:
    """A row of the released RL files, as far as their schema is known."""
    twin = number - 1 if number % 50 == 49 else number
    picture = encoded(scene(twin), 88 if twin == number else 60)
    question = QUESTIONS[twin % len(QUESTIONS)].format(THINGS[twin // 4 % len(THINGS)])
    user = f"<image>\n{question}\nThink first, then answer."
    return {
        "data_source": "perception",
        "prompt": [{"role": "system", "content": "You may write code."}, {"role": "user", "content": user}],
        "images": [{"bytes": picture[: len(picture) // 2] if number % 100 == 7 else picture}],
        "env_name": "deepeyes_v2",
        "reward_model": {"ground_truth": str(twin % 7), "style": "model"},
        "extra_info": {"index": f"made_{number}", "question": question, "answer": str(twin % 7)},
    }


def raw_file(folder: Path, number: int) -> Path:
    """One of the parquet files."""
    return folder / RAW / f"perception_all_{number:04}.parquet"


def write_rows(file: Path, start: int, end: int) -> None:
    """A parquet file of these rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    with ThreadPoolExecutor() as pool:
        for first in range(start, end, 250):
            table = pa.Table.from_pylist(list(pool.map(row, range(first, min(first + 250, end)))))
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
    assert writer is not None
    writer.close()


def write_benchmark(folder: Path, rows: int) -> None:
    """The benchmark that some of the pictures leak from."""
    lines = []
    (folder / "benchmark").mkdir()
    for number in range(BENCHMARK_ITEMS):
        leaked = number * 1000 + 3 if number * 1000 + 3 < rows else 10**8 + number
        image = scene(leaked)
        image.resize((image.width // 2, image.height // 2)).save(folder / "benchmark" / f"{number}.jpg", quality=85)
        lines.append(json.dumps({"id": str(number), "text": "What is shown here?", "images": [f"{number}.jpg"]}))
    (folder / "benchmark" / "questions.jsonl").write_text("\n".join(lines) + "\n")


def write_big_column(folder: Path) -> int:
    """A parquet file with more than 2 GiB of pictures in one row group; how many rows it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = BIG_BYTES // BIG_PICTURE
    rng = np.random.default_rng(0)

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(rows):
            # Bytes behind the end of a JPEG are no part of the picture; so each is large, and quick to make.
            filled = row(number if number % 50 != 49 else number + 10**6)
            filled["images"] = [{"bytes": encoded(scene(number)) + rng.bytes(BIG_PICTURE)}]
            yield pa.RecordBatch.from_pylist([filled], schema)

    first = pa.Table.from_pylist([row(0)]).schema
    schema = first.set(
        first.get_field_index("images"), pa.field("images", pa.list_(pa.struct([("bytes", pa.large_binary())])))
    )
    table = pa.Table.from_batches(batches())
    (folder / RAW).mkdir()
    pq.write_table(table, raw_file(folder, 0), row_group_size=rows, compression="none", use_dictionary=False)
    return rows


class Slices:
    """Makes the parquet files one by one, as the rows are read.

    Attributes:
        seconds: That it took.
        raw: Bytes of all of them.
        most: Bytes that all files together had at most.
    """

    def __init__(self, folder: Path, rows: int, size: int):
        self._folder, self._rows, self._size = folder, rows, size
        self.seconds, self.raw, self.most = 0.0, 0, 0
        (folder / RAW).mkdir()
        for number in range(-(-rows // size)):
            raw_file(folder, number).touch()
        self._make(0)

    def on_row(self, progress: "Progress") -> None:
        """Told of every row that was read: of the last one of a file, too."""
        number = int(progress.file.removesuffix(".parquet").rpartition("_")[2])
        if progress.rows == min(self._size, self._rows - number * self._size):
            self._make(number + 1)

    def _make(self, number: int) -> None:
        began, start = time.perf_counter(), number * self._size
        if start < self._rows:
            file = raw_file(self._folder, number)
            apart(write_rows, file, start, min(start + self._size, self._rows))
            self.raw += file.stat().st_size
        there = (path for path in self._folder.rglob("*") if path.is_file())
        self.most = max(self.most, sum(path.stat().st_size for path in there))
        if number > 1:
            os.truncate(raw_file(self._folder, number - 2), 0)
        self.seconds += time.perf_counter() - began


def add(folder: Path, rows: int, size: int) -> dict[str, float]:
    """Make the rows, and read, check and keep all of them."""
    from foveal.curate.adding import add_sources
    from foveal.curate.sources import SourceSettings

    slices = Slices(folder, rows, size)
    source = SourceSettings(name="made", path=str(folder / RAW / "*.parquet"), format="deepeyes-rl")
    figures = add_sources(folder / "set", [source], on_row=slices.on_row)
    sizes = {"raw_mb": slices.raw / 2**20, "disk_mb": slices.most / 2**20}
    return {**sizes, "kept": figures.kept, "rejected": figures.rejected.total(), "apart": slices.seconds}


def add_big(folder: Path) -> dict[str, float]:
    """Read, check and keep all rows of the one file."""
    from foveal.curate.adding import add_sources
    from foveal.curate.sources import SourceSettings

    source = SourceSettings(name="made", path=str(folder / RAW / "*.parquet"), format="deepeyes-rl")
    figures = add_sources(folder / "set", [source])
    raw_mb = raw_file(folder, 0).stat().st_size / 2**20
    return {"raw_mb": raw_mb, "kept": figures.kept, "rejected": figures.rejected.total()}


def compare(folder: Path) -> dict[str, float]:
    """Look for near duplicates and leaks."""
    from foveal.curate.folder import Folder
    from foveal.curate.leaks import CheckSettings, CheckVerdict, check

    check(folder / "set", [folder / "benchmark"])
    reasons = [
        verdict.reason(CheckSettings()) for verdict in Folder(folder / "set").verdicts("check", CheckVerdict).values()
    ]
    return {"duplicates": reasons.count("near duplicate"), "leaks": reasons.count("leak of picture")}


def sets(folder: Path) -> dict[str, float]:
    """Write the set of reinforcement learning, as if a model had solved half of the samples of every question."""
    from foveal.curate.folder import Folder, Passes
    from foveal.curate.settings import CurateSettings, SplitSettings
    from foveal.curate.split import split

    curation = Folder(folder / "set")
    solved = (Passes(id=one.row.id, samples=8, right=4) for one in curation.questions())
    curation.write_verdicts("benefit", solved)
    settings = CurateSettings(
        benchmarks=(folder / "benchmark",), skip=("difficulty",), split=SplitSettings(held_out=0.05)
    )
    found = split(curation, settings)
    return {"train": found.rl["train"], "held_out": found.rl["held_out"]}


def measured(step: Callable[..., dict[str, float]], folder: Path, *args: int) -> dict[str, float]:
    """What a step gives, with its seconds and the largest memory of this process."""
    began = time.perf_counter()
    found = step(folder, *args)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = time.perf_counter() - began - found.pop("apart", 0.0)
    return {
        **found,
        "seconds": seconds,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 2**20,
    }


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function that is called in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def measure(rows: int, size: int, big_column: bool, folder: Path) -> dict[str, float]:
    """The figures of the JSON file."""
    steps: dict[str, tuple[Any, ...]]
    if big_column:
        rows = apart(write_big_column, folder)
        steps = {"add": (add_big, folder)}
    else:
        apart(write_benchmark, folder, rows)
        steps = {"add": (add, folder, rows, size), "check": (compare, folder), "split": (sets, folder)}
    figures: dict[str, float] = {"rows": rows}
    for name, step in steps.items():
        found = apart(measured, *step)
        own = {key: found.pop(key) for key in ("seconds", "cpu_seconds", "peak_gb")}
        own["rows_per_second"] = rows / own["seconds"]
        figures |= found | {f"{name}_{key}": value for key, value in own.items()}
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--slice", type=int, default=5_000, help="rows of one parquet file")
    parser.add_argument("--big-column", action="store_true", help="2.5 GiB of pictures in one row group instead")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        figures = measure(args.rows, args.slice, args.big_column, Path(folder))
    for name, value in figures.items():
        print(f"{name:28} {value:16,.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
