"""What a run of reinforcement learning was started with, kept in its folder (`train.run_folder`). No torch here.

A checkpoint of the run holds neither questions nor frozen weights, and every process draws questions of its own.
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foveal.curate.questions import read_questions
from foveal.policy.weights import checkpoint_files, content_of
from foveal.tools.searched import index_fingerprint
from foveal.train.rl_settings import RlSettings
from foveal.train.run_folder import Contents, check_begun, check_inputs, check_settings, keep

_MEMORY = ("micro_tokens", "gradient_checkpointing", "concurrency", "max_batch")
MAY_CHANGE = ("steps", "stop_on", "save_steps", "saved_groups", "tracker", *_MEMORY)
"""Settings that a resumed run may have other values of: they change no step, those of memory but for rounding."""
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
    check_begun(run, resume)
    if resume:
        may = ", ".join((*MAY_CHANGE, *(f"reward.judge.{key}" for key in JUDGE_MAY_CHANGE)))
        check_settings(run, settings.model_dump(mode="json"), _fixed, f"only {may} may change")
        check_inputs(run, lambda: _files(settings), processes, "each draws questions of its own")


def keep_start(settings: RlSettings, run: Path, processes: int) -> None:
    """Write what the run is started with. From now on the folder holds a run."""
    keep(run, settings.model_dump(mode="json"), lambda: _files(settings), processes)


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a resumed run must have as before."""
    fixed = {key: value for key, value in settings.items() if key not in MAY_CHANGE}
    if judge := fixed.get("reward", {}).get("judge"):
        judge = {key: value for key, value in judge.items() if key not in JUDGE_MAY_CHANGE}
        fixed["reward"] = {**fixed["reward"], "judge": judge}
    return fixed


def _files(settings: RlSettings) -> Contents:
    """What stands in the files that a run reads again when it is resumed, by path."""
    prompts = (path for path in (settings.system_prompt, settings.user_suffix) if path is not None)
    models = (path for path in (settings.model, settings.tools.dense, settings.tools.tower) if path is not None)
    weights = itertools.chain.from_iterable(map(checkpoint_files, models))
    pictures = {path for question in read_questions(settings.questions) for path in question.pictures}
    read = {*settings.questions, *prompts, *weights, *pictures}
    found = {str(path): content_of(path) for path in sorted(read)}
    index = settings.tools.search
    return found if index is None else {**found, str(index): {"index": index_fingerprint(index)}}
