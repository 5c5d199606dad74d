import io
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foveal.config import read_settings
from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings, source_files
from foveal.errors import ConfigError


def source(path, **settings):
    return SourceSettings.model_validate({"name": "s", "path": str(path)} | settings)


def names(path, **settings):
    return [(file.name, file.kind, file.split, file.prefix) for file in source_files([source(path, **settings)])]


@pytest.fixture
def touch(tmp_path):
    def make(*files):
        for name in files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return make


def test_a_file_a_pattern_and_a_folder(touch):
    folder = touch("a.jsonl", "sub/b.csv", "sub/c.tsv", "d.txt", ".git/e.json", "sub/state.json", "cache-1.arrow")
    assert names(folder / "a.jsonl") == [("a.jsonl", "jsonl", None, "s")]
    assert names(folder / "**/[bc].*") == [("b.csv", "csv", None, "s-b"), ("c.tsv", "csv", None, "s-c")]
    assert [name for name, *_ in names(folder)] == ["a.jsonl", "sub/b.csv", "sub/c.tsv"]
    assert names(folder)[1][3] == "s-sub-b"
    assert names(folder, format="csv") == [
        ("sub/b.csv", "csv", None, "s-sub-b"),
        ("sub/c.tsv", "csv", None, "s-sub-c"),
    ]
    assert names(folder / "d.txt", format="jsonl")[0][1] == "jsonl"


def test_a_link_to_a_folder_above_or_beside_brings_no_row_twice(touch):
    folder = touch("raw/z.jsonl", "raw/sub/b.csv", "raw/sub/deep/c.csv") / "raw"
    (folder / "again.csv").symlink_to("sub/b.csv")  # a file under two names is for its owner to judge
    found = ["again.csv", "sub/b.csv", "sub/deep/c.csv", "z.jsonl"]
    (folder / "sub" / "up").symlink_to("..")
    for path in (folder, folder / "**" / "*.*"):
        assert [name for name, *_ in names(path)] == found
    (folder / "sub" / "deep" / "top").symlink_to(folder)
    (folder / "twin").symlink_to("sub")
    assert [name for name, *_ in names(folder)] == found


def test_sources_that_cannot_be_read_are_refused(touch):
    folder = touch("d.txt", "a.jsonl")
    for path in (folder / "none", folder / "*.parquet"):
        with pytest.raises(ConfigError, match="no file, no pattern"):
            names(path)
    with pytest.raises(ConfigError, match=r"d\.txt is not one of"):
        names(folder / "d.txt")
    with pytest.raises(ConfigError, match="not one of arrow, parquet"):
        names(folder / "a.jsonl", format="hub-folder")
    with pytest.raises(ConfigError, match="two sources are named s"):
        source_files([source(folder / "a.jsonl")] * 2)


@pytest.mark.parametrize(("name", "path"), [("caf\udce9.jsonl", ""), ("\udce9/a.jsonl", ""), ("\udce9/a.jsonl", "*/*")])
def test_a_name_that_is_not_utf_8_is_told_with_the_fix(touch, name, path):
    """The byte E9 alone, é of an old system: Python keeps it as half of a UTF-16 pair."""
    with pytest.raises(ConfigError, match=r"source s: .*\\udce9.*is not UTF-8") as caught:
        names(touch(name) / path)
    assert "rename" in caught.value.fix


def test_settings_as_toml(tmp_path):
    (tmp_path / "s.toml").write_text(
        'name = "s"\npath = "x"\n[columns]\nquestion = "q"\nimages = ["a", "b"]\n[reading]\nanswer_separator = " or "\n'
    )
    made = read_settings(SourceSettings, tmp_path / "s.toml", {"columns.answer": "z"})
    assert made.columns.named == ("q", "a", "b", "z") and made.reading.answer_separator == " or "
    for wrong in ({"name": "a/b"}, {"columns.query": "q"}, {"format": "deepeyes-rl"}, {"reading.answer_index": "true"}):
        with pytest.raises(ConfigError):
            read_settings(SourceSettings, tmp_path / "s.toml", wrong)


@pytest.mark.parametrize(
    "url", ["https://bob:s3cret@h/a", "https://h/a?id=3&X-Amz-Signature=s3cret", "https://h/a?api_key=s3cret#part"]
)
def test_an_address_of_a_source_is_published_so_it_holds_no_secret(url):
    with pytest.raises(ConfigError, match=r"url: .*it is published with the set: leave out") as error:
        read_settings(SourceSettings, None, {"name": "s", "path": "x", "url": url})
    assert "s3cret" not in str(error.value)
    known = read_settings(SourceSettings, None, {"name": "s", "path": "x", "url": "https://h/a?id=3&author=me"})
    assert known.url == "https://h/a?id=3&author=me"


def test_a_path_is_named(tmp_path):
    with pytest.raises(ConfigError, match="path: String should have at least 1 character"):
        read_settings(SourceSettings, None, {"name": "s", "path": ""})


def image(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8))


def test_a_dataset_saved_to_disk_is_read_with_its_splits(tmp_path):
    features = datasets.Features(
        {"q": datasets.Value("string"), "pics": datasets.Sequence(datasets.Image()), "a": datasets.Value("int64")}
    )

    def split(*seeds):
        rows = {"q": ["Which?"] * len(seeds), "pics": [[image(seed)] for seed in seeds], "a": list(seeds)}
        return datasets.Dataset.from_dict(rows, features=features)

    datasets.DatasetDict({"train": split(1, 2), "test": split(3)}).save_to_disk(tmp_path / "set")
    columns = {"question": "q", "images": "pics", "answer": "a"}
    add_sources(tmp_path / "out", [source(tmp_path / "set", format="hub-folder", columns=columns)])
    found = [(q.row.gold, q.row.meta["split"]) for q in read_questions([tmp_path / "out" / "questions.jsonl"])]
    assert found == [(("3",), "test"), (("1",), "train"), (("2",), "train")]
    add_sources(tmp_path / "one", [source(tmp_path / "set" / "train", columns=columns)])
    assert len(read_questions([tmp_path / "one" / "questions.jsonl"])) == 2


def test_parquet_of_a_hub_with_names_of_splits(tmp_path):
    (tmp_path / "data").mkdir()
    buffer = io.BytesIO()
    image(1).save(buffer, "JPEG")
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test_mini-00000-of-00001"):
        table = pa.table({"q": [name], "image": [{"bytes": buffer.getvalue(), "path": "x.jpg"}]})
        pq.write_table(table, tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").touch()
    columns = {"question": "q", "images": "image"}
    add_sources(tmp_path / "out", [source(tmp_path / "data", columns=columns)])
    rows = [json.loads(line) for line in (tmp_path / "out" / "questions.jsonl").read_text().splitlines()]
    assert [row["meta"]["split"] for row in rows] == ["test_mini", "train", "train"]
    assert rows[0]["id"] == "s-test_mini-00000-of-00001-1"
    assert {path.suffix for path in (tmp_path / "out" / "pictures").iterdir()} == {".jpg"}
