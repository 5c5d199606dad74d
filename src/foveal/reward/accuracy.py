"""Accuracy by rules: is the answer one of the accepted ones?

Each rule says True, False, or None for "cannot tell", and then the next rule is asked, and last the judge.
"""

from fractions import Fraction
from typing import NamedTuple

from foveal.reward.choice import choice
from foveal.reward.number import number
from foveal.reward.settings import RewardSettings
from foveal.reward.symbolic import symbolic
from foveal.reward.text import normalise
from foveal.trajectory import Question, Trajectory


def exact(trajectory: Trajectory) -> float:
    """1.0 if the answer equals one of the gold answers after normalisation, else 0.0.

    Normalisation: NFKC with raised digits as powers, case folded, white space collapsed, one full stop at the end
    dropped. A trajectory without an answer, or a question without gold, scores 0.0.
    """
    return float(trajectory.answer is not None and _exact(trajectory.answer, trajectory.question))


def _exact(answer: str, question: Question) -> bool:
    return normalise(answer) in {normalise(gold) for gold in question.gold}


class Ruling(NamedTuple):
    """What the rules say."""

    right: bool | None
    """None: no rule can tell."""
    by: str
    """The rule that decided; `none` if none did."""


def by_rules(trajectory: Trajectory, settings: RewardSettings) -> Ruling:
    """The ruling of the first rule of `settings.rules` that can tell.

    Before any rule: no answer is wrong, and so is one of `settings.max_answer_chars` characters or more (the official
    code does the same against answers that talk a judge round).

    Raises:
        MissingDependency: The rule `symbolic` is set and math-verify is not installed.
    """
    answer, question = trajectory.answer, trajectory.question
    if answer is None or not answer.strip():
        return Ruling(False, "no_answer")
    if len(answer) >= settings.max_answer_chars:
        return Ruling(False, "too_long")
    for rule in settings.rules:
        right: bool | None
        match rule:
            case "exact":
                right = _exact(answer, question) or None
            case "choice":
                right = choice(answer, question)
            case "number":
                relative, absolute = settings.relative_tolerance, settings.absolute_tolerance
                right = number(answer, question.gold, Fraction(str(relative)), Fraction(str(absolute)))
            case "symbolic":
                right = symbolic(answer, question.gold) or None
        if right is not None:
            return Ruling(right, rule)
    return Ruling(None, "none")
