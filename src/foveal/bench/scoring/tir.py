"""Scores of TIR-Bench, by task."""

import re
from fractions import Fraction

from foveal.bench.scoring.choices import labels
from foveal.reward.number import number
from foveal.trajectory import Question

_DIGITS = re.compile(r"\d+")
_PAIR = re.compile(r"\b(\d+)\s*,\s*(\d+)\b")
_RUN = re.compile(r"[\d\s,，]+")


def by_task(answer: str, question: Question) -> float | None:
    """The score of the task `question.family`, after `calculate_score.py` of the benchmark.

    `ocr`: 1 if the gold text stands in the answer. `word_search`: the number, or the two numbers in order.
    `spot_difference`: the number, or the overlap of two sets of numbers (shared / all). `jigsaw`: the share of the
    difficulty^2 pieces at their places. All other tasks: letters, or a number. None if the answer to one of these
    cannot be read.
    """
    gold, task = question.gold[0], question.family
    if task == "ocr":
        return float(gold in answer)
    if task == "jigsaw":
        return _in_place(answer, gold, int(str(question.meta.get("difficulty") or 2)))
    if task == "spot_difference" and not gold.isdigit():
        return _overlap(answer, gold)
    if task == "word_search" and (pair := _PAIR.search(gold)):
        given = _PAIR.search(answer)
        return float(given is not None and _numbers(given[0]) == _numbers(pair[0]))
    if gold.isalpha():
        return labels(answer, question)
    right = number(answer, question.gold, Fraction(0), Fraction(0))
    return None if right is None else float(right)


def _numbers(text: str) -> list[str]:
    """The numbers of a text as digits without leading zeros, which may be thousands."""
    return [digits.lstrip("0") or "0" for digits in _DIGITS.findall(text)]


def _overlap(answer: str, gold: str) -> float:
    given, right = set(_numbers(answer)), set(_numbers(gold))
    return len(given & right) / len(given | right) if given | right else 1.0


def _in_place(answer: str, gold: str, side: int) -> float:
    given, right = _run(answer, side * side), _run(gold, side * side)
    return sum(a == b for a, b in zip(given, right, strict=True)) / len(right) if given and right else 0.0


def _run(text: str, length: int) -> list[str]:
    """The first so many numbers with nothing but commas and spaces between; empty if there are none."""
    return next((found for run in _RUN.findall(text) if len(found := _numbers(run)) == length), [])
