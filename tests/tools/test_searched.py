import shutil
import sqlite3

import pytest
from PIL import Image

from foveal.tools.search.folder import add_folder, build_index
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.text import Document, TextIndex
from foveal.tools.searched import describe_searched, index_fingerprint
from foveal.tools.settings import ToolSettings


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# Zebra\n\nIt has stripes.\n")
    Image.new("RGB", (20, 20), "red").save(folder / "b.png")
    return folder


def test_an_index_of_other_files_is_another_one_and_a_copy_is_not(docs, tmp_path):
    build_index(docs, tmp_path / "index")
    first = index_fingerprint(tmp_path / "index")
    shutil.copytree(tmp_path / "index", tmp_path / "copy")
    shutil.copytree(docs, tmp_path / "elsewhere" / "docs")  # other times, other numbers of files
    build_index(tmp_path / "elsewhere" / "docs", tmp_path / "again")
    assert index_fingerprint(tmp_path / "copy") == index_fingerprint(tmp_path / "again") == first
    (docs / "a.md").write_text("# Zebra\n\nIt has spots.\n")
    build_index(docs, tmp_path / "index")
    assert index_fingerprint(tmp_path / "index") != first


@pytest.mark.parametrize("origin", [None, "mine"])
def test_what_was_added_to_an_index_of_files_counts_too(docs, tmp_path, origin):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.md").write_text("# Okapi\n")
    found = []
    for name in ("first", "same", "other"):
        build_index(docs, tmp_path / name)
        add_folder(tmp_path / "more", tmp_path / name)
        found.append(index_fingerprint(tmp_path / name))
        if name != "first":
            TextIndex.open(tmp_path / name).add([Document("cow", f"spots of the {name}", origin=origin)])
            found.append(index_fingerprint(tmp_path / name))
    assert found[0] == found[1] == found[3] and len(set(found)) == 3


def test_the_fingerprint_of_an_index_of_files_reads_no_row_of_theirs(docs, tmp_path):
    build_index(docs, tmp_path / "index")
    first = index_fingerprint(tmp_path / "index")
    with sqlite3.connect(tmp_path / "index" / "text.db") as connection:
        connection.execute("update documents set link = 'elsewhere'")
    assert index_fingerprint(tmp_path / "index") == first


@pytest.mark.parametrize(
    ("documents", "pictures"),
    [
        ([Document("zebra", "stripes"), Document("cow", "spots!")], ["red"]),
        ([Document("zebra", "stripes", link="https://e.org"), Document("cow", "spots")], ["red"]),
        ([Document("zebra", "stripes")], ["red"]),
        ([Document("zebra", "stripes"), Document("cow", "spots")], ["blue"]),
        ([Document("zebra", "stripes"), Document("cow", "spots")], ["red", "red"]),
        ([Document("zebra", "stripes"), Document("cow", "spots")], None),
    ],
)
def test_an_index_that_was_made_without_files_goes_by_what_it_holds(tmp_path, documents, pictures):
    def made(name, documents, pictures):
        TextIndex.create(tmp_path / name).add(documents)
        if pictures is not None:
            index = ImageIndex.create(tmp_path / name)
            index.add([Picture("board", Image.new("RGB", (20, 20), colour)) for colour in pictures])
        return index_fingerprint(tmp_path / name)

    plain = [Document("zebra", "stripes"), Document("cow", "spots")], ["red"]
    first = made("first", *plain)
    assert made("same", *plain) == first != made("other", documents, pictures)


def test_live_search_is_told_without_keys(monkeypatch, tmp_path):
    monkeypatch.setenv("SERPER_API_KEY", "s3cret")
    about = describe_searched(
        ToolSettings.model_validate(
            {
                "live": {"provider": "serper", "options": {"gl": "de"}, "mode": "replay", "cache": tmp_path / "c"},
                "visit": {"max_chars": 300},
            }
        )
    )
    assert about == {
        "live": {"provider": "serper", "options": {"gl": "de"}, "kept": True},
        "pages": {"max_chars": 300, "kept": False},
    }
    program = ToolSettings.model_validate({"live": {"provider": "command", "command": ["find", "--key", "s3cret"]}})
    other = ToolSettings.model_validate({"live": {"provider": "command", "command": ["find", "--key", "other"]}})
    assert "s3cret" not in str(describe_searched(program)) and describe_searched(program) != describe_searched(other)
    assert describe_searched(ToolSettings()) == {}
