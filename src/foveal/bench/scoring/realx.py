"""Figures of RealX-Bench."""

from collections.abc import Sequence

from foveal.bench.benchmark import Scored, by, mean
from foveal.trajectory import Question

AXES = ("perception", "search", "reason")


def by_axis(results: Sequence[Scored]) -> dict[str, float]:
    """The figures of Table 1 of the paper.

    `score`: the mean of all; `axis.<name>`: of the questions that are hard on this axis (a question may be hard on
    several); `axis.integration`: of those that are hard on all three.
    """
    return {**mean(results), **by(results, "axis", _axes)}


def _axes(question: Question) -> list[str]:
    hard = [axis for axis in AXES if question.meta.get(axis)]
    return [*hard, "integration"] if len(hard) == len(AXES) else hard
