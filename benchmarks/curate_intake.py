"""Measures the intake of curation: a parquet file in DeepEyesV2's RL schema becomes a checked, split question set.

    python benchmarks/curate_intake.py [--rows N] [--folder FOLDER] [--json FILE]
    python benchmarks/curate_intake.py --big-column [--folder FOLDER] [--json FILE]

Every row has a picture of its own, a JPEG of 0.2 to 2 megapixels; one row in 50 repeats an earlier one with its picture
saved again, one in 100 is damaged. Then, each in its own process: `add` reads, decodes and keeps every row; `check`
hashes every picture and compares all rows with one another and with a benchmark of 500 items; `split` writes the sets,
all other steps left out. The goal for 100,000 rows is less than 2 GiB in each. With `--big-column` the file has few
rows, but 2.5 GiB of pictures in one row group, more than one array of 32-bit offsets can hold; making it takes 6 GB of
memory.

Files are made in a temporary folder and removed; 100,000 rows need about 12 GB. Keys of the JSON file: `rows`, `kept`,
`rejected`, `file_mb`, `duplicates`, `leaks`; for each of `add`, `check`, `split`: `..._seconds`, `..._cpu_seconds` (of
all its threads), `..._rows_per_second`, `..._peak_gb` (largest resident memory of its process).
"""

import argparse
import io
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

FILE = "perception_all_1.parquet"
BENCHMARK_ITEMS = 500
BIG_BYTES = 5 * 2**29
BIG_PICTURE = 5 * 2**20
QUESTIONS = (
    "How many {} are in the picture?",
    "What is written on the {} next to the door?",
    "Which colour has the {} that is farthest from the camera?",
    "Is there a {} behind the table? Answer with one word.",
)
THINGS = ("cups", "chairs", "sign", "lamp", "birds", "bottle", "cars", "windows")


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
    return image


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


def write_rows(folder: Path, rows: int) -> None:
    """The parquet file, and the benchmark that some of its pictures leak from."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    with ThreadPoolExecutor() as pool:
        for start in range(0, rows, 500):
            table = pa.Table.from_pylist(list(pool.map(row, range(start, min(start + 500, rows)))))
            writer = writer or pq.ParquetWriter(folder / FILE, table.schema)
            writer.write_table(table)
    assert writer is not None
    writer.close()
    lines = []
    (folder / "benchmark").mkdir()
    for number in range(BENCHMARK_ITEMS):
        leaked = number * 1000 + 3 if number * 1000 + 3 < rows else 10**8 + number
        image = scene(leaked)
        image.resize((image.width // 2, image.height // 2)).save(folder / "benchmark" / f"{number}.png")
        lines.append(json.dumps({"id": str(number), "text": "What is shown here?", "images": [f"{number}.png"]}))
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
    pq.write_table(table, folder / FILE, row_group_size=rows, compression="none", use_dictionary=False)
    return rows


def add(folder: Path) -> dict[str, float]:
    """Read, check and keep all rows."""
    from foveal.curate.adding import add_sources
    from foveal.curate.sources import SourceSettings

    figures = add_sources(folder / "set", [SourceSettings(name="made", path=str(folder / FILE), format="deepeyes-rl")])
    return {"kept": figures.kept, "rejected": figures.rejected.total()}


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
    """Write the sets, with every step that asks a model left out."""
    from foveal.curate.folder import Folder
    from foveal.curate.settings import CurateSettings, SplitSettings
    from foveal.curate.split import split

    skip = ("difficulty", "benefit", "window", "verify")
    split(Folder(folder / "set"), CurateSettings(skip=skip, split=SplitSettings(held_out=0.05)))
    return {}


def measured(step: Callable[[Path], dict[str, float]], folder: Path) -> dict[str, float]:
    """What a step gives, with its seconds and the largest memory of this process."""
    began = time.perf_counter()
    found = step(folder)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **found,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 2**20,
    }


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function that is called in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def measure(rows: int, big_column: bool, folder: Path) -> dict[str, float]:
    """The figures of the JSON file."""
    if big_column:
        rows = apart(write_big_column, folder)
    else:
        apart(write_rows, folder, rows)
    figures: dict[str, float] = {"rows": rows, "file_mb": (folder / FILE).stat().st_size / 2**20}
    steps = {"add": add} if big_column else {"add": add, "check": compare, "split": sets}
    for name, step in steps.items():
        found = apart(measured, step, folder)
        own = {key: found.pop(key) for key in ("seconds", "cpu_seconds", "peak_gb")}
        own["rows_per_second"] = rows / own["seconds"]
        figures |= found | {f"{name}_{key}": value for key, value in own.items()}
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--big-column", action="store_true", help="2.5 GiB of pictures in one row group instead")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        figures = measure(args.rows, args.big_column, Path(folder))
    for name, value in figures.items():
        print(f"{name:28} {value:16,.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
