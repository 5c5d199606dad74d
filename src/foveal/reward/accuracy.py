"""Accuracy: is the answer one of the accepted ones?"""

import unicodedata

from foveal.trajectory import Trajectory


def exact(trajectory: Trajectory) -> float:
    """1.0 if the answer equals one of the gold answers after normalisation, else 0.0.

    Normalisation: NFKC, case folded, white space collapsed, one full stop at the end dropped. A trajectory without an
    answer, or a question without gold, scores 0.0.
    """
    if trajectory.answer is None:
        return 0.0
    return float(normalise(trajectory.answer) in {normalise(gold) for gold in trajectory.question.gold})


def normalise(text: str) -> str:
    """The text as it is compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).removesuffix(".")
