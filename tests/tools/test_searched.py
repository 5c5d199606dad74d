import shutil

import pytest
from PIL import Image

from foveal.tools.search.folder import build_index
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
