"""`foveal sft`: cold start on saved trajectories."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from foveal.cli.common import check_writable, run_training
from foveal.config import read_settings
from foveal.train.settings import SftSettings


def sft(
    *,
    config: Path,
    run: Path,
    resume: bool = False,
    dry_run: bool = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    **settings: Annotated[str, Parameter(show=False)],
) -> None:
    """Teach a model to use tools from saved trajectories.

    Every setting of the file can be given as a flag, too: `--learning-rate 2e-5 --epochs 1`. The result is the
    checkpoint folder RUN/model.

    Args:
        config: TOML file of the settings (docs/training.md lists them, recipes/ has examples).
        run: Folder of this run; an existing run is never overwritten.
        resume: Go on with the run in that folder from its last checkpoint.
        dry_run: Check settings, run folder and data, say what would be trained on, and stop.
        json_file: Write the result to this file: model, steps, loss, seconds, fits.whole/shortened/dropped/empty.
        settings: Settings by name.
    """
    check_writable(json_file)
    chosen = read_settings(SftSettings, config, settings)
    run_training(lambda console: (_count if dry_run else _train)(chosen, run, resume, console), json_file)


def _count(settings: SftSettings, run: Path, resume: bool, console: Console) -> "dict[str, str | int | float]":
    """Say what the data is, without a model."""
    from foveal.train.data import SftData
    from foveal.train.sft import count_steps, load_encoder
    from foveal.train.sft_folder import check_data, check_run

    check_run(settings, run, resume)
    if resume:
        check_data(settings, run)
    data = SftData(settings, load_encoder(settings))
    steps = count_steps(settings, data)
    console.print_json(json.dumps(settings.model_dump(mode="json")))
    for fit, count in data.fits.items():
        console.print(f"{count:6} trajectories {fit}")
    tokens = sum(data.lengths)
    console.print(f"{tokens:6} tokens, {data.learned} of them learned; longest sequence {max(data.lengths)}")
    console.print(f"{steps:6} steps of {settings.batch_size} sequences", style="bold")
    fits: dict[str, str | int | float] = {f"fits.{fit}": count for fit, count in data.fits.items()}
    return {"steps": steps, "tokens": tokens, "learned": data.learned, **fits}


def _train(settings: SftSettings, run: Path, resume: bool, console: Console) -> "dict[str, str | int | float]":
    from foveal.train.sft import run_sft

    result = run_sft(settings, run, resume)
    console.print(f"{result.steps} steps in {result.seconds:.0f} s, loss {result.loss:.4f}")
    console.print(f"the checkpoint is {result.model}", style="bold")
    fits: dict[str, str | int | float] = {f"fits.{fit}": count for fit, count in result.fits.items()}
    return {"model": result.model, "steps": result.steps, "loss": result.loss, "seconds": result.seconds, **fits}
