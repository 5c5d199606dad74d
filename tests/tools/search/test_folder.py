import json
import os

import pytest
from PIL import Image

from foveal.errors import InputError, SearchError
from foveal.tools.search import image, text
from foveal.tools.search.folder import FILES, build_index, open_index


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "zebra.md").write_text("# Zebras\nA zebra has stripes.")
    (folder / "notes" / "deep" / "list.jsonl").write_text('{"title": "Okapi", "text": "striped legs"}\n')
    Image.new("RGB", (40, 30), "red").save(folder / "red_square.png")
    Image.new("RGB", (40, 30), "blue").save(folder / "sea.jpg", quality=95)
    (folder / "sea.txt").write_text("The sea at noon")
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "index"


def answers(out, find):
    """What the index answers to a few queries, thumbnails and all."""
    index = open_index(out)
    words = [find(index.text, query) for query in ("stripes", "zebra", "legs", "sea")] if index.text else []
    return words, [find(index.images, Image.new("RGB", (4, 4), colour)) for colour in ("red", "blue")]


def test_documents_and_pictures_of_all_folders_are_found(source, out, find):
    built = build_index(source, out)
    assert built == (2, 2, 4, 0, 0, ())
    index = open_index(out)
    hit = find(index.text, "zebra")[0]
    assert (hit.title, hit.link, hit.source) == ("Zebras", "notes/zebra.md", "notes/zebra.md")
    assert find(index.text, "okapi")[0].source == "notes/deep/list.jsonl"
    assert [h.title for h in find(index.images, Image.new("RGB", (4, 4), "red"))] == ["red square", "The sea at noon"]
    assert find(index.text, "noon") == []  # a caption belongs to its picture


def test_second_build_reads_only_what_changed(source, out, find):
    build_index(source, out)
    assert build_index(source, out) == (2, 2, 0, 4, 0, ())

    (source / "notes" / "zebra.md").write_text("# Zebras\nNow about hooves.")
    (source / "new.txt").write_text("A giraffe")
    (source / "red_square.png").unlink()
    assert build_index(source, out) == (3, 1, 2, 2, 1, ())
    index = open_index(out)
    assert "Zebras" not in [h.title for h in find(index.text, "stripes")]
    assert [h.title for h in find(index.text, "hooves")] == ["Zebras"]
    assert [h.title for h in find(index.text, "giraffe")] == ["new"]
    assert [h.title for h in find(index.images, Image.new("RGB", (4, 4), "red"))] == ["The sea at noon"]


def test_updated_index_answers_as_a_fresh_one(source, out, tmp_path, find):
    (source / "old.md").write_text("stripes of an old kind")
    build_index(source, out)
    (source / "old.md").unlink()
    (source / "notes" / "zebra.md").write_text("# Zebras\nA zebra: black stripes, white stripes.")
    build_index(source, out)
    build_index(source, tmp_path / "fresh")
    assert answers(out, find) == answers(tmp_path / "fresh", find)


def test_two_builds_are_alike(source, tmp_path, find):
    build_index(source, tmp_path / "a")
    build_index(source, tmp_path / "b")
    assert answers(tmp_path / "a", find) == answers(tmp_path / "b", find)


def test_changed_caption_renames_its_picture(source, out, find):
    build_index(source, out)
    (source / "sea.txt").write_text("The lake at dawn")
    assert build_index(source, out).read == 1
    (source / "metadata.jsonl").write_text('{"file_name": "red_square.png", "text": "A square", "link": "https://s"}\n')
    build_index(source, out)
    hits = find(open_index(out).images, Image.new("RGB", (4, 4), "red"))
    assert [(h.title, h.link) for h in hits] == [("A square", "https://s"), ("The lake at dawn", "sea.jpg")]


def test_long_text_beside_a_picture_is_a_document(source, out, find):
    (source / "sea.txt").write_text("The sea, a report. " * 40)
    build_index(source, out)
    assert find(open_index(out).text, "report")[0].title == "sea"


def test_skipped_files_are_named_with_the_reason(source, out):
    (source / "table.xlsx").write_bytes(b"PK")
    (source / "Makefile").write_text("all:")
    (source / "latin.txt").write_bytes(b"caf\xe9")
    (source / "fake.png").write_text("no")
    (source / ".hidden").mkdir()
    (source / ".hidden" / "key.txt").write_text("secret")
    os.mkfifo(source / "pipe.txt")
    reasons = dict(build_index(source, out).skipped)
    assert reasons == {
        "Makefile": "file without a kind",
        "fake.png": "not a picture, whatever its name says",
        "latin.txt": "not UTF-8 text: byte 3",
        "pipe.txt": "not a regular file",
        "table.xlsx": "kind .xlsx is not indexed",
    }


def test_skipped_file_is_told_again_and_taken_in_when_it_is_mended(source, out):
    (source / "fake.png").write_text("no")
    first = build_index(source, out)
    assert build_index(source, out).skipped == first.skipped != ()
    Image.new("RGB", (4, 4)).save(source / "fake.png")
    assert build_index(source, out)[1::4] == (3, ())


def test_nothing_outside_the_folder_is_read(source, out, tmp_path, find):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_text("canary")
    Image.new("RGB", (4, 4), "lime").save(tmp_path / "outside" / "secret.png")
    (source / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (source / "link.png").symlink_to(tmp_path / "outside" / "secret.png")
    (source / "red_square.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (source / "folder").symlink_to(tmp_path / "outside")
    (source / "loop").symlink_to(source)
    built = build_index(source, out)
    assert {path: reason for path, reason in built.skipped} == dict.fromkeys(
        ("link.txt", "link.png", "red_square.txt", "folder", "loop"), "symbolic link"
    )
    assert (built.documents, built.pictures) == (2, 2)
    index = open_index(out)
    assert find(index.text, "canary") == []
    assert "canary" not in [h.title for h in find(index.images, Image.new("RGB", (4, 4), "red"))]


def test_index_inside_the_folder_does_not_index_itself(source):
    out = source / "index"
    build_index(source, out)
    assert build_index(source, out) == (2, 2, 0, 4, 0, ())


def test_folder_of_one_kind_has_one_half(source, out, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("hello")
    build_index(tmp_path / "words", out)
    index = open_index(out)
    assert index.images is None
    assert len(index.text) == 1
    (tmp_path / "words" / "a.txt").unlink()
    Image.new("RGB", (4, 4)).save(tmp_path / "words" / "a.png")
    build_index(tmp_path / "words", out)
    index = open_index(out)
    assert index.text is None
    assert len(index.images) == 1


@pytest.mark.parametrize("name", [text.FILE, image.FILE])
def test_build_that_was_killed_is_mended_by_the_next(source, out, tmp_path, find, name):
    build_index(source, out)
    # As after a kill between the databases and the list of files: rows that the list does not know.
    (out / FILES).write_text(json.dumps({"version": 1, "folder": "mine", "files": {}}))
    if name == image.FILE:
        (out / name).unlink()
    assert build_index(source, out).read == 4
    build_index(source, tmp_path / "fresh")
    assert answers(out, find) == answers(tmp_path / "fresh", find)


def test_file_that_went_while_a_build_failed_still_leaves_the_index(source, out, damage, find):
    build_index(source, out)
    good = (out / text.FILE).read_bytes()
    (source / "notes" / "zebra.md").unlink()
    damage(out / text.FILE)
    with pytest.raises(SearchError):
        build_index(source, out)
    (out / text.FILE).write_bytes(good)
    assert build_index(source, out).gone == 1
    assert [hit.title for hit in find(open_index(out).text, "zebra stripes")] == ["Okapi"]


def test_missing_folder(tmp_path, out):
    with pytest.raises(InputError, match="there is no folder"):
        build_index(tmp_path / "nowhere", out)
    with pytest.raises(InputError, match="no index folder") as caught:
        open_index(out)
    assert "foveal index build" in caught.value.fix


@pytest.mark.parametrize("damaged", [False, True])
def test_nothing_to_index_leaves_nothing_behind(tmp_path, out, damaged):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.exe").write_text("")
    if damaged:
        (tmp_path / "empty" / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"nothing to index.*a\.exe: kind \.exe is not indexed") as caught:
        build_index(tmp_path / "empty", out)
    assert ".md" in caught.value.fix
    assert not out.exists()


def test_emptied_folder_does_not_wipe_its_index(source, out, tmp_path, find):
    build_index(source, out)
    before = answers(out, find)
    source.rename(tmp_path / "elsewhere")
    source.mkdir()
    with pytest.raises(InputError, match="nothing to index"):
        build_index(source, out)
    assert answers(out, find) == before


def test_other_folders_are_not_written_into(source, out, tmp_path):
    with pytest.raises(InputError, match="cannot be the folder"):
        build_index(source, source)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        build_index(source, tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.doc"]
    build_index(source, out)
    source.rename(tmp_path / "renamed")
    with pytest.raises(InputError, match="index of a folder named 'mine'"):
        build_index(tmp_path / "renamed", out)


def test_damage_and_other_versions_are_named_with_the_fix(source, out, damage):
    build_index(source, out)
    damage(out / text.FILE)
    (source / "notes" / "zebra.md").write_text("changed")
    with pytest.raises(SearchError) as caught:
        build_index(source, out)
    assert "build it again" in caught.value.fix
    (out / FILES).write_text('{"version": 7, "folder": "mine", "files": {}}')
    with pytest.raises(InputError, match="version 7"):
        build_index(source, out)
    (out / FILES).write_text("{")
    with pytest.raises(InputError, match="cannot be read") as caught:
        build_index(source, out)
    assert "build it again" in caught.value.fix
