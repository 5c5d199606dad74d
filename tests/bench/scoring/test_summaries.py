"""Figures over a run: DynaMath, HR-Bench, We-Math, RealX-Bench, families."""

import itertools

import pytest

from foveal.bench.benchmark import Scored, by_family, by_meta
from foveal.bench.scoring.dynamath import average_and_worst, typed
from foveal.bench.scoring.hrbench import over_cycles
from foveal.bench.scoring.realx import by_axis
from foveal.bench.scoring.wemath import four_dimensional


def test_families(ask):
    results = [Scored(ask(family="b"), 1), Scored(ask(family="a"), 0.5), Scored(ask(family="b"), 0), Scored(ask(), 1)]
    assert by_family(results) == {"score": 0.625, "family.a": 0.5, "family.b": 0.5}
    assert by_meta("skills")([Scored(ask(skills=["x", "y"]), 1), Scored(ask(skills=["y"]), 0), Scored(ask(), 0)]) == {
        "score": 1 / 3, "skills.x": 1, "skills.y": 0.5,
    }  # fmt: skip


def test_realx_axes_are_not_exclusive(ask):
    def result(perception: bool, search: bool, reason: bool, score: float) -> Scored:
        return Scored(ask(perception=perception, search=search, reason=reason), score)

    results = [
        result(True, True, True, 1),
        result(True, False, True, 0),
        result(False, True, False, 1),
        result(False, False, False, 0),
    ]
    assert by_axis(results) == {
        "score": 0.5, "axis.integration": 1, "axis.perception": 0.5, "axis.reason": 0.5, "axis.search": 1,
    }  # fmt: skip


def test_hrbench_weighs_the_four_orders_alike(ask):
    scores = {"p": (1, 1, 1, 1), "q": (1, 0, 1, 0)}
    results = [
        Scored(ask(family="single", cycle=str(cycle), base=base), score)
        for base, found in scores.items() for cycle, score in enumerate(found)
    ]  # fmt: skip
    assert over_cycles(results) == {
        "score": 0.75, "family.single": 0.75, "cycle.0": 1, "cycle.1": 0.5, "cycle.2": 1, "cycle.3": 0.5,
        "consistent": 0.5,
    }  # fmt: skip
    half = over_cycles(results[:5])  # an order that was asked less often counts no less
    assert half["score"] == 1.0 and over_cycles([*results[:4], results[5]])["score"] == (1 + 0.5 + 1 + 1) / 4


@pytest.mark.parametrize(
    ("kind", "answer", "gold", "score"),
    [("float", "2.0940", "2.0944", 1), ("float", "2.0955", "2.0944", 0), ("float", "2.0954", "2.0944", 1),
     ("float", "2 m", "2", 1), ("float", "two", "2", None), ("multiple choice", "b", "B", 1),
     ("multiple choice", "C", "B", 0), ("text", "may", "May", 1), ("text", "a", "May", None),
     ("text", "Yes.", "yes", 1)],
)  # fmt: skip
def test_dynamath_answers(ask, kind: str, answer: str, gold: str, score: float | None):
    assert typed(answer, ask(gold, answer_type=kind)) == score


def test_dynamath_worst_case(ask):
    """The share of seed questions that are right in every variant (README of DynaMath)."""
    results = [Scored(ask(seed=seed), score) for seed, score in [("1", 1), ("1", 1), ("2", 1), ("2", 0), ("3", 0)]]
    assert average_and_worst(results) == {"score": 0.6, "worst": 1 / 3}


def we_math(ask, counts: dict[tuple[int, ...], int]) -> list[Scored]:
    """So many problems of two steps with these answers: the first step, the second, the whole."""
    problems = itertools.count()
    return [
        Scored(ask(problem=str(problem), key=f"2steps_{part}"), score)
        for answers, count in counts.items()
        for problem in itertools.islice(problems, count)
        for part, score in zip((1, 2, "multi"), answers, strict=True)
    ]


def test_worked_numbers_of_we_math(ask):
    """We-Math (arXiv 2407.01284), GPT-4o over 525 problems: IK 164, IG 80; strict CM 185, RM 96, score 42.86 %; loose
    CM 278, RM 3, score 60.57 %. So 93 problems had a step right and another wrong."""
    counts = {(1, 0, 0): 100, (0, 0, 0): 64, (1, 1, 0): 80, (1, 1, 1): 185, (0, 1, 1): 93, (0, 0, 1): 3}
    found = four_dimensional(we_math(ask, counts))
    percent = {name: round(100 * value, 2) for name, value in found.items()}
    assert (percent["ik"], percent["ig"]) == (31.24, 15.24)
    assert (percent["cm.strict"], percent["rm.strict"], percent["score.strict"]) == (35.24, 34.16, 42.86)
    assert (percent["cm.loose"], percent["rm.loose"], percent["score.loose"]) == (52.95, 1.07, 60.57)
    assert found["score"] == found["score.strict"] and found["incomplete"] == 0


def test_we_math_with_three_steps_and_holes(ask):
    def problem(name: str, *scores: float) -> list[Scored]:
        keys = ("3steps_1", "3steps_2", "3steps_3", "3steps_multi")
        return [Scored(ask(problem=name, key=key), score) for key, score in zip(keys, scores, strict=False)]

    found = four_dimensional([*problem("a", 1, 1, 1, 1), *problem("b", 1, 1, 1, 0), *problem("c", 1, 1, 1)])
    assert (found["cm.strict"], found["ig"], found["score"], found["incomplete"]) == (0.5, 0.5, 0.75, 1)
    assert four_dimensional(problem("c", 1, 1)) == {"accuracy": 1.0, "incomplete": 1.0}
