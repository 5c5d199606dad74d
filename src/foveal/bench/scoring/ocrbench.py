"""Containment, as OCRBench counts it."""

from foveal.trajectory import Question

HANDWRITTEN_FORMULAS = "Handwritten Mathematical Expression Recognition"


def contained(answer: str, question: Question) -> float:
    """1 if a gold answer stands anywhere in the answer; else 0.

    As the benchmark's `example.py` and VLMEvalKit do: line breaks count as spaces; case does not matter, except for
    handwritten formulas (`question.family`), where instead spaces do not. A long answer holds more than a short one:
    that is the benchmark's own weakness.
    """
    if question.family == HANDWRITTEN_FORMULAS:
        return float(any(_joined(gold) in _joined(answer) for gold in question.gold))
    return float(any(_folded(gold) in _folded(answer) for gold in question.gold))


def _joined(text: str) -> str:
    return text.strip().replace("\n", " ").replace(" ", "")


def _folded(text: str) -> str:
    return text.lower().strip().replace("\n", " ")
