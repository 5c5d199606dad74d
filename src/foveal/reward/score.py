"""Scoring: a trajectory becomes named parts and their weighted sum.

    total = sum of weight * part

A trajectory that cannot be scored, because the judge failed or nobody knows the answer, is *unscored*: it keeps the
parts that are known, has no `total`, and says why. It is never scored 0 for that.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import JsonValue

from foveal.errors import ConfigError
from foveal.policy.openai import without_login
from foveal.reward.accuracy import by_rules
from foveal.reward.format import well_formed
from foveal.reward.judge import Judge
from foveal.reward.parts import execution, overlong, response_tokens, search_penalty, tool_bonus
from foveal.reward.settings import RewardSettings
from foveal.reward.symbolic import require_math_verify
from foveal.trajectory import Trajectory

NO_GOLD = "the question has no accepted answers"
NO_COUNT = "the policy counted no tokens, which the part overlong needs"


class Scored(NamedTuple):
    """The reward of a trajectory."""

    reward: dict[str, float]
    """Every part of the settings and `total`; or only the parts that are known."""
    unscored: str | None
    """Why there is no total."""
    by: str
    """What decided on accuracy: a rule, `no_answer`, `too_long`, `judge`, `cache` (the judge, earlier), or `none`."""
    settings: RewardSettings

    @property
    def unfinished(self) -> bool:
        """True if the judge failed: scoring again may help."""
        return self.unscored is not None and self.unscored not in (NO_GOLD, NO_COUNT)

    @property
    def total(self) -> float | None:
        """The weighted sum; None if unscored."""
        return self.reward.get("total")

    def onto(self, trajectory: Trajectory) -> Trajectory:
        """The trajectory with this reward, and its settings `on_record` as `settings["reward"]`, in place of others."""
        settings = {**trajectory.settings, "reward": on_record(self.settings)}
        return trajectory.model_copy(update={"reward": self.reward, "unscored": self.unscored, "settings": settings})


def on_record(settings: RewardSettings) -> dict[str, JsonValue]:
    """The settings as `trajectory.settings["reward"]` has them: without name and password in the judge's address.

    Records become parts of data sets that are published.
    """
    return dict(json.loads(without_login(json.dumps(settings.model_dump(mode="json")))))


def check_settings(settings: RewardSettings) -> None:
    """Fail before any work on settings that this installation cannot follow.

    Raises:
        MissingDependency: The rule `symbolic` is set and math-verify is not installed.
    """
    if "symbolic" in settings.rules:
        require_math_verify()


async def score(trajectory: Trajectory, settings: RewardSettings, judge: Judge | None = None) -> Scored:
    """Score a trajectory.

    Args:
        trajectory: What is scored. A reward that it already has is not looked at.
        settings: Weights and rules.
        judge: `open_judge(settings.judge)`; needed if the settings name one. Without a judge, an answer that no rule
            can tell is wrong.

    Raises:
        ConfigError: The settings name a judge, and none was given.
        MissingDependency: The rule `symbolic` is set and math-verify is not installed.
    """
    if settings.judge is not None and judge is None:
        raise ConfigError("the reward settings name a judge, and none was opened", "pass open_judge(settings.judge)")
    accuracy, by, problem = await _accuracy(trajectory, settings, judge)
    parts, weights = {} if accuracy is None else {"accuracy": accuracy}, settings.weights
    if weights.format:
        parts["format"] = well_formed(trajectory, settings.max_answer_chars)
    if weights.tool_bonus and accuracy is not None:
        parts["tool_bonus"] = tool_bonus(trajectory, accuracy)
    if weights.search_penalty and accuracy is not None:
        parts["search_penalty"] = search_penalty(trajectory, accuracy, settings.search_penalty_families)
    if weights.execution:
        parts["execution"] = execution(trajectory)
    if weights.overlong:
        tokens = response_tokens(trajectory)
        if tokens is None:
            problem = problem or NO_COUNT
        else:
            parts["overlong"] = overlong(tokens, settings.overlong.max_tokens, settings.overlong.cache_tokens)
    if problem is None:
        parts["total"] = sum(getattr(weights, name) * value for name, value in parts.items())
    return Scored(parts, problem, by, settings)


def scorer(settings: RewardSettings, judge: Judge | None = None) -> Callable[[Trajectory], Awaitable[Trajectory]]:
    """A function that puts the reward of these settings onto a trajectory; the arguments are those of `score`."""

    async def onto(trajectory: Trajectory) -> Trajectory:
        return (await score(trajectory, settings, judge)).onto(trajectory)

    return onto


async def _accuracy(
    trajectory: Trajectory, settings: RewardSettings, judge: Judge | None
) -> tuple[float | None, str, str | None]:
    """Accuracy, what decided on it, and what kept it from being known."""
    if not trajectory.question.gold:
        return None, "none", NO_GOLD
    if "symbolic" in settings.rules:  # waits for another process
        ruling = await asyncio.to_thread(by_rules, trajectory, settings)
    else:
        ruling = by_rules(trajectory, settings)
    if ruling.right is not None or judge is None:
        return float(ruling.right or False), ruling.by, None
    verdict = await judge.ask(trajectory)
    if verdict.correct is None:
        return None, "none", verdict.problem
    return float(verdict.correct), "cache" if verdict.cached else "judge", None
