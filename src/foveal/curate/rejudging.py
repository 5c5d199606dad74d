"""Answers that were scored by another reward are scored by that of the settings, without asking who gave them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from foveal.records import edit_run, scan_run
from foveal.reward.score import on_record
from foveal.reward.settings import RewardSettings
from foveal.trajectory import Trajectory

Score = Callable[[Trajectory], Awaitable[Trajectory]]


def scored_otherwise(trajectory: Trajectory, settings: RewardSettings) -> bool:
    """Whether a trajectory has its score from other settings, or none at all."""
    return trajectory.settings.get("reward") != on_record(settings)


async def rejudge(run: Path, settings: RewardSettings, score: Score, before: Callable[[], None] = lambda: None) -> int:
    """Score a run again where other settings have scored it. The run is the old one until the new one is whole.

    Args:
        run: The run folder; need not be there.
        settings: The reward.
        score: Puts it onto a trajectory.
        before: Called when the new run is about to take the place of the old one.

    Returns:
        How many answers were scored again.

    Raises:
        RecordError: Another process is writing to the run, or it is of a format version that is not known.
    """
    if not any(scored_otherwise(one, settings) for one in scan_run(run)):
        return 0
    count = 0

    async def anew(one: Trajectory) -> Trajectory:
        return await score(one) if scored_otherwise(one, settings) else one

    async def again(batch: Sequence[Trajectory]) -> Sequence[Trajectory]:
        nonlocal count
        new = await asyncio.gather(*map(anew, batch))
        count += sum(one is not old for old, one in zip(batch, new, strict=True))
        return new

    with edit_run(run) as editor:
        await editor.draft(again)
        before()
        editor.commit()
    return count
