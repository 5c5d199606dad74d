"""InfoSeek: names, times and quantities."""

import re

from foveal.bench.scoring.words import equal_words
from foveal.trajectory import Question

_NUMBER = re.compile(r"[-+]?[.]?\d+(?:,\d\d\d)*[.]?\d*(?:[eE][-+]?\d+)?")
_RANGE_HYPHEN = re.compile(r"(?<=\d)-")
_HALF = 0.5 - 1e-12


def entity(answer: str, question: Question) -> float | None:
    """The score of an answer by `question.meta["question_type"]`, after `infoseek_eval.py`.

    `numerical` (gold: the two ends of the accepted range): 1 if the number lies in the range, or if a range of the
    answer lies inside it or overlaps it by half (shared / all); else 0. Everything else, names and times: 1 if the
    answer equals one of the accepted ones without case, punctuation and articles; else None, which there is 0, but
    which MMSearch-R1 and the paper ask a judge about.
    """
    if question.meta.get("question_type") == "numerical":
        return float(_in_range(read_numbers(answer), (float(question.gold[0]), float(question.gold[-1]))))
    return 1.0 if equal_words(answer, question.gold) else None


def read_numbers(text: str) -> list[float]:
    """The first number of a text, or the first two as a range if they rise; `9-10` are two.

    Other than in `infoseek_eval.py`, `.5` is a half, not five.
    """
    found = [one.replace(",", "").rstrip(".") for one in _NUMBER.findall(_RANGE_HYPHEN.sub(" - ", text))]
    numbers = [float(one) for one in found[:2]]
    return numbers[:1] if len(numbers) == 2 and numbers[0] > numbers[1] else numbers


def _in_range(given: list[float], accepted: tuple[float, float]) -> bool:
    if not given:
        return False
    low, high = given[0], given[-1]
    if accepted[0] <= low and high <= accepted[1]:
        return True
    shared = max(0.0, min(high, accepted[1]) - max(low, accepted[0]))
    together = (high - low) + (accepted[1] - accepted[0]) - shared
    return len(given) == 2 and together > 0 and shared / together >= _HALF
