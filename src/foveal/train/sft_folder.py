"""What a run of cold start was started with, kept in its folder (`train.run_folder`). No torch here."""

from pathlib import Path

from foveal.policy.weights import checkpoint_files, content_of
from foveal.records import FILE
from foveal.train.run_folder import Contents, check_begun, check_inputs, check_settings, keep
from foveal.train.settings import SftSettings


def check_run(settings: SftSettings, run: Path, resume: bool) -> None:
    """Refuse a folder that these settings cannot begin a run in, or go on with one. Nothing is written.

    Raises:
        ConfigError: The folder holds a run (or none, to resume), or one with other settings.
    """
    check_begun(run, resume)
    if resume:
        check_settings(run, settings.model_dump(mode="json"))


def check_data(settings: SftSettings, run: Path, processes: int | None = None) -> None:
    """Refuse to go on with a run on other data, from another checkpoint, or in another number of processes.

    Args:
        settings: Of the run.
        run: Its folder.
        processes: How many share the run; None if nobody knows yet.

    Raises:
        ConfigError: One of them is not what the run was begun with.
    """
    check_inputs(run, lambda: _contents(settings), processes, "a process has its own share of every step")


def keep_start(settings: SftSettings, run: Path, processes: int) -> None:
    """Write what the run is started with. From now on the folder holds a run."""
    keep(run, settings.model_dump(mode="json"), lambda: _contents(settings), processes)


def _contents(settings: SftSettings) -> Contents:
    """What stands in the files that a run reads again when it is resumed; pictures are named by what they hold."""
    files = {*(folder / FILE for folder in settings.data), *checkpoint_files(settings.model)}
    return {str(path): content_of(path) for path in sorted(files)}
