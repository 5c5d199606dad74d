"""`datasets.load_dataset(folder)` with nothing else said, and the card."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from foveal.curate.questions import read_questions
from foveal.integrations.formats.hub import _size_category
from foveal.integrations.formats.transfer import bring, export
from foveal.records import read_run


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`load(folder)`: all splits, as `datasets` reads them offline, sizes compared with the card."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def read(folder):
        from datasets import load_dataset

        return load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))

    return read


def test_a_run_is_read_at_once_with_what_to_filter_by(run, tmp_path, load):
    export(run, "hub-folder", tmp_path / "out")
    splits = load(tmp_path / "out")
    assert list(splits) == ["train"]
    row = splits["train"].filter(lambda row: row["reward"] == 1.0 and row["family"] == "perception")[0]
    original = read_run(run).trajectories[0]
    assert (row["question"], row["gold"], row["answer"]) == ("What is it?", ["noise"], "noise")
    assert (row["stop_reason"], row["policy"], row["profile"]) == ("answered", "teacher", "foveal")
    assert [image.size for image in row["images"]] == [(ref.width, ref.height) for ref in original.images]


def test_a_question_set_is_read_at_once(question_set, tmp_path, load):
    export(question_set, "hub-folder", tmp_path / "out")
    rows = load(tmp_path / "out")["train"]
    assert rows["question"][:] == ["Which?", "Größer? 大", "7 × 6 ="] and rows["gold"][1] == ["ja", "yes"]
    assert [len(images) for images in rows["images"]] == [1, 2, 0]
    # Half transparent red over white, as foveal's model sees it; `convert("RGB")` would have made it pure red.
    assert rows[1]["images"][1].getpixel((3, 3)) == (255, 127, 127)


def test_the_card_says_licence_size_and_splits(run, tmp_path, load):
    export(run, "hub-folder", tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "unknown" and card.data.size_categories == ["n<1K"]
    (split,) = card.data.dataset_info["splits"]
    assert split["num_examples"] == 1 and split["num_bytes"] > 10_000
    assert "before you publish" in card.text
    # `datasets` compares: a card that lies is found out.
    text = (tmp_path / "out" / "README.md").read_text()
    (tmp_path / "out" / "README.md").write_text(re.sub("num_examples: 1", "num_examples: 2", text))
    with pytest.raises(Exception, match="num_examples=2"):
        load(tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (99_999, "10K<n<100K"),
        (100_000, "100K<n<1M"),
        (5_000_000, "1M<n<10M"),
    ],
)
def test_sizes_have_the_names_of_the_hub(rows, name):
    assert _size_category(rows) == name


def test_questions_of_others_are_read(tmp_path):
    rows = [{"question": "who?", "answer": "Ada"}, {"question": None, "answer": "Ada"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    result = bring(tmp_path / "x.parquet", "hub-folder", tmp_path / "back")
    assert (result.kept, result.rejected) == (1, 1)
    assert read_questions([tmp_path / "back" / "questions.jsonl"])[0].row.gold == ("Ada",)
