import json
import sqlite3
from pathlib import Path

import pytest

from foveal.bench.benchmark import Scored
from foveal.bench.benchmarks.realx_mini import BENCHMARK
from foveal.bench.loading import load
from foveal.bench.realxmini import corpus, facts
from foveal.bench.realxmini.build import build
from foveal.bench.rows import BadRow, Row
from foveal.curate.questions import read_questions
from foveal.errors import InputError
from foveal.tools.search.folder import open_index
from foveal.trajectory import ImageStore


def test_a_folder_is_a_question_set_with_its_index(folder: Path):
    questions = read_questions([folder / "questions.jsonl"])
    assert len(questions) == 14
    question = questions[0].open(ImageStore())
    assert question.images[0].width == 1600 and question.images[0].height == 1200
    assert {"perception", "search", "reason", "domain", "kind", "hops"} <= set(question.meta)
    index = open_index(folder / "index")
    assert index.text is not None and index.images is not None
    assert len(index.text) > 30_000 and len(index.images) > 580
    about = (folder / "README.md").read_text(encoding="utf-8")
    assert "CC BY 4.0" in about and "Split real, seed 0" in about and f"{len(index.text)} documents" in about


def test_the_benchmark_loads_scores_and_sums_up_the_folder(folder: Path):
    told: list[object] = []
    items = list(load(BENCHMARK, folder, told.append))
    assert len(items) == 14 and told == []
    questions = [item.question(ImageStore(), BENCHMARK.suffix) for item in items]
    assert all(BENCHMARK.rule(question.gold[0], question) == 1 for question in questions)
    assert not any(BENCHMARK.rule("no idea", question) for question in questions)
    figures = BENCHMARK.summary([Scored(question, 1.0) for question in questions])
    assert figures["score"] == figures["axis.search"] == figures["domain.charts"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meta": None}, "no meta"),
        ({"gold": []}, "no gold"),
        ({"images": ["gone.jpg"]}, "there is no file"),
        ({"meta": {"perception": 2, "search": 0, "reason": 0, "domain": "x"}}, "perception is '2'"),
        ({"meta": {"perception": True, "search": False, "domain": "x"}}, "no reason"),
    ],
)
def test_a_bad_row_is_told(folder: Path, change, reason):
    line = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()[0]
    with pytest.raises(BadRow, match=reason):
        BENCHMARK.read(Row({**json.loads(line), **change}, 0, folder))


def test_both_splits_have_the_same_pictures_and_other_answers(folder: Path, tmp_path: Path):
    build(tmp_path, "counterfactual", count=14, min_city=15000)
    rows = [
        [json.loads(line) for line in (out / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
        for out in (folder, tmp_path)
    ]
    for real, edited in zip(*rows, strict=True):
        assert real["text"] == edited["text"] and real["id"] != edited["id"]
        assert (real["gold"] != edited["gold"]) == real["meta"]["search"]
        name = real["images"][0]
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()
    with sqlite3.connect(tmp_path / "index" / "text.db") as connection:
        (body,) = connection.execute(
            "select body from documents where title = 'Peru' and body like '%a country%'"
        ).fetchone()
    assert "Lima" not in body


def test_a_folder_is_never_built_over(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="already holds"):
        build(folder)
    (tmp_path / "index").mkdir()
    with pytest.raises(InputError, match="already holds"):
        build(tmp_path)
    with pytest.raises(InputError, match="301 questions"):
        build(tmp_path / "new", count=301)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be made"):
        build(tmp_path / "file")


def test_one_page_holds_each_fact_and_no_page_contradicts_it():
    pages = list(corpus.pages(facts.real(), 15000))
    titles = [page.title for page in pages]
    true = facts.real()
    for name in (*true.cities, *true.brands):
        assert titles.count(name) >= 1
    for name in true.cities:
        assert titles.count(name) == 1
    stating = [page for page in pages if "Its capital is" in page.text]
    assert len(stating) == len(true.countries) == len({page.title for page in stating})
