import hashlib
import json
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.curate.adding import add_sources
from foveal.curate.pictures import PictureLimits
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings
from foveal.errors import ConfigError, InputError
from foveal.trajectory import ImageStore

COLUMNS = {"question": "q", "images": "image", "answer": "a"}


def picture(path, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 20, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path.name


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def write_lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def source(path, name="s", **settings):
    return SourceSettings.model_validate({"name": name, "path": str(path), "columns": COLUMNS} | settings)


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_become_questions_that_know_where_they_came_from(raw, tmp_path):
    name = picture(raw / "p.png")
    columns = {**COLUMNS, "id": "key", "choices": "c", "domain": "d", "tags": "t", "family": "f", "reasoning": "r"}
    row = {"q": "<image>Which?", "image": name, "a": "B", "key": 7, "c": ["x", "y"], "d": "charts", "t": ["u", "v"]}
    write_lines(raw / "a.jsonl", row | {"f": "direct", "r": "because"}, {"q": "Why so?", "a": "7"})
    made = source(raw / "a.jsonl", columns=columns, licence="MIT", url="https://x.test", family="other", domain="d2")
    figures = add_sources(tmp_path / "out", [made])
    first, second = read_questions([tmp_path / "out" / "questions.jsonl"])
    stored = hashlib.sha256((raw / name).read_bytes()).hexdigest() + ".png"
    assert first.row.model_dump(exclude_defaults=True) == {
        "id": "s-7",
        "text": "Which?\nA. x\nB. y",
        "images": (f"pictures/{stored}",),
        "gold": ("B",),
        "family": "direct",
        "meta": {
            **{"source": "s", "file": "a.jsonl", "row": 1, "id": "7", "licence": "MIT", "domain": "charts"},
            **{"tags": ["u", "v"], "reasoning": "because", "options": {"A": "x", "B": "y"}},
        },
    }
    assert (second.row.id, second.row.family, second.row.meta["domain"]) == ("s-2", "other", "d2")
    assert first.open(ImageStore()).images[0].width == 20
    assert (figures.kept, figures.rejected) == (2, Counter())
    (said,) = figures.sources
    assert (said.rows, said.licence, said.url) == (2, "MIT", "https://x.test")
    assert said.files[0].sha256 == hashlib.sha256((raw / "a.jsonl").read_bytes()).hexdigest()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "pictures",
        "questions.jsonl",
        "rejects.jsonl",
        "sources.json",
    ]


def test_a_row_that_is_set_aside_says_why(raw, tmp_path, caplog):
    (raw / "torn.png").write_bytes((raw / picture(raw / "p.png")).read_bytes()[:300])
    good = {"q": "Which?", "image": ["p.png"], "a": "x"}
    write_lines(
        *(raw / "a.jsonl", good, "{torn", {**good, "q": ""}, {**good, "a": []}, {**good, "image": "torn.png"}),
        *({**good, "image": ["p.png", "none.png"]}, {**good, "q": "<image><image>?"}, {**good, "a": "y"}),
    )
    figures = add_sources(tmp_path / "out", [source(raw / "a.jsonl")])
    rejects = lines(tmp_path / "out" / "rejects.jsonl")
    assert [(reject["row"], reject["reason"]) for reject in rejects] == [
        *((2, "not_a_row"), (3, "no_question"), (4, "no_answer"), (5, "picture_broken"), (6, "picture_missing")),
        *((7, "image_marks"), (8, "duplicate")),
    ]
    assert all(reject["source"] == "s" and reject["file"] == "a.jsonl" for reject in rejects)
    assert rejects[0]["said"].startswith("{torn") and json.loads(rejects[4]["said"])["a"] == "x"
    assert rejects[4]["message"].startswith("picture 2: ")
    assert rejects[6]["message"] == "the same question about the same pictures as s-1, but with another answer"
    assert figures.kept == 1 and figures.sources[0].rows == 8 == figures.kept + figures.rejected.total()
    assert not caplog.records


def test_what_cannot_be_read_to_its_end_is_told_aloud(raw, tmp_path, caplog):
    (raw / "a.json").write_text('[{"q": "Why?", "a": "x"}, {"q": "Wh')
    figures = add_sources(tmp_path / "out", [source(raw / "a.json", columns={"question": "q", "answer": "a"})])
    assert (figures.kept, dict(figures.rejected)) == (1, {"unreadable": 1})
    assert "a.json row 2" in caplog.text and "the rest of the file is left out" in caplog.text


def test_duplicates_are_found_by_pixels_and_their_pictures_go(raw, tmp_path):
    picture(raw / "a.png", compress_level=0)
    picture(raw / "b.png", compress_level=9)
    picture(raw / "c.png", seed=1)
    rows = [{"q": "Which?", "image": name, "a": "x"} for name in ("a.png", "b.png", "c.png")]
    write_lines(raw / "one.jsonl", *rows[:1])
    write_lines(raw / "two.jsonl", *rows[1:])
    figures = add_sources(tmp_path / "out", [source(raw / "one.jsonl", "one"), source(raw / "two.jsonl", "two")])
    assert [question.row.id for question in read_questions([tmp_path / "out" / "questions.jsonl"])] == [
        "one-1",
        "two-2",
    ]
    assert [found.rejected for found in figures.sources] == [{}, {"duplicate": 1}]
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 2


def test_of_repetitions_the_first_with_an_answer_stays(raw, tmp_path):
    rows = [{"q": "Why?", "a": "x"}, {"q": "Why?", "a": "y"}, {"q": "Who?", "a": "z"}]
    write_lines(raw / "blind.jsonl", *rows)
    write_lines(raw / "told.jsonl", *rows[:2])
    blind = source(raw / "blind.jsonl", "blind", columns={"question": "q"})
    add_sources(tmp_path / "out", [blind, source(raw / "told.jsonl", "told", columns={"question": "q", "answer": "a"})])
    kept = [(row["id"], row.get("gold")) for row in lines(tmp_path / "out" / "questions.jsonl")]
    assert kept == [("blind-3", None), ("told-1", ["x"])]
    told = [(one["source"], one["row"], one["message"][42:]) for one in lines(tmp_path / "out" / "rejects.jsonl")]
    assert told == [
        ("blind", 1, "as told told.jsonl row 1, which has an answer"),
        ("blind", 2, "as told told.jsonl row 1, which has an answer"),
        ("told", 2, "as told-1, but with another answer"),
    ]


def test_ids_are_unique(raw, tmp_path):
    write_lines(raw / "a.jsonl", *[{"q": f"Why {n}?", "a": "x", "key": key} for n, key in enumerate("kk")])
    write_lines(raw / "b.jsonl", {"q": "Who?", "a": "x", "key": "k"}, {"q": "Where?", "a": "x", "key": "k.2"})
    columns = {"question": "q", "answer": "a"}
    named = source(raw / "*.jsonl", columns={**columns, "id": "key"})
    plain = source(raw / "*.jsonl", "t", columns=columns)
    add_sources(tmp_path / "one", [named])
    add_sources(tmp_path / "two", [plain])
    ids = [[row["id"] for row in lines(tmp_path / made / "questions.jsonl")] for made in ("one", "two")]
    assert ids == [["s-k", "s-k.2", "s-k.3", "s-k.2.2"], ["t-a-1", "t-a-2", "t-b-1", "t-b-2"]]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(raw, tmp_path, kind):
    path = raw / f"a.{kind}"
    if kind == "jsonl":
        write_lines(path, {"question": "Why?", "a": {"b": "x"}})
    elif kind == "csv":
        path.write_text("question,a.b\nWhy?,x\n")
    else:
        pq.write_table(pa.table({"question": ["Why?"], "a": [{"b": "x"}]}), path)
    with pytest.raises(ConfigError, match=r"no column a\.c, q; there are: .*a\.b, question"):
        add_sources(tmp_path / "out", [source(path, columns={"question": "q", "answer": "a.c"})])
    # After the mistake is mended, the same folder is not in the way.
    good = source(path, columns={"question": "question", "answer": "a.b"})
    assert add_sources(tmp_path / "out", [good]).kept == 1


def test_a_column_may_be_missing_from_some_json_rows_and_files_but_not_from_all(raw, tmp_path):
    write_lines(raw / "a.jsonl", {"q": "Why?", "a": "x"}, {"q": "How?", "a": "x"})
    write_lines(raw / "b.jsonl", {"q": "Who?", "a": "x"}, {"q": "Where?", "a": "x", "c": ["x", "y"]})
    columns = {"question": "q", "answer": "a", "choices": "c"}
    assert add_sources(tmp_path / "out", [source(raw, columns=columns)]).kept == 4
    with pytest.raises(ConfigError, match=r"a\.jsonl has no column c"):
        add_sources(tmp_path / "other", [source(raw / "a.jsonl", columns=columns)])


def test_a_wrong_name_of_the_question_is_found_early(raw, tmp_path):
    seen = []
    write_lines(raw / "a.jsonl", *[{"question": f"Why {n}?"} for n in range(3000)])
    with pytest.raises(ConfigError, match="there are: question"):
        add_sources(tmp_path / "out", [source(raw / "a.jsonl", columns={"question": "q"})], on_row=seen.append)
    assert len(seen) < 200


def many(raw, count=60):
    """Two files of rows with pictures; some rows are bad, some twice."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(count):
        pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(raw / f"{number}.png")
        rows.append({"q": f"What {number % 50}?", "image": f"{number}.png" if number % 7 else "none.png", "a": "x"})
    rows += rows[5:10]
    write_lines(raw / "a.jsonl", *rows[: count // 2], "{torn")
    write_lines(raw / "b.jsonl", *rows[count // 2 :])
    return source(raw / "*.jsonl")


def test_the_same_input_gives_the_same_folder(raw, tmp_path):
    made = many(raw)
    figures = [add_sources(tmp_path / name, [made]) for name in ("one", "two")]
    assert figures[0] == figures[1] and tree(tmp_path / "one") == tree(tmp_path / "two")
    assert figures[0].rejected == {"picture_missing": 10, "not_a_row": 1, "duplicate": 4}


class Killed(BaseException):
    """Not an error that anything could catch by mistake."""


def killed_after(rows, folder, made):
    """An addition that is stopped when so many rows were read."""
    seen = []

    def stop(progress):
        seen.append(progress)
        if len(seen) == rows:
            raise Killed

    with pytest.raises(Killed):
        add_sources(folder, [made], on_row=stop)


@pytest.mark.parametrize("after", [1, 20, 40, 60])
def test_an_addition_that_was_stopped_goes_on_and_comes_out_the_same(raw, tmp_path, after):
    made = many(raw)
    add_sources(tmp_path / "whole", [made])
    killed_after(after, tmp_path / "out", made)
    again = []
    add_sources(tmp_path / "out", [made], on_row=again.append)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    # A file that was done is not read again.
    assert {progress.file for progress in again} == ({"a.jsonl", "b.jsonl"} if after < 32 else {"b.jsonl"})


def test_a_killed_process_leaves_nothing_that_shows_later(raw, tmp_path):
    made = many(raw, 160)
    add_sources(tmp_path / "whole", [made])
    program = (
        "import sys; from pathlib import Path\n"
        "from foveal.curate.adding import add_sources; from foveal.curate.sources import SourceSettings\n"
        "add_sources(Path(sys.argv[1]), [SourceSettings.model_validate_json(sys.argv[2])])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "out"), made.model_dump_json()]
    for kept in (5, 60, 110):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        pictures = tmp_path / "out" / "pictures"
        while process.poll() is None and (not pictures.exists() or len(list(pictures.iterdir())) < kept):
            time.sleep(0.002)
        process.kill()
        process.wait()
    subprocess.run(command, check=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_folder_that_is_done_is_left_alone(raw, tmp_path):
    made = many(raw)
    first = add_sources(tmp_path / "out", [made])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    rows = []
    assert add_sources(tmp_path / "out", [made], on_row=rows.append) == first and rows == []
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_a_folder_of_other_sources_or_files_is_refused(raw, tmp_path):
    write_lines(raw / "a.jsonl", {"q": "Why?", "a": "x"})
    made = source(raw / "a.jsonl", columns={"question": "q", "answer": "a"})
    add_sources(tmp_path / "out", [made])
    with pytest.raises(ConfigError, match="other sources or settings"):
        add_sources(tmp_path / "out", [made.model_copy(update={"family": "x"})])
    with pytest.raises(ConfigError, match=r"other sources or settings[\s\S]*set them back, or name another folder"):
        add_sources(tmp_path / "out", [made], PictureLimits(min_side=9))
    write_lines(raw / "a.jsonl", {"q": "How?", "a": "x"})
    with pytest.raises(ConfigError, match="have changed"):
        add_sources(tmp_path / "out", [made])
    (tmp_path / "own").mkdir()
    write_lines(tmp_path / "own" / "questions.jsonl", {"id": "a", "text": "?"})
    with pytest.raises(ConfigError, match="not made from sources"):
        add_sources(tmp_path / "own", [made])
    assert (tmp_path / "own" / "questions.jsonl").read_text() == '{"id": "a", "text": "?"}\n'


def test_a_licence_can_be_named_when_all_is_done(raw, tmp_path):
    write_lines(raw / "a.jsonl", {"q": "Why?", "a": "x"}, {"q": "Who?", "a": "y"})
    made = source(raw / "a.jsonl", columns={"question": "q", "answer": "a"}, family="direct")
    named = made.model_copy(update={"licence": "MIT", "url": "https://x.test"})
    add_sources(tmp_path / "whole", [named])
    assert add_sources(tmp_path / "out", [made]).sources[0].licence is None
    read = []
    (said,) = add_sources(tmp_path / "out", [named], on_row=read.append).sources
    assert (said.licence, said.url, said.kept, read) == ("MIT", "https://x.test", 2, [])
    assert tree(tmp_path / "out") == tree(tmp_path / "whole"), "sources.json, and the licence with every row"
    assert [row["meta"]["licence"] for row in lines(tmp_path / "out" / "questions.jsonl")] == ["MIT", "MIT"]
    add_sources(tmp_path / "out", [made])
    assert all("licence" not in row["meta"] for row in lines(tmp_path / "out" / "questions.jsonl"))


def test_a_licence_can_be_named_between_two_tries(raw, tmp_path):
    made = many(raw)
    named = made.model_copy(update={"licence": "MIT"})
    add_sources(tmp_path / "whole", [named])
    killed_after(50, tmp_path / "out", made)
    again = []
    add_sources(tmp_path / "out", [named], on_row=again.append)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {progress.file for progress in again} == {"b.jsonl"}, "what was read is not read again"


@pytest.mark.parametrize("after", [1, 50])
def test_an_addition_that_began_with_other_settings_begins_anew(raw, tmp_path, after):
    made = many(raw)
    other = made.model_copy(update={"family": "x"})
    add_sources(tmp_path / "whole", [other])
    killed_after(after, tmp_path / "out", made)
    again = []
    add_sources(tmp_path / "out", [other], on_row=again.append)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {progress.file for progress in again} == {"a.jsonl", "b.jsonl"}


def test_two_processes_do_not_write_to_one_folder(raw, tmp_path):
    made = many(raw)
    refused = []

    def meanwhile(progress):
        if not refused:
            with pytest.raises(InputError, match="another process") as caught:
                add_sources(tmp_path / "out", [made])
            refused.append(caught)

    add_sources(tmp_path / "out", [made], on_row=meanwhile)
    assert refused


def test_a_folder_within_its_source_is_refused(raw):
    write_lines(raw / "a.jsonl", {"q": "Why?", "a": "x"})
    with pytest.raises(ConfigError, match="within the source s"):
        add_sources(raw / "sub" / "out", [source(raw)])


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["p.png", "<image>"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bytes", "path", "A"]), inner, max_size=2)
    ),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(["q", "image", "a", "c", "t", "k"]), values), max_size=12))
def test_whatever_rows_say_each_is_kept_or_set_aside(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("fuzz")
    picture(folder / "p.png")
    whole = {"q": "Why?", "image": ["p.png"], "a": "x", "c": ["x"], "t": [], "k": 1}
    write_lines(folder / "a.jsonl", whole, *rows)
    columns = {**COLUMNS, "choices": "c", "tags": "t", "id": "k"}
    figures = add_sources(folder.with_name(folder.name + "-out"), [source(folder / "a.jsonl", columns=columns)])
    assert figures.kept + figures.rejected.total() == 1 + len(rows)
    assert len(read_questions([folder.with_name(folder.name + "-out") / "questions.jsonl"])) == figures.kept


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet"])
def test_a_source_without_a_row_is_refused_and_leaves_nothing_done(raw, tmp_path, kind):
    path, columns = raw / f"none.{kind}", {"question": "q", "answer": "a"}
    if kind == "parquet":
        pq.write_table(pa.table({"q": pa.array([], pa.string()), "a": pa.array([], pa.string())}), path)
    else:
        path.write_text({"jsonl": "", "json": "[]", "csv": "q,a\n"}[kind])
    write_lines(raw / "some.jsonl", {"q": "Why?", "a": "x"})
    some = source(raw / "some.jsonl", "some", columns=columns)
    with pytest.raises(InputError, match=rf"source s: there is no row in .*none\.{kind}"):
        add_sources(tmp_path / "out", [some, source(path, columns=columns)])
    assert not (tmp_path / "out" / "sources.json").exists() and not (tmp_path / "out" / "questions.jsonl").exists()
    assert add_sources(tmp_path / "out", [some]).kept == 1
    assert add_sources(tmp_path / "both", [source(raw / "*", columns=columns)]).kept == 1, "one of its files has none"
