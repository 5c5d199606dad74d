"""verl's reading of its rows, and columns too large for one array."""

import io
import json
import os
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings
from foveal.integrations.formats.shards import BYTES, TEXT, Shards
from foveal.integrations.formats.transfer import bring, export


def messages_as_the_trainer_builds_them(row: dict) -> list[dict]:
    """`RLHFDataset._build_messages` of verl 0.9.1: each placeholder takes the next picture, none is left."""
    pictures = iter(row["images"])
    built = []
    for message in row["prompt"]:
        parts = [part for part in re.split("(<image>|<video>|<audio>)", message["content"]) if part]
        assert not {"<video>", "<audio>"} & set(parts)
        built.append([Image.open(io.BytesIO(next(pictures)["bytes"])) if p == "<image>" else p for p in parts])
    assert next(pictures, None) is None
    return built


def test_rows_are_those_of_the_trainer(question_set, tmp_path):
    export(question_set, "verl", tmp_path / "out", "You look.", " Think.")
    rows = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert set(rows[0]) == {"data_source", "prompt", "images", "ability", "reward_model", "extra_info", "env_name"}
    built = [messages_as_the_trainer_builds_them(row) for row in rows]
    assert [len(user) for _, user in built] == [2, 3, 1] and all(system == ["You look."] for system, _ in built)
    assert built[1][1][2] == "Größer? 大 Think." and built[1][1][0].format == "JPEG"
    assert [row["reward_model"] for row in rows] == [
        {"style": "rule", "ground_truth": gold} for gold in ("B", "ja", "42")
    ]
    extra = rows[1]["extra_info"]
    assert (extra["index"], extra["question"], extra["answer"], extra["split"]) == ("q2", "Größer? 大", "ja", "train")
    assert json.loads(extra["foveal"])["gold"] == ["ja", "yes"]
    assert [row["data_source"] for row in rows] == ["questions", "questions", "reasoning"]
    assert {row["env_name"] for row in rows} == {"deepeyes_v2"}


def test_a_question_without_an_answer_has_no_reward_and_is_told_of(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "?"}\n{"id": "b", "text": "<image>?", "gold": "1"}\n')
    result = export(tmp_path / "q.jsonl", "verl", tmp_path / "out")
    assert [reject.reason[:30] for reject in result.rejects] == [
        "the question has no accepted a",
        "message 1 (user) says <image>,",
    ]
    assert result.kept == 0 and not (tmp_path / "out" / "data").exists()


def test_the_released_rows_are_read(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, "JPEG")
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "<image>\nWho? Put it in <answer>."}]
    row = {
        "data_source": "search",
        "prompt": prompt,
        "images": [{"bytes": buffer.getvalue()}],
        "reward_model": {"ground_truth": "Ada", "style": "model"},
        "extra_info": {"index": "fvqa_7", "question": "Who?", "answer": "Ada"},
    }
    bare = {**row, "extra_info": {"index": "fvqa_7"}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "search.parquet")
    pq.write_table(pa.Table.from_pylist([bare]), tmp_path / "bare.parquet")
    bring(tmp_path / "search.parquet", "verl", tmp_path / "back")
    (question,) = read_questions([tmp_path / "back" / "questions.jsonl"])
    assert (question.row.id, question.row.text, question.row.gold, question.row.family) == (
        "fvqa_7",
        "Who?",
        ("Ada",),
        "search",
    )
    assert question.pictures[0].read_bytes() == buffer.getvalue() and question.pictures[0].suffix == ".jpg"
    bring(tmp_path / "bare.parquet", "verl", tmp_path / "bare")
    (question,) = read_questions([tmp_path / "bare" / "questions.jsonl"])
    assert (question.row.text, question.row.gold) == ("Who? Put it in <answer>.", ("Ada",))


def test_rows_are_read_as_curation_reads_them(tmp_path):
    """One reader: what is imported and what `foveal curate add` takes in do not differ."""
    said = [{"role": "user", "content": "Is it 3 or 4?"}]
    rows = [
        {"prompt": said, "reward_model": {"ground_truth": "3"}, "extra_info": {"index": 1.0, "answer": "4"}},
        {"prompt": said, "reward_model": {"ground_truth": None}, "extra_info": {"index": 2.0, "answer": "4"}},
        {"prompt": said, "reward_model": {"ground_truth": ""}, "extra_info": {"index": 3.0, "answer": None}},
    ]
    rows = [{"data_source": "reason", "images": [], **row} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert bring(tmp_path / "x.parquet", "verl", tmp_path / "back").kept == 3
    imported = [question.row for question in read_questions([tmp_path / "back" / "questions.jsonl"])]
    assert [(row.id, row.gold, row.family) for row in imported] == [
        ("1", ("3",), "reasoning"),
        ("2", ("4",), "reasoning"),
        ("3", (), "reasoning"),
    ]
    source = SourceSettings(name="rl", path=str(tmp_path / "x.parquet"), format="deepeyes-rl")
    assert add_sources(tmp_path / "added", [source]).rejected == {"no_answer": 1, "duplicate": 1}
    (first,) = [question.row for question in read_questions([tmp_path / "added" / "questions.jsonl"])]
    assert (first.text, first.gold, first.family) == (imported[0].text, imported[0].gold, imported[0].family)


@pytest.mark.parametrize("nothing", [None, "", "  ", "[]", [], [" "], [None], float("nan")])
def test_rows_without_an_answer_are_taken_whatever_stands_for_nothing(tmp_path, nothing):
    row = {"prompt": [{"role": "user", "content": "?"}], "images": [], "reward_model": {"ground_truth": nothing}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    assert bring(tmp_path / "x.parquet", "verl", tmp_path / "back").rejects == ()
    (question,) = read_questions([tmp_path / "back" / "questions.jsonl"])
    assert (question.row.text, question.row.gold) == ("?", ())


def test_pictures_are_counted_in_the_prompt_and_not_in_the_question(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(buffer, "PNG")
    row = {
        "prompt": [{"role": "user", "content": "<image><image>\nWhich?"}],
        "images": [{"bytes": buffer.getvalue()}] * 2,
        "reward_model": {"ground_truth": "x"},
        "extra_info": {"question": "<image>\nWhich?"},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    bring(tmp_path / "x.parquet", "verl", tmp_path / "back")
    (question,) = read_questions([tmp_path / "back" / "questions.jsonl"])
    assert (question.row.text, len(question.pictures)) == ("Which?", 2)


def test_a_file_whose_name_is_not_utf_8_is_a_data_source(tmp_path):
    source = tmp_path / "caf\udce9.jsonl"
    source.write_text('{"id": "a", "text": "?", "gold": "1"}\n')
    assert export(source, "verl", tmp_path / "out").kept == 1
    assert pq.read_table(tmp_path / "out" / "data").to_pylist()[0]["data_source"] == "caf?"


def test_a_prompt_that_shows_other_pictures_than_the_row_holds_is_told_of(tmp_path):
    row = {"prompt": [{"role": "user", "content": "<image>?"}], "images": [], "extra_info": {"question": "?"}}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    assert bring(tmp_path / "x.parquet", "verl", tmp_path / "back").rejects[0].reason.startswith("1 <image>")


def test_two_rows_of_one_name_stay_two(tmp_path):
    row = {"prompt": [{"role": "user", "content": "?"}], "images": [], "extra_info": {"index": 4}}
    pq.write_table(pa.Table.from_pylist([row, row], schema=None), tmp_path / "x.parquet")
    bring(tmp_path / "x.parquet", "verl", tmp_path / "back")
    assert [q.row.id for q in read_questions([tmp_path / "back" / "questions.jsonl"])] == ["4", "4#x-2"]


def test_large_columns_are_cut_into_row_groups_and_files(tmp_path):
    content = bytes(range(256)) * 40  # 10 kB
    with Shards(tmp_path, "train", {"id": TEXT, "images": BYTES}, row_group_bytes=30_000, shard_bytes=70_000) as shards:
        for number in range(20):
            shards.write({"id": str(number), "images": [{"bytes": content + bytes([number])}]})
    files = sorted((tmp_path / "data").iterdir())
    assert [path.name for path in files] == [f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))]
    groups = [pq.ParquetFile(path).metadata.num_row_groups for path in files]
    assert shards.rows == 20 and sum(groups) == 7  # three rows each
    table = pq.read_table(tmp_path / "data")
    assert table.schema.field("images").type.value_type.field("bytes").type == pa.large_binary()
    assert [row["images"][0]["bytes"][-1] for row in table.to_pylist()] == list(range(20))


@pytest.mark.slow
def test_a_column_of_more_than_two_gigabytes_in_one_file_is_written_and_read(tmp_path):
    noise = os.urandom(8 << 20)
    with Shards(tmp_path, "train", {"id": TEXT, "images": BYTES}, shard_bytes=1 << 40) as shards:
        for number in range(270):
            shards.write({"id": str(number), "images": [{"bytes": noise + number.to_bytes(2)}]})
    (path,) = (tmp_path / "data").iterdir()
    assert path.stat().st_size > 2**31
    column = pq.read_table(path)["images"]
    assert column.nbytes > 2**31 and column[269].as_py()[0]["bytes"][-2:] == (269).to_bytes(2)
