"""Metrics to a tracker: trackio (local) or wandb. The two agree in all that is used of them here."""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from foveal.errors import MissingDependency

PROJECT = "foveal"


@contextlib.contextmanager
def tracking(
    tracker: str, run: Path, config: Mapping[str, JsonValue]
) -> Iterator[Callable[[dict[str, JsonValue]], None]]:
    """A function that hands the numbers of a line of metrics to a tracker, under their step.

    Args:
        tracker: `trackio` or `wandb`.
        run: Folder of the run; its name is the run's name in the project `foveal`.
        config: Settings of the run.

    Raises:
        MissingDependency: The tracker is not installed.
    """
    try:
        module = importlib.import_module(tracker)
    except ModuleNotFoundError as error:
        if error.name != tracker:
            raise
        raise MissingDependency(f"the package {tracker} is not installed", f"pip install {tracker}") from error
    tracked = module.init(project=PROJECT, name=run.name, config=dict(config), resume="allow")

    def log(line: dict[str, JsonValue]) -> None:
        # `step` is a name of trackio's own.
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
        tracked.log(numbers, step=line["step"])

    try:
        yield log
    finally:
        tracked.finish()
