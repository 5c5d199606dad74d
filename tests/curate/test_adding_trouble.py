"""Additions that come to nothing, or end in the middle."""

import json
import os
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings
from foveal.errors import ConfigError, InputError, RecordError

COLUMNS = {"question": "q", "answer": "a"}
ROWS = [{"q": "Why?", "a": "x"}, {"q": "Who?", "a": "y"}]


def lines_of(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def source(path, name="s", **settings):
    return SourceSettings.model_validate({"name": name, "path": str(path), "columns": COLUMNS} | settings)


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def spoil(path, kind):
    """A file of which no row can be read."""
    if kind == "csv":
        path.write_bytes(b"")
    elif kind == "parquet":
        pq.write_table(pa.table({"q": ["Why?"], "a": ["x"]}), path)
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes((json.dumps(ROWS) if kind == "json" else lines_of(*ROWS)).encode("utf-16"))


def mend(path, kind):
    if kind == "parquet":
        pq.write_table(pa.table({"q": ["Why?", "Who?"], "a": ["x", "y"]}), path)
    else:
        path.write_text({"csv": "q,a\nWhy?,x\nWho?,y\n", "json": json.dumps(ROWS), "jsonl": lines_of(*ROWS)}[kind])


@pytest.mark.parametrize(
    ("kind", "why"), [("csv", "the file is empty"), ("json", "UTF-16"), ("jsonl", "UTF-16"), ("parquet", "Parquet")]
)
def test_a_source_of_which_nothing_is_kept_is_refused_and_in_nobodys_way(tmp_path, kind, why):
    path, good = tmp_path / f"a.{kind}", tmp_path / "good.jsonl"
    spoil(path, kind)
    good.write_text(lines_of({"q": "How?", "a": "z"}))
    both = [source(good, "good"), source(path)]
    refused = rf"source s: no row of it can be kept; set aside were 1 for unreadable: a\.{kind}.*: [\s\S]*{why}"
    with pytest.raises(InputError, match=refused):
        add_sources(tmp_path / "out", both)
    assert not {"sources.json", "questions.jsonl"} & tree(tmp_path / "out").keys()
    mend(path, kind)
    assert add_sources(tmp_path / "out", both).kept == 3


def test_the_most_common_reason_is_the_one_that_is_shown(tmp_path):
    """Pictures that were not there are looked for again, though the file that names them is the same."""
    row = {"q": "Which?", "a": "x", "p": "none.png"}
    (tmp_path / "a.jsonl").write_text(lines_of({"q": "", "a": "x", "p": "none.png"}, row, {**row, "q": "What?"}))
    made = source(tmp_path / "a.jsonl", columns={**COLUMNS, "images": "p"})
    told = r"2 for picture_missing, 1 for no_question: a\.jsonl row 2: there is no file none\.png in "
    with pytest.raises(InputError, match=told):
        add_sources(tmp_path / "out", [made])
    Image.new("RGB", (16, 16)).save(tmp_path / "none.png")
    assert add_sources(tmp_path / "out", [made]).kept == 2


def test_a_source_that_only_repeats_another_is_none_that_cannot_be_read(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(lines_of(*ROWS))
    added = add_sources(tmp_path / "out", [source(tmp_path / f"{name}.jsonl", name) for name in ("a", "b")])
    assert [one.kept for one in added.sources] == [2, 0]


def test_a_folder_of_pictures_that_is_not_there_is_refused(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "p.png")
    (tmp_path / "a.jsonl").write_text(lines_of({"q": "Which?", "a": "x", "p": "p.png"}))
    made = source(tmp_path / "a.jsonl", columns={**COLUMNS, "images": "p"}, image_folder=str(tmp_path / "nope"))
    with pytest.raises(ConfigError, match=r"source s: image_folder .*nope is no folder"):
        add_sources(tmp_path / "out", [made])
    assert add_sources(tmp_path / "out", [made.model_copy(update={"image_folder": tmp_path})]).kept == 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_of_two_bytes_a_letter_is_told_as_that(tmp_path, encoding, caplog):
    (tmp_path / "a.csv").write_bytes("q,a\nWhy?,x\n".encode(encoding))
    (tmp_path / "b.csv").write_text("q,a\nWho?,y\n")
    assert add_sources(tmp_path / "out", [source(tmp_path / "*.csv")]).rejected == {"unreadable": 1}
    assert "a.csv: UTF-16 and not UTF-8: iconv" in caplog.text


@pytest.fixture
def copies(tmp_path):
    """Two files that ask the same about the same pixels, in files that are not the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    for name, level in (("a", 0), ("b", 9)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", compress_level=level)
        (tmp_path / f"{name}.jsonl").write_text(lines_of({"q": "Which?", "a": "x", "p": f"{name}.png"}))
    return [source(tmp_path / f"{name}.jsonl", name, columns={**COLUMNS, "images": "p"}) for name in ("a", "b")]


def test_a_picture_of_a_duplicate_stays_until_all_is_written(copies, tmp_path):
    out = tmp_path / "out"
    (out / ".sources.json.part").mkdir(parents=True)  # as if the disk were full
    with pytest.raises(InputError, match="cannot be written"):
        add_sources(out, copies)
    (out / ".sources.json.part").rmdir()
    (tmp_path / "a.jsonl").write_text(lines_of({"q": "What?", "a": "x", "p": "a.png"}))
    assert add_sources(out, copies).kept == 2, "no duplicate any more"
    assert len(read_questions([out / "questions.jsonl"])) == len(list((out / "pictures").iterdir())) == 2


def test_what_an_addition_that_was_stopped_at_its_end_has_left_is_removed_by_the_next(copies, tmp_path):
    out = tmp_path / "out"
    add_sources(out, copies)
    before = tree(out)
    (out / ".parts").mkdir()
    for left in ("pictures/unused.png", ".questions.jsonl.part", ".sources.json.part", ".parts/00000-0.jsonl"):
        (out / left).write_text("torn")
    add_sources(out, copies)
    assert tree(out) == before and not (out / ".parts").exists()


def test_a_row_with_very_many_keys(tmp_path):
    wide = {f"a key that is rather long, number {number}": number for number in range(30_000)}
    (tmp_path / "a.jsonl").write_text(lines_of({**ROWS[0], "scores": wide}, ROWS[1]))
    made = source(tmp_path / "a.jsonl", columns={**COLUMNS, "choices": "c"})
    with pytest.raises(ConfigError, match=r"has no column c; there are: a, q, scores, scores\.a key"):
        add_sources(tmp_path / "out", [made])
    assert add_sources(tmp_path / "out", [source(tmp_path / "a.jsonl")]).kept == 2


def test_figures_that_are_damaged_are_mended_as_the_error_says(copies, tmp_path):
    out = tmp_path / "out"
    add_sources(out, copies)
    before = tree(out)
    (out / "sources.json").write_text('{"settings": {}, "sources": [{"name": 1}, {}]}')
    (out / "difficulty").mkdir()
    (out / "difficulty" / "ledger.sqlite").write_text("paid")
    with pytest.raises(RecordError, match=r"sources\.json cannot be read: sources\.0\.name Input should be a") as error:
        add_sources(out, copies)
    assert "\n" not in error.value.what and f"move {out / 'sources.json'} and the questions.jsonl" in error.value.fix
    for name in ("sources.json", "questions.jsonl"):
        (out / name).rename(tmp_path / name)
    add_sources(out, copies)
    assert tree(out) == before | {"difficulty/ledger.sqlite": b"paid"}


def stopped(folder, point, work):
    """Whether a process that does the work is killed at its so manieth look at a file of the folder."""
    child = os.fork()
    if child == 0:
        seen = 0

        def look(event, arguments):
            nonlocal seen
            if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(folder) in str(arguments):
                seen += 1
                if seen == point:
                    os._exit(9)

        sys.addaudithook(look)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("back", [True, False])
def test_naming_a_licence_that_is_stopped_anywhere_can_be_set_back_or_gone_on_with(copies, tmp_path, back):
    named = [one.model_copy(update={"licence": "MIT", "url": "https://x.test"}) for one in copies]
    whole, out = {True: tmp_path / "without", False: tmp_path / "with"}, tmp_path / "out"
    add_sources(whole[True], copies)
    add_sources(whole[False], named)
    point = 0
    while True:
        point += 1
        shutil.copytree(whole[True], out)
        if not stopped(out, point, lambda: add_sources(out, named)):
            break
        add_sources(out, copies if back else named)
        assert tree(out) == tree(whole[back]), point
        shutil.rmtree(out)
    assert point > 6 and tree(out) == tree(whole[False])
