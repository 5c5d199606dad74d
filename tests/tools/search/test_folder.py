import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from foveal.errors import InputError, SearchError
from foveal.tools.search import image, text
from foveal.tools.search.folder import FILES, add_folder, build_index, index_stats, open_index


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


def test_what_was_taken_of_a_faulty_file_goes_with_it(source, out, find):
    (source / "notes" / "deep" / "list.jsonl").write_text('{"text": "striped legs"}\nno JSON\n')
    assert build_index(source, out).skipped
    (source / "notes" / "deep" / "list.jsonl").unlink()
    assert build_index(source, out) == (1, 2, 0, 3, 1, ())
    assert find(open_index(out).text, "legs") == []


def test_what_was_taken_of_a_faulty_file_stays_as_it_is_and_its_faults_are_told_again(source, out):
    def rows():
        with closing(sqlite3.connect(out / "text.db")) as connection:
            return connection.execute("select id, origin from documents order by id").fetchall()

    faulty = source / "notes" / "deep" / "list.jsonl"
    faulty.write_text('{"text": "striped legs"}\nno JSON\n{"text": 5}\n')
    (source / "latin.txt").write_bytes(b"\xff")
    first, held = build_index(source, out), rows()
    assert [path for path, _ in first.skipped].count("notes/deep/list.jsonl") == 1
    for step in (str, lambda: faulty.touch()):
        step()
        again = build_index(source, out)
        assert sorted(again.skipped) == sorted(first.skipped) and rows() == held
    assert index_stats(out).pending == 1, "nothing was taken of the other one: it is read again"
    faulty.write_text('{"text": "striped legs"}\n')
    assert [path for path, _ in build_index(source, out).skipped] == ["latin.txt"]


@pytest.fixture
def other(tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "giraffe.md").write_text("# Giraffes\nA giraffe has spots.")
    Image.new("RGB", (40, 30), "lime").save(folder / "meadow.png")
    return folder


def test_another_folder_is_added_and_kept_up_to_date(source, other, out, find):
    build_index(source, out)
    assert add_folder(other, out) == (3, 3, 2, 0, 0, ())
    hit = find(open_index(out).text, "giraffe")[0]
    assert (hit.title, hit.link) == ("Giraffes", "../other/giraffe.md")
    assert find(open_index(out).images, Image.new("RGB", (4, 4), "lime"), 1)[0].source == "../other/meadow.png"
    (other / "giraffe.md").unlink()
    assert add_folder(other, out) == (2, 3, 0, 1, 1, ())
    assert build_index(source, out) == (2, 3, 0, 4, 0, ())  # each folder is left alone by the other's build
    assert add_folder(source, out) == (2, 3, 0, 4, 0, ())
    held = index_stats(out)
    assert (held.documents, held.pictures, held.folders, held.pending) == (2, 3, {"mine": 4, "other": 1}, 0)


def test_adding_a_strange_folder_of_a_known_name_does_not_wipe_the_known_one(source, other, out, tmp_path, find):
    build_index(source, out)
    add_folder(other, out)
    (tmp_path / "elsewhere" / "other").mkdir(parents=True)
    (tmp_path / "elsewhere" / "other" / "okapi.md").write_text("okapi")
    with pytest.raises(InputError, match="none of the files"):
        add_folder(tmp_path / "elsewhere" / "other", out)
    assert find(open_index(out).text, "giraffe")
    with pytest.raises(InputError, match="cannot be the folder"):
        add_folder(out, out)
    with pytest.raises(InputError, match="holds no index") as caught:
        add_folder(other, tmp_path / "new")
    assert "foveal index build" in caught.value.fix and not (tmp_path / "new").exists()


def test_stats_of_an_index_made_in_python(tmp_path):
    text.TextIndex.create(tmp_path).add([text.Document("Zebra", "stripes")])
    held = index_stats(tmp_path)
    assert (held.documents, held.pictures, held.folders, held.pending) == (1, 0, {}, 0)
    assert held.bytes == (tmp_path / text.FILE).stat().st_size


def test_exif_is_the_caption_of_a_picture_that_has_no_other(source, out, find):
    def save(name, description):
        exif = Image.Exif()
        exif[270] = description
        Image.new("RGB", (40, 30), "yellow").save(source / name, exif=exif)

    save("DSC_1.jpg", "A field of rape")
    save("sea.jpg", "Not the sea")
    save("IMG_2.png", "OLYMPUS DIGITAL CAMERA         ")
    build_index(source, out)
    titles = {hit.link: hit.title for hit in find(open_index(out).images, Image.new("RGB", (4, 4), "yellow"))}
    assert titles["DSC_1.jpg"] == "A field of rape"
    assert titles["sea.jpg"] == "The sea at noon"
    assert titles["IMG_2.png"] == "IMG 2"


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


@pytest.mark.parametrize("after", [0.05, 0.4, 0.9])
def test_real_kill_is_mended_by_the_next_build(tmp_path, out, find, after):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        lines = (f'{{"title": "{number} {line}", "text": "word{line} zebra"}}' for line in range(200))
        (folder / f"{number}.jsonl").write_text("\n".join(lines))
        Image.new("RGB", (640, 480), (number * 5, 0, 99)).save(folder / f"{number}.png")
    program = (
        "import sys; from pathlib import Path; from foveal.tools.search.folder import build_index\n"
        "print('ready', flush=True); build_index(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(folder), str(out)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
            stdout=subprocess.PIPE,
        )
        with process:
            process.stdout.readline()
            time.sleep(after)
            process.kill()
        (folder / "0.jsonl").unlink(missing_ok=True)
    built = build_index(folder, out)
    assert (built.documents, built.pictures, built.skipped) == (39 * 200, 40, ())
    build_index(folder, tmp_path / "fresh")
    index, fresh = open_index(out), open_index(tmp_path / "fresh")
    for query in ("word7 zebra", "39 199", "0 5"):
        assert {hit.title for hit in find(index.text, query, 50)} == {hit.title for hit in find(fresh.text, query, 50)}
    assert index_stats(out).pending == 0


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
