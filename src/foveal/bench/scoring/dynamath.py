"""DynaMath: one answer, and all variants of a question together."""

from collections.abc import Sequence
from fractions import Fraction

from foveal.bench.benchmark import Scored, by_family
from foveal.reward.choice import choice
from foveal.reward.number import read_quantity
from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

TOLERANCE = Fraction(1, 1000)


def typed(answer: str, question: Question) -> float | None:
    """The score by `question.meta["answer_type"]`: `float` within 0.001, `multiple choice` by letter, else the text.

    After VLMEvalKit's `dynamath.py`, but for texts: there an answer is right that stands anywhere in the gold answer
    (`a` in `May`); here it has to be equal, and else is left to the judge.
    """
    kind = question.meta.get("answer_type")
    if kind == "float":
        given, gold = read_quantity(answer), read_quantity(question.gold[0])
        return None if given is None or gold is None else float(abs(given.value - gold.value) <= TOLERANCE)
    if kind == "multiple choice":
        right = choice(answer, question)
        return None if right is None else float(right)
    return 1.0 if normalise(unwrapped(answer)) == normalise(question.gold[0]) else None


def average_and_worst(results: Sequence[Scored]) -> dict[str, float]:
    """`score`: mean over all variants. `worst`: share of questions whose variants are all right (`meta["seed"]`)."""
    seeds: dict[str, list[float]] = {}
    for result in results:
        seeds.setdefault(str(result.question.meta["seed"]), []).append(result.score)
    worst = {"worst": sum(min(scores) for scores in seeds.values()) / len(seeds)} if seeds else {}
    return {**by_family(results), **worst}
