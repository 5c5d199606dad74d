"""`foveal rl`: reinforcement learning on questions with known answers."""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from foveal.cli.common import api_key, check_writable, plain, read_flags, run_training
from foveal.cli.score import JUDGE_KEY
from foveal.config import read_settings
from foveal.train.rl_settings import RlSettings

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.tools.sandbox import LocalSandbox


def rl(
    *settings: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path,
    run: Path,
    resume: bool = False,
    dry_run: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Improve a model with its own answers to questions: DAPO on rollouts with the real tools.

    Every setting of the file can be given as a flag, too: --steps 20 --loss.clip-high 0.2 --stop-on tool_abandonment.
    The result is the checkpoint folder RUN/model. An alarm of stop_on ends the run early, with code 0.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings (docs/training.md lists them, recipes/ has examples).
        run: Folder of this run; an existing run is never overwritten.
        resume: Go on with the run in that folder from its last checkpoint.
        dry_run: Check settings, run folder, questions, pictures, judge address and tracker, try the tools, say what
            would be done, and stop.
        json_file: Write the result to this file: model, steps, stopped, seconds.
    """
    check_writable(json_file)
    chosen = read_settings(RlSettings, config, read_flags(settings))
    work = _plan if dry_run else _train
    run_training(lambda console: work(chosen, run, resume, console), json_file)


def _plan(settings: RlSettings, run: Path, resume: bool, console: Console) -> "dict[str, JsonValue]":
    """Say what would be done, without a model."""
    from foveal.train.environment import open_environment
    from foveal.train.rl_folder import check_run
    from foveal.train.tracker import tracker_module
    from foveal.trajectory import ImageStore

    environment = open_environment(settings)
    check_run(settings, run, resume)
    _try_judge(settings, run)
    if settings.tracker is not None:
        tracker_module(settings.tracker)
    pictures = sum(len(question.open(ImageStore()).images) for question in environment.questions)
    isolation = asyncio.run(_probe(environment.sandbox)) if environment.sandbox is not None else None
    console.print_json(json.dumps(settings.model_dump(mode="json")))
    count, families = len(environment.questions), Counter(one.row.family or "-" for one in environment.questions)
    console.print(f"{count:8} questions with {pictures} pictures", soft_wrap=True)
    for family, number in sorted(families.items()):
        console.print(f"{number:8}   {plain(family)}", markup=False)
    tools = ", ".join(environment.tools.offered) or "none"
    console.print(f"   tools: {tools}" + (f"; code is isolated by: {isolation}" if isolation else ""))
    asked = settings.prompts * settings.rollouts
    console.print(
        f"{settings.steps:8} steps of {settings.prompts} x {settings.rollouts} = {asked} trajectories or more, "
        f"{settings.updates * settings.steps} updates; {settings.steps * settings.prompts / count:.1f} passes or more",
        style="bold",
        soft_wrap=True,
    )
    sizes: dict[str, JsonValue] = {f"family.{family}": number for family, number in sorted(families.items())}
    return {"questions": count, "pictures": pictures, "steps": settings.steps, "trajectories": asked, **sizes}


def _try_judge(settings: RlSettings, run: Path) -> None:
    """Open the judge as the run would, but make no file of verdicts."""
    from foveal.reward.judge import open_judge

    if (judge := settings.reward.judge) is not None:
        cache = judge.cache or run / "verdicts.sqlite"
        open_judge(judge.model_copy(update={"cache": cache if cache.exists() else None}))


async def _probe(sandbox: "LocalSandbox") -> str:
    async with sandbox:
        return await sandbox.probe()


def _train(settings: RlSettings, run: Path, resume: bool, console: Console) -> "dict[str, JsonValue]":
    from foveal.train.rl import run_rl

    result = run_rl(settings, run, resume, os.environ.get(JUDGE_KEY) or api_key())
    if result.stopped is not None:
        console.print(f"stopped by {result.stopped}", style="yellow", soft_wrap=True, markup=False)
    console.print(f"{result.steps} steps of {settings.steps}, {result.seconds:.0f} s")
    console.print(f"the checkpoint is {result.model}", style="bold", soft_wrap=True)
    return {"model": result.model, "steps": result.steps, "stopped": result.stopped, "seconds": result.seconds}
