"""From groups of rollouts to what an optimizer step learns from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.policy.encoding import ChatEncoder, Patches
from foveal.train.advantage import GroupKind, has_loss
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Group
from foveal.train.tokens import Plan, TrainingSequence, plan, sequence


@dataclass(frozen=True, eq=False)
class Sample:
    """A trajectory to learn from."""

    sequence: TrainingSequence
    """Its pictures are features where the tower is frozen."""
    advantage: float
    old: npt.NDArray[np.float32] | None = None
    """(L,): log-probs before the first of several updates."""


@dataclass(frozen=True, eq=False)
class Planned:
    """A trajectory to learn from, its pictures not opened yet."""

    plan: Plan
    advantage: float


def trained_groups(groups: Sequence[Group], settings: RlSettings) -> list[Group]:
    """Groups that are trained on: with dynamic sampling, those that have something to compare."""
    if not settings.dynamic_sampling:
        return list(groups)
    return [group for group in groups if group.kind is GroupKind.INFORMATIVE]


def shares(groups: Sequence[Group], encoder: ChatEncoder, settings: RlSettings) -> list[list[Planned]]:
    """The trajectories with a loss, in `settings.updates` shares of whole groups; a share may be empty.

    Raises:
        TrainingError: The tokens of a trajectory and its pictures disagree.
    """
    trained = trained_groups(groups, settings)
    numbers = np.array_split(np.arange(len(trained)), settings.updates)
    return [[one for n in some for one in _planned(trained[n], encoder, settings)] for some in numbers]


def _planned(group: Group, encoder: ChatEncoder, settings: RlSettings) -> list[Planned]:
    found = []
    for trajectory, advantage in zip(group.trajectories, group.advantages, strict=True):
        if has_loss(trajectory, mask_cut=settings.mask_cut, mask_malformed=settings.mask_malformed):
            planned, _ = plan(trajectory, encoder, settings.limits.max_context)
            if planned is not None:  # the model said something
                found.append(Planned(planned, advantage))
    return found


def load(planned: Planned, encoder: ChatEncoder, pictures: Mapping[str, Patches]) -> Sample:
    """A sample with its pictures, features or patches, by their hash: samples of one picture share it."""
    shown = [pictures[ref.sha256] for ref in planned.plan.refs]
    return Sample(sequence(planned.plan, encoder, shown), planned.advantage)


def micro_batches(samples: Sequence[Sample], most_tokens: int) -> list[list[Sample]]:
    """Batches of at most `most_tokens` tokens, padding included, longest sequences first; a longer one goes alone."""
    batches: list[list[Sample]] = []
    for sample in sorted(samples, key=lambda one: -len(one.sequence.ids)):
        if batches and len(batches[-1][0].sequence.ids) * (len(batches[-1]) + 1) <= most_tokens:
            batches[-1].append(sample)
        else:
            batches.append([sample])
    return batches
