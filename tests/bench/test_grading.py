import asyncio

import pytest

from foveal.bench.benchmark import Benchmark
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.grading import Graded, grade
from foveal.errors import PolicyError
from foveal.policy.scripted import ScriptedPolicy
from foveal.reward.judge import Judge
from foveal.trajectory import Message, StopReason, Trajectory


def graded(benchmark: Benchmark, answer: str | None, question, judge: Judge | None = None) -> Graded:
    trajectory = Trajectory(
        id="t", question=question, policy="p", profile="foveal", answer=answer, stop_reason=StopReason.ANSWERED
    )
    return asyncio.run(grade(benchmark, trajectory, judge))


def never(messages: list[Message]) -> str:
    raise AssertionError("the judge was asked")


@pytest.mark.parametrize(
    ("name", "answer", "gold", "found"),
    [("realx", "Lima", "Lima", (1.0, "rule")), ("realx", "7", "8", (0.0, "rule")),
     ("realx", None, "8", (0.0, "no_answer")),
     ("realx", "  ", "8", (0.0, "no_answer")), ("chartqa", "10.4", "10", (1.0, "rule")),
     ("aime", "x", "10", (0.0, "rule")),
     ("math500", "x + 1", "x + 2", (0.0, "none"))],
)  # fmt: skip
def test_rules_come_first_and_where_there_is_no_judge_they_are_all(
    ask, name: str, answer: str | None, gold: str, found
):
    assert graded(BENCHMARKS[name], answer, ask(gold), Judge(ScriptedPolicy(never)))[:2] == found


@pytest.mark.parametrize(("verdict", "score"), [("correct", 1.0), ("wrong", 0.0)])
def test_the_judge_decides_what_no_rule_can(ask, verdict: str, score: float):
    judge = Judge(ScriptedPolicy([f"Verdict: {verdict}"]))
    assert graded(BENCHMARKS["realx"], "the capital of Peru", ask("Lima"), judge) == (score, "judge", "")
    assert graded(BENCHMARKS["realx"], "the capital of Peru", ask("Lima"), judge) == (score, "cache", "")


def test_without_a_judge_it_is_wrong_and_says_so(ask):
    found = graded(BENCHMARKS["realx"], "the capital of Peru", ask("Lima"))
    assert found == (0.0, "none", "no rule could tell, and there was no judge")


def test_a_judge_that_fails_is_no_zero(ask):
    def down(messages: list[Message]) -> str:
        raise PolicyError("nobody answers")

    found = graded(BENCHMARKS["realx"], "the capital of Peru", ask("Lima"), Judge(ScriptedPolicy(down)))
    assert found.score is None and "nobody answers" in found.problem
