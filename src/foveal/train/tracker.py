"""Metrics to a tracker: trackio (local) or wandb.

    run/<tracker>.json   the id of the run there, and the last step that it was told

A resumed run is the same run there, and a step that is taken again after a kill is not told again.
"""

import contextlib
import importlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import JsonValue

from foveal.errors import ConfigError, MissingDependency
from foveal.train.run_folder import write_json

PROJECT = "foveal"


def tracker_module(tracker: str) -> ModuleType:
    """The package of a tracker.

    Raises:
        MissingDependency: It is not installed.
    """
    try:
        return importlib.import_module(tracker)
    except ModuleNotFoundError as error:
        if error.name != tracker:
            raise
        raise MissingDependency(f"the package {tracker} is not installed", f"pip install {tracker}") from error


@contextlib.contextmanager
def tracking(
    tracker: str, run: Path, config: Mapping[str, JsonValue]
) -> Iterator[Callable[[dict[str, JsonValue]], None]]:
    """A function that hands the numbers of a line of metrics to a tracker, under their step, once.

    Args:
        tracker: `trackio` or `wandb`.
        run: Folder of the run, which is there; its name and an id are the run's name in the project `foveal`.
        config: Settings of the run.

    Raises:
        MissingDependency: The tracker is not installed.
        ConfigError: It refuses to begin, as wandb does for somebody who has not logged in.
    """
    module = tracker_module(tracker)
    kept = run / f"{tracker}.json"
    known: dict[str, Any] = json.loads(kept.read_bytes()) if kept.exists() else {"id": uuid.uuid4().hex[:12], "sent": 0}
    write_json(kept, known)
    # wandb knows a run again by its id. trackio has none, and takes the last run of that name for the same.
    own = {"id": known["id"]} if tracker == "wandb" else {}
    name = f"{run.resolve().name}-{known['id']}"
    try:
        tracked = module.init(project=PROJECT, name=name, config=dict(config), resume="allow", **own)
    except Exception as error:
        raise ConfigError(
            f"{tracker} cannot be used: {error}", "mend that, or leave out the setting tracker"
        ) from error

    def log(line: dict[str, JsonValue]) -> None:
        step = line["step"]
        assert isinstance(step, int)
        if step <= known["sent"]:
            return
        known["sent"] = step
        write_json(kept, known)  # before: what was on its way to the tracker at a kill is in the metrics of the run
        # `step` is a name of trackio's own.
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
        tracked.log(numbers, step=step)

    try:
        yield log
    finally:
        tracked.finish()
