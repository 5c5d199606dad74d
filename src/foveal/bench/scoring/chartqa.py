"""Relaxed accuracy of ChartQA."""

from foveal.reward.text import unwrapped
from foveal.trajectory import Question

TOLERANCE = 0.05


def relaxed(answer: str, question: Question) -> float:
    """1 if a number is within 5 % of the gold number, or a text equals the gold text without case; else 0.

    As `relaxed_correctness` of pix2struct, lmms-eval and VLMEvalKit has it (arXiv 2203.10244, section 5.1): `5%` is
    0.05; a gold answer of 0 is compared as text; thousands separators make a text. What stands around a final answer
    (`**`, `$`, a full stop) is taken off first.
    """
    text = unwrapped(answer)
    return float(any(_relaxed(text, gold.strip()) for gold in question.gold))


def _relaxed(answer: str, gold: str) -> bool:
    given, right = _number(answer), _number(gold)
    if given is not None and right:
        return abs(given - right) / abs(right) <= TOLERANCE
    return answer.casefold() == gold.casefold()


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
