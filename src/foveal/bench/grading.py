"""The score of one trajectory on a benchmark: its rule first, then the judge, where the record names one."""

import asyncio
from typing import NamedTuple

from foveal.bench.benchmark import Benchmark
from foveal.reward.judge import Judge
from foveal.trajectory import Trajectory


class Graded(NamedTuple):
    """The score of an answer."""

    score: float | None
    """Between 0 and 1; None if the judge failed, which is never a 0."""
    by: str
    """`no_answer`, `rule`, `judge`, `cache` (the judge, earlier), or `none`."""
    problem: str = ""
    """Why there is no score, or no judge decided."""


async def grade(benchmark: Benchmark, trajectory: Trajectory, judge: Judge | None = None) -> Graded:
    """Score a trajectory as its benchmark does.

    Args:
        benchmark: That the question is of.
        trajectory: What is scored; its `question` holds what the rule reads.
        judge: Asked where the rule cannot tell and the benchmark has a judge. Without one, such an answer scores 0,
            and says so.

    Raises:
        MissingDependency: The rule compares formulas, and math-verify is not installed.
    """
    answer = trajectory.answer
    if answer is None or not answer.strip():
        return Graded(0.0, "no_answer")
    score = await asyncio.to_thread(benchmark.rule, answer, trajectory.question)  # formulas wait for another process
    if score is not None:
        return Graded(score, "rule")
    if not benchmark.judge:
        return Graded(0.0, "none")
    if judge is None:
        return Graded(0.0, "none", "no rule could tell, and there was no judge")
    verdict = await judge.ask(trajectory)
    if verdict.correct is None:
        return Graded(None, "none", verdict.problem)
    return Graded(float(verdict.correct), "cache" if verdict.cached else "judge")
