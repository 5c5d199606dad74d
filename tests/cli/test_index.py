import json

import pytest
from PIL import Image


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "zebra.md").write_text("# Zebras [bold]\nA zebra has stripes :zebra: \x1b[31m.")
    Image.new("RGB", (40, 30), "red").save(folder / "red_square.png")
    Image.new("RGB", (40, 30), "blue").save(folder / "sea.png")
    (folder / "odd.bin").write_bytes(b"")
    return folder


def test_build_then_search_by_words_and_by_picture(foveal, process, mine, tmp_path):
    built = process("index", "build", "mine", "--json", "counts.json")
    assert built.returncode == 0, built.stderr
    assert "1 documents and 2 pictures" in built.stdout
    assert "skipped, kind .bin is not indexed: odd.bin" in built.stdout
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts.pop("seconds") > 0
    assert counts == {"documents": 1, "pictures": 2, "read": 3, "unchanged": 0, "gone": 0, "skipped": 1}

    words = process("index", "search", "mine.index", "striped zebra")
    assert words.returncode == 0, words.stderr
    assert words.stdout.startswith("1. Zebras [bold]  zebra.md")
    assert "stripes :zebra:" in words.stdout
    assert "\x1b" not in words.stdout

    pictures = foveal("index", "search-image", "mine.index", mine / "sea.png", "--k", "1")
    assert pictures.returncode == 0, pictures.stderr
    assert pictures.stdout.strip() == "1. sea  sea.png  score 1"

    again = foveal("index", "build", "mine")
    assert "0 files read, 3 unchanged" in again.stdout


def test_another_folder_is_added_and_stats_tell_what_there_is(foveal, mine, tmp_path):
    foveal("index", "build", "mine")
    (tmp_path / "other [x]").mkdir()
    (tmp_path / "other [x]" / "okapi.txt").write_text("striped legs")
    (tmp_path / "other [x]" / "latin.txt").write_bytes(b"\xff")
    added = foveal("index", "add", "mine.index", "other [x]", "--json", "counts.json")
    assert added.returncode == 0, added.stderr
    assert "skipped, not UTF-8 text: byte 0: ../other [x]/latin.txt" in added.stdout
    assert json.loads((tmp_path / "counts.json").read_text())["documents"] == 2
    told = foveal("index", "stats", "mine.index", "--json", "stats.json")
    assert told.returncode == 0, told.stderr
    assert "2 documents and 2 pictures" in told.stdout and "1 files of other [x]" in told.stdout
    held = json.loads((tmp_path / "stats.json").read_text())
    assert held.pop("bytes") > 1000
    assert held == {"documents": 2, "pictures": 2, "folders": {"mine": 3, "other [x]": 1}, "pending": 1}


def test_query_without_hits_says_so(foveal, mine):
    foveal("index", "build", mine, "--out", "elsewhere")
    found = foveal("index", "search", "elsewhere", '"( OR')
    assert (found.returncode, found.stdout.strip()) == (0, "no hits")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("build", "nowhere"), "there is no folder nowhere"),
        (("build", "mine", "--out", "mine"), "cannot be the folder"),
        (("build", "mine", "--json", "no/such/file"), "cannot be written"),
        (("add", "nowhere", "mine"), "nowhere holds no index of a folder"),
        (("add", "mine.index", "nowhere"), "there is no folder nowhere"),
        (("stats", "nowhere"), "there is no index folder nowhere"),
        (("search", "nowhere", "words"), "there is no index folder nowhere"),
        (("search", "mine", "words"), "holds no index"),
    ],
)
def test_mistakes_are_named_with_the_fix(foveal, mine, words, told):
    failed = foveal("index", *words)
    assert failed.returncode == 2
    assert told in failed.stderr
    assert "fix:" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_index_without_documents_or_with_a_picture_that_is_none(foveal, mine):
    (mine / "zebra.md").unlink()
    foveal("index", "build", mine)
    failed = foveal("index", "search", "mine.index", "zebra")
    assert failed.returncode == 2
    assert "holds pictures only" in failed.stderr
    failed = foveal("index", "search-image", "mine.index", mine / "odd.bin")
    assert failed.returncode == 2
    assert "not a picture" in failed.stderr


def test_pictures_are_searched_by_the_vision_tower_of_a_checkpoint(foveal, mine, tiny_checkpoint, tmp_path):
    foveal("index", "build", mine)
    early = foveal("index", "search-image", "mine.index", mine / "sea.png", "--tower", tiny_checkpoint)
    assert early.returncode == 2 and "foveal index embed-images mine.index" in early.stderr
    done = foveal("index", "embed-images", "mine.index", tiny_checkpoint)
    assert done.returncode == 0 and "2 pictures embedded" in done.stdout, done.stderr
    found = foveal("index", "search-image", "mine.index", mine / "sea.png", "--k", "1", "--tower", tiny_checkpoint)
    assert found.stdout.strip() == "1. sea  sea.png  score 1", found.stderr
    again = foveal("index", "embed-images", "mine.index", tiny_checkpoint)
    assert "0 pictures embedded" in again.stdout
    wrong = foveal("index", "embed-images", "mine.index", mine)
    assert wrong.returncode == 1 and "no preprocessor_config.json" in wrong.stderr
