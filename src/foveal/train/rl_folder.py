"""What a run of reinforcement learning was started with, kept in its folder. No torch here.

    run/settings.json   the settings, resolved
    run/inputs.json     what stood in the files that the settings name, and how many processes there were

Settings name files by path. A checkpoint of the run holds neither questions nor frozen weights, and every process draws
questions of its own: were any of them others on resume, the run would go on as another one and nobody would know.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.errors import ConfigError
from foveal.policy.weights import checkpoint_files, content_of
from foveal.train.rl_settings import RlSettings

SETTINGS = "settings.json"
INPUTS = "inputs.json"

MAY_CHANGE = ("steps", "stop_on", "save_steps", "saved_groups", "tracker", "micro_tokens", "gradient_checkpointing")
"""Settings that a resumed run may have other values of: they change no step, the last two but for rounding."""
JUDGE_MAY_CHANGE = ("url", "timeout", "max_retries")
"""The same of `reward.judge`: where its model answers, and how patiently it is asked."""


def check_run(settings: RlSettings, run: Path, resume: bool, processes: int | None = None) -> None:
    """Refuse a folder that these settings cannot begin a run in, or go on with one. Nothing is written.

    Args:
        settings: Of the run.
        run: Its folder.
        resume: Whether to go on with the run that is there.
        processes: How many share the run; None if nobody knows yet.

    Raises:
        ConfigError: The folder holds a run (or none, to resume), or one with other settings, files or processes.
        OSError: A file that the settings name cannot be read; `open_environment` says so better, before.
    """
    if not resume:
        if (run / SETTINGS).exists():
            raise ConfigError(f"{run} already holds a run", "name another folder with --run, or add --resume")
        return
    if not (run / SETTINGS).is_file():
        raise ConfigError(f"{run} holds no run to resume: there is no {SETTINGS}", "leave out --resume")
    before, now = _fixed(_read(run / SETTINGS)), _fixed(settings.model_dump(mode="json"))
    if changed := [key for key in now if now[key] != before.get(key)]:
        was = ", ".join(f"{key} was {before.get(key)}" for key in changed)
        may = ", ".join((*MAY_CHANGE, *(f"reward.judge.{key}" for key in JUDGE_MAY_CHANGE)))
        raise ConfigError(
            f"{run} was started with other settings: {was}",
            f"resume it with the same settings; only {may} may change",
        )
    if not (run / INPUTS).exists():  # begun by a foveal that did not keep them
        return
    kept, found = _read(run / INPUTS), _files(settings)
    if other := sorted(name for name in {*found, *kept["files"]} if found.get(name) != kept["files"].get(name)):
        raise ConfigError(
            f"{run} was begun when something else stood in {', '.join(other)}",
            "put the files back as they were, or start anew in another folder",
        )
    if processes not in (None, kept["processes"]):
        raise ConfigError(
            f"{run} was begun with processes: {kept['processes']}, and there are {processes} now",
            f"resume it with {kept['processes']}: each draws questions of its own",
        )


def keep_start(settings: RlSettings, run: Path, processes: int) -> None:
    """Write what the run is started with. From now on the folder holds a run."""
    if not (run / INPUTS).exists() or not (run / SETTINGS).exists():  # what stands there of a run stays
        write_json(run / INPUTS, {"processes": processes, "files": _files(settings)})
    write_json(run / SETTINGS, settings.model_dump(mode="json"))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file that is the old one until the new one is whole on the disk."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", "put a whole copy of it back, or start anew in another folder"
        ) from error
    return values


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run must have as before."""
    fixed = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    if judge := fixed["reward"].get("judge"):
        judge = {key: value for key, value in judge.items() if key not in JUDGE_MAY_CHANGE}
        fixed["reward"] = {**fixed["reward"], "judge": judge}
    return fixed


def _files(settings: RlSettings) -> dict[str, dict[str, str | int]]:
    """What stands in the files that a run reads again when it is resumed, by path."""
    prompts = (path for path in (settings.system_prompt, settings.user_suffix) if path is not None)
    start = checkpoint_files(settings.model)
    return {str(path): content_of(path) for path in sorted((*settings.questions, *prompts, *start))}
