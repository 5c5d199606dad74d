"""Answers that were scored by another reward are scored by that of the settings, without asking who gave them."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from pydantic import ValidationError

from foveal.records import FILE, RunWriter, scan_run, sync
from foveal.reward.settings import RewardSettings
from foveal.trajectory import Trajectory

BATCH = 64
"""Answers that are scored at a time."""

Score = Callable[[Trajectory], Awaitable[Trajectory]]


def scored_otherwise(trajectory: Trajectory, settings: RewardSettings) -> bool:
    """Whether a trajectory has its score from other settings, or none at all."""
    return trajectory.settings.get("reward") != settings.model_dump(mode="json")


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

    async def again(line: bytes) -> bytes:
        nonlocal count
        try:
            trajectory = Trajectory.model_validate_json(line)
        except ValidationError:
            return line  # whoever reads the run tells of it
        if not scored_otherwise(trajectory, settings):
            return line
        count += 1
        return (await score(trajectory)).model_dump_json().encode() + b"\n"

    part = run / f".{FILE}.part"
    with RunWriter(run, resume=True, pictures=False):  # nobody else writes to it meanwhile
        with (run / FILE).open("rb") as old, part.open("wb") as new:
            while lines := list(itertools.islice(old, BATCH)):
                new.writelines(await asyncio.gather(*map(again, lines)))
            new.flush()
            os.fsync(new.fileno())
        before()
        part.replace(run / FILE)
        sync(run)
    return count
