import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from foveal.bench.benchmark import CODE_ONLY, Benchmark, mean
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.loading import Problem, load
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.words import short
from foveal.errors import InputError


def read(row: Row) -> list[Item]:
    pictures = row.pictures("image") if row.get("image") else ()
    return [Item(row.text("index", "key"), row.text("question"), (row.text("answer"),), pictures)]


PLAIN = Benchmark(
    name="plain", title="Plain", group="perception", data="nobody/plain", split="test", items=2, licence="none",
    read=read, rule=short, judge=False, scorer="equal", suffix="", tools=CODE_ONLY, summary=mean, paper="", sources=(),
)  # fmt: skip

ROWS = [
    {"index": 1, "question": 'Was heißt "größer"?\tund\nweiter', "answer": "大きい"},
    {"index": 2, "question": "Two?", "answer": "2"},
]


def everything(source: Path, benchmark: Benchmark = PLAIN) -> tuple[list[Item], list[Problem]]:
    problems: list[Problem] = []
    return list(load(benchmark, source, problems.append)), problems


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", ["json", "dict.json", "jsonl", "tsv", "csv", "parquet"])
def test_every_kind_of_file(tmp_path, suffix: str):
    path = tmp_path / f"rows.{suffix}"
    match suffix:
        case "json":
            path.write_text(json.dumps(ROWS, ensure_ascii=False), encoding="utf-8")
        case "dict.json":
            path.write_text(json.dumps({str(r["index"]): {**r, "index": None} for r in ROWS}), encoding="utf-8")
        case "jsonl":
            path.write_text("\n\n".join(map(json.dumps, ROWS)) + "\n", encoding="utf-8")
        case "tsv" | "csv":
            write_table(path, ROWS)
        case "parquet":
            write_parquet(path, ROWS)
    items, problems = everything(path)
    assert problems == []
    assert [(i.id, i.text, i.gold) for i in items] == [(str(r["index"]), r["question"], (r["answer"],)) for r in ROWS]


def test_a_folder_is_read_file_by_file_in_order(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps(ROWS[:1]))
    (tmp_path / "a.jsonl").write_text(json.dumps(ROWS[1]))
    (tmp_path / "readme.md").write_text("no rows")
    assert [item.id for item in everything(tmp_path)[0]] == ["2", "1"]


def test_bad_rows_are_told_with_file_and_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(ROWS[0]), "{broken", '["a list"]', '{"index": 3, "question": "?"}', json.dumps(ROWS[0])]
    path.write_text("\n".join([*lines, '{"index": 9, "question": "?", "answer": "x", "image": "gone.png"}']))
    items, problems = everything(path)
    assert [item.id for item in items] == ["1"]
    assert [problem.where for problem in problems] == [f"{path} row {number}" for number in (1, 2, 3, 4, 5)]
    reasons = [problem.reason for problem in problems]
    assert "no JSON" in reasons[0] and "list, not an object" in reasons[1] and reasons[2] == "no answer"
    assert reasons[3] == f"the id '1' is that of {path} row 0" and "there is no file gone.png" in reasons[4]
    assert str(problems[2]) == f"{path} row 3: no answer"


def test_rows_with_other_columns_are_told(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("index\tquestion\tanswer\n1\tWhat?\tx\n2\tWhat?\n3\tWhat?\tx\ty\n")
    items, problems = everything(path)
    assert [item.id for item in items] == ["1"]
    assert [problem.reason for problem in problems] == ["it has not as many columns as the first line"] * 2


def test_a_picture_of_another_row(tmp_path, base64_png):
    """VLMEvalKit saves space: a short picture column names the index of the row that has it, before or behind."""
    first = {"index": 7, "question": "?", "answer": "x", "image": 9}
    rows = [first, {**first, "index": 9, "image": base64_png}, {**first, "index": 11}]
    items, problems = everything(write_table(tmp_path / "rows.tsv", rows))
    assert problems == [] and len({item.pictures for item in items}) == 1 and len(items) == 3
    rows[2]["image"] = 8
    items, problems = everything(write_table(tmp_path / "rows.tsv", rows))
    assert len(items) == 2 and "there is no file 8" in problems[0].reason


def test_pictures_of_parquet_are_bytes(tmp_path, png):
    rows = [{**ROWS[0], "image": {"bytes": png(), "path": "1.png"}}]
    assert everything(write_parquet(tmp_path / "rows.parquet", rows))[0][0].pictures == (png(),)


def test_a_huge_field_is_read(tmp_path):
    rows = [{"index": 1, "question": "?" * 300_000, "answer": "x"}]
    assert len(everything(write_table(tmp_path / "rows.tsv", rows))[0][0].text) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("x.json", "[1, 2", "cannot be read after row -1"), ("x.json", "5", "neither a list nor a dictionary of rows"),
     ("x.tsv", 'a\tb\n"broken\t1', "cannot be read"), ("x.parquet", "no parquet", "cannot be read"),
     ("x.json", "[]", "no question in"), ("x.jsonl", "{}\n", "no question in .* row 0: no index or key"),
     ("x.txt", "a", r"\.txt is none of"), ("x.tsv", b"\xff\xfe", "cannot be read")],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path, name: str, content: str | bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message):
        everything(path)


def test_no_files(tmp_path):
    with pytest.raises(InputError, match="holds no file of the kinds"):
        everything(tmp_path)
    with pytest.raises(InputError, match="is not there"):
        everything(tmp_path / "gone")


def test_what_is_not_on_the_hub():
    with pytest.raises(InputError, match="DynaMath is not on the hub"):
        list(load(BENCHMARKS["dynamath"], None, lambda problem: None))


def test_rows_come_as_they_are_asked_for(tmp_path):
    """Pictures of gigabytes are not held together: the second row is read after the first was taken."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    problems: list[Problem] = []
    items = load(PLAIN, path, problems.append)
    assert next(items).id == "1" and problems == []
    assert list(items) == [] and len(problems) == 1


HUB = """
import sys
from dataclasses import replace
import datasets
from PIL import Image
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.loading import load
from foveal.trajectory import ImageStore

folder = sys.argv[1]
features = datasets.Features({
    "question": datasets.Value("string"), "answer": datasets.Value("string"), "type": datasets.Value("string"),
    "image": datasets.Image(), "images": datasets.List(datasets.Image()),
})
picture = Image.new("RGB", (8, 6), "blue")
rows = {"question": ["Wie viele?", ""], "answer": ["14", "15"], "type": ["human_test"] * 2}
rows |= {"image": [picture] * 2, "images": [[picture, picture], []]}
datasets.Dataset.from_dict(rows, features).to_parquet(f"{folder}/train.parquet")
benchmark = replace(BENCHMARKS["chartqa"], data=folder, split="train")
problems = []
(item,) = load(benchmark, None, problems.append)
assert item.question(ImageStore()).images[0].width == 8, item
assert [str(problem) for problem in problems] == [f"{folder} train row 1: no question"], problems
(item,) = load(replace(benchmark, read=lambda row: [replace(item, pictures=row.pictures("images"))][: 1 - row.number]),
               None, problems.append)
assert len(item.pictures) == 2
try:
    list(load(replace(benchmark, split="nowhere"), None, problems.append))
except Exception as error:
    assert type(error).__name__ == "InputError" and "cannot be had from the hub" in str(error), error
"""


def test_the_hub(tmp_path):
    """A data set of the hub's own library, from a folder and without a network."""
    (tmp_path / "data").mkdir()
    env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(tmp_path / "data")], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
