"""What a training run was started with, kept in its folder. No torch here.

    run/settings.json   the settings, resolved
    run/inputs.json     what stood in the files that the settings name, and how many processes there were

Settings name files by path, and a checkpoint of the run does not hold what stood in them: were it something else on
resume, the run would go on as another one and nobody would know. A folder without settings holds no run.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from foveal.errors import ConfigError
from foveal.files import replacing

SETTINGS = "settings.json"
INPUTS = "inputs.json"

WRITTEN = ("checkpoints", "metrics.jsonl", "model", "result.json", "rollouts")
"""What a run writes from then on; it replaces what has these names."""

Contents = Mapping[str, Mapping[str, str | int]]
"""What stands in files, by path."""


def check_begun(run: Path, resume: bool) -> None:
    """Refuse a folder that a run cannot begin in, or that holds none to go on with.

    Raises:
        ConfigError: The folder holds a run (or none, to resume).
    """
    if resume and not (run / SETTINGS).is_file():
        raise ConfigError(f"{run} holds no run to resume: there is no {SETTINGS}", "leave out --resume")
    if not resume and (run / SETTINGS).exists():
        raise ConfigError(f"{run} already holds a run", "name another folder with --run, or add --resume")
    if not resume and (others := [name for name in WRITTEN if _holds(run / name)]):
        raise ConfigError(
            f"{run} holds {', '.join(others)} of something else, which a run would write over",
            "name another folder with --run, or move them",
        )


def check_settings(
    run: Path,
    settings: Mapping[str, Any],
    fixed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
    but: str = "",
) -> None:
    """Refuse to go on with a run under other settings.

    Args:
        run: Its folder.
        settings: Of now, as JSON has them.
        fixed: Takes those out of settings that have to be as before.
        but: Says of the others that they need not.

    Raises:
        ConfigError: The run was started with others, or nobody can read with which.
    """
    before, now = fixed(_read(run / SETTINGS)), fixed(settings)
    if changed := [key for key in now if now[key] != before.get(key)]:
        was = ", ".join(f"{key} was {before.get(key)}" for key in changed)
        raise ConfigError(
            f"{run} was started with other settings: {was}", f"resume it with the same settings{but and f'; {but}'}"
        )


def check_inputs(run: Path, contents: Callable[[], Contents], processes: int | None, why: str) -> None:
    """Refuse to go on with a run on other files, or in another number of processes.

    Args:
        run: Its folder.
        contents: Tells what stands now in the files that its settings name.
        processes: How many share the run; None if nobody knows yet.
        why: The number of processes has to stay.

    Raises:
        ConfigError: Something else stood in a file, or there were more or fewer processes.
    """
    if not (run / INPUTS).exists():  # begun by a foveal that did not keep them
        return
    kept, found = _read(run / INPUTS, "files", "processes"), contents()
    if other := sorted(name for name in {*found, *kept["files"]} if found.get(name) != kept["files"].get(name)):
        raise ConfigError(
            f"{run} was begun when something else stood in {', '.join(other)}",
            "put the files back as they were, or start anew in another folder",
        )
    if processes not in (None, kept["processes"]):
        raise ConfigError(
            f"{run} was begun with processes: {kept['processes']}, and there are {processes} now",
            f"resume it with {kept['processes']}: {why}",
        )


def keep(run: Path, settings: Mapping[str, Any], contents: Callable[[], Contents], processes: int) -> None:
    """Write what a run is started with. From now on the folder holds a run."""
    if not (run / INPUTS).exists() or not (run / SETTINGS).exists():  # what stands there of a run stays
        write_json(run / INPUTS, {"processes": processes, "files": contents()})
    write_json(run / SETTINGS, settings)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file that is the old one until the new one is whole on the disk."""
    with replacing(path) as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def _holds(path: Path) -> bool:
    """Whether a file is there, or a folder with a file in it: the trainer makes that of its checkpoints early."""
    return path.is_file() or any(one.is_file() for one in path.rglob("*"))


def _read(path: Path, *keys: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        if missing := [key for key in keys if key not in values]:
            raise ValueError(f"it does not say {', '.join(missing)}")
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", "put a whole copy of it back, or start anew in another folder"
        ) from error
    return values
