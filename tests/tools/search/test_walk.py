"""Which files of a folder are read for an index, and which are not."""

import json
import os
import sys
import time

import pytest
from PIL import Image

from foveal.tools.search.folder import FILES, build_index, open_index


def later():
    return time.time() + 60


@pytest.fixture
def opened():
    """The names of the files that Python opens, in a list that grows."""
    names, at_work = [], [True]
    sys.addaudithook(lambda event, args: at_work[0] and event == "open" and names.append(str(args[0])))
    yield names
    at_work[0] = False


def test_files_that_look_unchanged_are_not_opened(source, out, opened):
    build_index(source, out, now=later)
    kept = {str(source / name) for name in ("notes/zebra.md", "notes/deep/list.jsonl", "red_square.png", "sea.jpg")}
    assert kept <= set(opened)
    opened.clear()
    assert build_index(source, out, now=later) == (2, 2, 0, 4, 0, ())
    assert not kept & set(opened)
    (source / "notes" / "zebra.md").write_text("# Zebras\nA zebra has hoooves.")
    os.utime(source / "notes" / "zebra.md", (1e9, 1e9))  # as if it were old, and as long as before
    (source / "sea.txt").write_text("The sea at dawn")
    assert build_index(source, out, now=later)[2:4] == (2, 2)
    assert kept & set(opened) == {str(source / "notes/zebra.md"), str(source / "sea.jpg")}


def test_a_file_changed_within_a_tick_of_the_clock_is_read_again(source, out, opened):
    build_index(source, out, now=time.time)
    opened.clear()
    assert build_index(source, out, now=later).read == 0
    assert str(source / "red_square.png") in opened  # it had been written just before the first build


def test_index_of_an_earlier_version_without_looks_is_taken_up(source, out):
    build_index(source, out, now=later)
    held = json.loads((out / FILES).read_text())
    assert held.keys() == {"version", "folder", "files", "looks"}
    del held["looks"]
    (out / FILES).write_text(json.dumps(held))
    assert build_index(source, out) == (2, 2, 0, 4, 0, ())


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
