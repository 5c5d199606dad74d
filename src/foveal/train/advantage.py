"""What the trajectories of one question teach, compared with one another: advantages, dynamic sampling, no-loss rules.

A group holds the trajectories that were sampled for one question. A reward of None is a trajectory that could not be
scored (its judge was down), or that the policy itself failed in: it is no part of the comparison and has no loss.
"""

import statistics
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from foveal.reward.format import well_formed
from foveal.reward.settings import RewardSettings
from foveal.trajectory import StopReason, Trajectory

EPSILON = 1e-6
"""Added to the standard deviation, as in DAPO's code; TRL adds 1e-4."""
CUT = frozenset({StopReason.MAX_TURNS, StopReason.MAX_TOKENS, StopReason.CONTEXT_FULL, StopReason.WALL_TIME})
"""Ends that a limit set, not the model: what it would have come to is unknown. (A repeated error is its own doing.)"""


def group_advantages(rewards: Sequence[float | None]) -> list[float]:
    """Advantage of each trajectory of a group: (r - mean) / (std + 1e-6).

    std is the sample standard deviation (over n - 1), as in DAPO's code (`torch.std`) and in TRL; the papers leave it
    open. A group whose rewards are all equal, a group of one, and an unscored trajectory get exactly 0.
    """
    scored = [reward for reward in rewards if reward is not None]
    if not is_informative(scored):
        return [0.0] * len(rewards)
    mean, std = statistics.fmean(scored), statistics.stdev(scored)
    return [0.0 if reward is None else (reward - mean) / (std + EPSILON) for reward in rewards]


class GroupKind(StrEnum):
    """What dynamic sampling finds in a group. Only informative groups are trained on; the others are thrown away."""

    INFORMATIVE = "informative"
    ALL_RIGHT = "all_right"
    ALL_WRONG = "all_wrong"
    ALL_EQUAL = "all_equal"
    """No trajectory is better than another, but neither are they all right nor all wrong."""
    UNSCORED = "unscored"
    """Fewer than two trajectories have a score that counts: there is nothing to compare."""


def group_kind(
    accuracies: Sequence[float | None],
    rewards: Sequence[float | None],
    by: Literal["accuracy", "reward"] = "accuracy",
) -> GroupKind:
    """What a group is worth for training.

    Args:
        accuracies: Accuracy part of the reward of each trajectory, 0 (wrong) to 1 (right).
        rewards: Total reward of each trajectory.
        by: What has to differ. DAPO asks for 0 < number of right answers < group size (equation 11), whatever the
            other parts of the reward; the DeepEyesV2 paper names DAPO and nothing else. `reward` also keeps groups that
            differ in format or length alone.
    """
    scored = [accuracy for accuracy in accuracies if accuracy is not None]
    compared = scored if by == "accuracy" else [reward for reward in rewards if reward is not None]
    if len(compared) < 2:
        return GroupKind.UNSCORED
    if is_informative(compared):
        return GroupKind.INFORMATIVE
    if scored and min(scored) >= 1:
        return GroupKind.ALL_RIGHT
    return GroupKind.ALL_WRONG if scored and max(scored) <= 0 else GroupKind.ALL_EQUAL


def is_informative(scored: Sequence[float]) -> bool:
    """Whether at least two scores of a group differ."""
    return len(scored) > 1 and min(scored) < max(scored)


def has_loss(trajectory: Trajectory, *, mask_cut: bool, mask_malformed: bool) -> bool:
    """Whether a trajectory is trained on at all.

    One without a score or ended by an error of the policy never is. The reward of one that is masked still counts in
    the mean of its group.

    Args:
        trajectory: A member of a group.
        mask_cut: DAPO's overlong filtering, for every limit: length, context, turns, time (as in DeepSWE).
        mask_malformed: Leave out trajectories that broke the format somewhere, as SimpleTIR (arXiv 2509.02479) leaves
            out those with a turn that neither calls nor answers: the improbable tokens of a model that lost its way
            make for most of the gradient, and teach nothing. The format is that of its reward, with the same limit on
            the answer: the settings that it was scored with are on the record.
    """
    if "total" not in trajectory.reward or trajectory.stop_reason is StopReason.POLICY_ERROR:
        return False
    if mask_malformed and not well_formed(trajectory, _scored_with(trajectory).max_answer_chars):
        return False
    return not (mask_cut and trajectory.stop_reason in CUT)


def _scored_with(trajectory: Trajectory) -> RewardSettings:
    return RewardSettings.model_validate(trajectory.settings.get("reward", {}))
