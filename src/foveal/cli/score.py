"""`foveal score`: score a saved run, again or at last, without its model."""

import asyncio
import json
import logging
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from foveal.cli.common import api_key, check_writable, logs, plain, read_flags, write_json

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.reward.judge import Judge
    from foveal.reward.score import Scored
    from foveal.reward.settings import RewardSettings
    from foveal.trajectory import Trajectory

JUDGE_KEY = "FOVEAL_JUDGE_API_KEY"


def score(
    run: Path,
    *settings: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Score a saved run, again or at last, without its model.

    Without settings those that the run was scored with are used, so that what a judge left unscored is finished.
    Every setting can be given as a flag, too: --preset official --judge.url URL --judge.model NAME. The new rewards
    are written together, or not at all. docs/rewards.md says what each part means.

    Args:
        run: The folder of the run.
        settings: Settings by name, behind RUN.
        config: TOML file of the settings of the reward.
        json_file: Write the figures to this file; docs/rewards.md lists them.
    """
    from foveal.records import edit_run
    from foveal.reward.judge import open_judge
    from foveal.reward.score import check_settings

    flags = read_flags(settings)
    check_writable(json_file)
    console = Console(highlight=False, emoji=False)
    started = time.monotonic()
    with logs(logging.WARNING), edit_run(run) as editor:
        chosen = _settings(editor.trajectories, config, flags)
        check_settings(chosen)
        key = os.environ.get(JUDGE_KEY) or api_key()
        judge = open_judge(chosen.judge, key, run) if chosen.judge else None
        scored = asyncio.run(_score_all(editor.trajectories, chosen, judge))
        # A score that is there is never given up for one that could not be made.
        lost = [
            t for t, new in zip(editor.trajectories, scored, strict=True) if new.unscored and "accuracy" in t.reward
        ]
        if not lost:
            editor.replace([new.onto(t) for t, new in zip(editor.trajectories, scored, strict=True)])
    numbers = figures(editor.trajectories, scored)
    extra = {"unreadable": editor.unreadable, "written": not lost, "seconds": time.monotonic() - started}
    if json_file is not None:
        write_json(json_file, {**numbers, **extra, "settings": json.dumps(chosen.model_dump(mode="json"))})
    _show(numbers, scored, console)
    if editor.unreadable:
        console.print(f"{editor.unreadable} lines cannot be read and were left as they are", style="yellow")
    if lost:
        console.print(f"the old rewards are kept: {len(lost)} of them would have been lost", style="yellow")
    unfinished = any(new.unfinished for new in scored)
    if unfinished:
        console.print("verdicts so far are kept; run this command again when the judge is up", style="yellow")
    return 1 if lost or unfinished else 0


def _settings(trajectories: "Sequence[Trajectory]", config: Path | None, flags: dict[str, str]) -> "RewardSettings":
    """Settings of file and flags; without any, those on the record if they are all the same."""
    from pydantic import ValidationError

    from foveal.config import read_settings
    from foveal.errors import ConfigError
    from foveal.reward.settings import RewardSettings

    recorded = {json.dumps(t.settings["reward"], sort_keys=True) for t in trajectories if "reward" in t.settings}
    if config is not None or flags or not recorded:
        return read_settings(RewardSettings, config, flags)
    fix = "name the settings: --config FILE, or --preset paper"
    if len(recorded) > 1:
        raise ConfigError(f"the run was scored with {len(recorded)} different settings", fix)
    try:
        return RewardSettings.model_validate_json(recorded.pop())
    except ValidationError as error:
        raise ConfigError(f"the settings that the run was scored with cannot be used: {error}", fix) from error


async def _score_all(
    trajectories: "Sequence[Trajectory]", settings: "RewardSettings", judge: "Judge | None"
) -> "list[Scored]":
    from foveal.reward.score import score as score_one

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=len(trajectories))

        async def one(trajectory: "Trajectory") -> "Scored":
            scored = await score_one(trajectory, settings, judge)
            progress.advance(task)
            return scored

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(trajectory)) for trajectory in trajectories]
    return [task.result() for task in tasks]


def figures(trajectories: "Sequence[Trajectory]", scored: "Sequence[Scored]") -> "dict[str, JsonValue]":
    """Flat figures of a scored run.

    `n`: trajectories; `scored`, `unscored`: how many have a total, and how many have none; `accuracy`, `low`, `high`:
    share of right answers among those whose accuracy is known, with its 95 % Wilson interval; `part.<name>`: mean of a
    part and of the `total` where it is known; `family.<name>.n`, `.unscored`, `.accuracy`, `.low`, `.high`: the same by
    family of questions; `by.<what>`: how many answers each rule or the judge decided on.
    """
    out = _shares("", scored)
    names = dict.fromkeys(name for new in scored for name in new.reward)
    for name in names:
        out[f"part.{name}"] = statistics.fmean(new.reward[name] for new in scored if name in new.reward)
    for family in sorted({t.question.family for t in trajectories if t.question.family}):
        of_it = [new for t, new in zip(trajectories, scored, strict=True) if t.question.family == family]
        out |= _shares(f"family.{family}.", of_it)
    return out | {f"by.{what}": count for what, count in sorted(Counter(new.by for new in scored).items())}


def _shares(prefix: str, scored: "Sequence[Scored]") -> "dict[str, JsonValue]":
    from foveal.bench.statistics import wilson

    known = [new.reward["accuracy"] for new in scored if "accuracy" in new.reward]
    unscored = sum(new.unscored is not None for new in scored)
    out: dict[str, JsonValue] = {"n": len(scored), "scored": len(scored) - unscored, "unscored": unscored}
    if known:
        share = wilson(sum(known), len(known))
        out |= {"accuracy": share.value, "low": share.low, "high": share.high}
    return {prefix + name: value for name, value in out.items()}


def _show(numbers: "dict[str, JsonValue]", scored: "Sequence[Scored]", console: Console) -> None:
    table = Table(show_header=False, box=None)
    for name, value in numbers.items():
        table.add_row(plain(name), f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    for why, count in Counter(new.unscored for new in scored if new.unscored).most_common(3):
        console.print(f"{count} unscored: {plain(why)}", style="yellow", soft_wrap=True, markup=False)
