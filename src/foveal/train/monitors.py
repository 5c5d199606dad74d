"""Failure signatures of a training run: named metrics of a step, and alarms when they leave their bounds.

The signatures are those by which direct reinforcement learning of tool use is known to fail (DeepEyesV2, section 3.2:
calls die out, or shrink to one code cell that holds a comment), and those of reinforcement learning in general.
`alarms` is a function of the history alone: a resumed run that reads its metrics back judges as if never stopped.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

from foveal.reward.cells import call_key, cells_of, placeholders
from foveal.reward.parts import response_tokens
from foveal.train.advantage import CUT
from foveal.train.rl_settings import AlarmName, MonitorSettings
from foveal.trajectory import Trajectory

ALARMS: tuple[str, ...] = get_args(AlarmName)


@dataclass(frozen=True)
class Alarm:
    """A metric that has been out of bounds for `patience` steps."""

    name: AlarmName
    metric: str
    value: float
    """Mean of the metric over the last `window` steps."""
    limit: float
    """The bound that it left."""
    start: float | None
    """Mean over the first `window` steps, for bounds that are relative to it."""
    meaning: str
    """What it usually means, and what usually helps."""

    def __str__(self) -> str:
        side = "below" if self.value < self.limit else "above"
        began = "" if self.start is None else f" (it began at {self.start:.3g})"
        return f"{self.name}: {self.metric} is {self.value:.3g}, {side} {self.limit:.3g}{began}. {self.meaning}"


class _Rule(NamedTuple):
    name: AlarmName
    metric: str
    above: bool
    """Whether too much is the failure, or too little."""
    limit: float
    relative: bool
    """Whether `limit` is a factor of the start."""


MEANINGS: dict[AlarmName, str] = {
    "tool_abandonment": "The model stops calling tools: its calls fail or do not pay, so answering at once wins. "
    "A cold start that makes calls work helps; a bonus for calls invites placeholder code.",
    "placeholder_code": "Code cells compute nothing: the reward pays for a call, not for its use.",
    "repeated_calls": "The same call is made again in a trajectory: its observation is not read, or is an error that "
    "does not say what to do.",
    "crashing_code": "Most cells fail: the model was not taught what the sandbox holds, or the sandbox lacks packages.",
    "runaway_length": "Turns grow without end: nothing punishes length, or sampling has become random.",
    "cut_short": "Limits end many trajectories, which then teach nothing or only that length is bad: raise the limits, "
    "or punish length before they are reached.",
    "entropy_collapse": "The model repeats itself, so that groups have nothing to compare: raise clip_high or the "
    "temperature, or lower the learning rate.",
    "sampler_gap": "Sampler and trainer disagree about what was sampled: other weights, precision, template or picture "
    "size. Find the cause first; loss.importance only softens it.",
}


def measure(trajectories: Sequence[Trajectory], training: Mapping[str, float] | None = None) -> dict[str, float]:
    """Metrics of a step. What cannot be measured (a share of no cells) is left out.

    Args:
        trajectories: What was sampled in the step, thrown away or not; none that the policy failed in, which says
            nothing about what the model does.
        training: Figures of the loss (`LossFigures.means()`), which come back as `policy/<name>`.

    Returns:
        calls/rate (share of trajectories with a call), calls/mean (a trajectory), calls/repeated (share of calls),
        code/cells (a trajectory), code/placeholder, code/crashing (shares of cells), length/tokens (written by the
        model, a trajectory), length/cut (share that a limit ended).
    """
    metrics = {f"policy/{name}": value for name, value in (training or {}).items()}
    if not trajectories:
        return metrics
    calls = [[turn.call for turn in one.turns if turn.call is not None] for one in trajectories]
    cells = [list(cells_of(one)) for one in trajectories]
    made, run = sum(map(len, calls)), sum(map(len, cells))
    metrics["calls/rate"] = statistics.fmean(bool(some) for some in calls)
    metrics["calls/mean"] = made / len(calls)
    if made:
        metrics["calls/repeated"] = sum(len(some) - len({call_key(call) for call in some}) for some in calls) / made
    metrics["code/cells"] = run / len(cells)
    if run:
        metrics["code/crashing"] = sum(cell.status != "ok" for some in cells for _, cell in some) / run
        metrics["code/placeholder"] = sum(len(placeholders(some)) for some in cells) / run
    written = [tokens for one in trajectories if (tokens := response_tokens(one)) is not None]
    if written:
        metrics["length/tokens"] = statistics.fmean(written)
    metrics["length/cut"] = statistics.fmean(one.stop_reason in CUT for one in trajectories)
    return metrics


def alarms(history: Sequence[Mapping[str, float]], settings: MonitorSettings) -> list[Alarm]:
    """The alarms that stand after the last step; at most one of a name.

    Args:
        history: Metrics of every step so far, first to last.
        settings: Bounds, window and patience.
    """
    found: dict[str, Alarm] = {}
    for rule in _rules(settings):
        start = _mean(history[: settings.window], rule.metric) if rule.relative else None
        if rule.relative and start is None:
            continue
        limit = rule.limit if start is None else rule.limit * start
        ends = range(len(history) - settings.patience + 1, len(history) + 1)
        values = [_mean(history[end - settings.window : end], rule.metric) for end in ends if end >= settings.window]
        out = [value for value in values if value is not None and (value > limit if rule.above else value < limit)]
        if len(out) == settings.patience:
            alarm = Alarm(rule.name, rule.metric, out[-1], limit, start, MEANINGS[rule.name])
            found.setdefault(rule.name, alarm)
    return list(found.values())


def _rules(settings: MonitorSettings) -> tuple[_Rule, ...]:
    return (
        _Rule("tool_abandonment", "calls/rate", False, settings.call_rate_share, True),
        _Rule("tool_abandonment", "calls/rate", False, settings.call_rate_floor, False),
        _Rule("placeholder_code", "code/placeholder", True, settings.placeholder, False),
        _Rule("repeated_calls", "calls/repeated", True, settings.repeated, False),
        _Rule("crashing_code", "code/crashing", True, settings.crashing, False),
        _Rule("runaway_length", "length/tokens", True, settings.length_factor, True),
        _Rule("cut_short", "length/cut", True, settings.cut, False),
        _Rule("entropy_collapse", "policy/entropy", False, settings.entropy_share, True),
        _Rule("sampler_gap", "policy/gap", True, settings.gap, False),
    )


def _mean(steps: Sequence[Mapping[str, float]], metric: str) -> float | None:
    values = [step[metric] for step in steps if metric in step and math.isfinite(step[metric])]
    return statistics.fmean(values) if values else None
