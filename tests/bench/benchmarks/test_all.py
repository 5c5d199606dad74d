"""What holds for every benchmark."""

import json
from dataclasses import fields
from random import Random
from typing import Any

import pytest

from foveal.bench.benchmark import Scored
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.rows import BadRow, Row
from foveal.trajectory import Question


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_reader_says_what_is_wrong_with_an_empty_row(name: str):
    with pytest.raises(BadRow):
        BENCHMARKS[name].read(Row({}, 0))
    junk = {
        key: object() for key in ("query", "question", "text", "problem", "prompt", "answer", "image", "index", "id")
    }
    with pytest.raises(BadRow):
        BENCHMARKS[name].read(Row(junk, 0))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_records_are_whole(name: str):
    record = BENCHMARKS[name]
    assert record.name == name and record.items > 0 and record.sources and record.paper.endswith((".", "set"))
    may_be_empty = {"config", "suffix", "unconfirmed", "judge"}
    assert all(getattr(record, field.name) for field in fields(record) if field.name not in may_be_empty)
    assert record.tools.code and record.tools.why
    assert record.summary([]) == {}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rules_score_between_0_and_1_whatever_is_answered(name: str, ask):
    meta = {"answer_type": "float", "template": 7, "difficulty": 2, "question_type": "string"}
    for gold in ("B", "12", "x", "[1, 2, 3, 4]"):
        question: Question = ask(gold, family="jigsaw", **meta)
        for answer in (
            "",
            " ",
            "B",
            "12",
            "\\boxed{",
            "[",
            "1/0",
            "ﬁ",
            "x" * 5000,
            "1" * 5000,
            "\0",
            json.dumps([1] * 4),
        ):
            value = BENCHMARKS[name].rule(answer, question)
            assert value is None or 0 <= value <= 1


class Junk(dict[str, Any]):
    """A row that has something in every column."""

    VALUES = (
        None, "", "B", "7", "1", "[", "[1, 2]", "['a', {'b'}]", 1, 0.0, 1.5, float("nan"), -3, True, b"x", [],
        ["a", "b"], [None], {}, {"bytes": b"x"}, {"role": "user", "content": "?"}, [{"role": "user", "content": "?"}],
        [{"range": [1, "x"]}], {"range": [1, 2]}, {"range": 5},
        {"ground_truth": "x", "candidate_answers": "["}, {"task": 1, "skills": "x"}, {"difficulty": "x"}, "A. 1; B. 2",
        "multi_choice", "multi-choice", "numerical", "A:1\nB:2", "(A) 1\n(B) 2", (1, 2, 3), [str(n) for n in range(40)],
    )  # fmt: skip

    def __init__(self, seed: int):
        self.random = Random(seed)

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = self.random.choice(self.VALUES)
        return self[name]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_of_junk_become_items_or_are_told(name: str):
    for seed in range(2000):
        try:
            items = BENCHMARKS[name].read(Row(Junk(seed), 0))
        except BadRow:
            continue
        for item in items:
            question = Question(id=item.id, text=item.text, gold=item.gold, family=item.family, meta=dict(item.meta))
            BENCHMARKS[name].summary([Scored(question, 1.0)])
            if "\\" not in question.gold[0]:
                BENCHMARKS[name].rule("not that", question)
