"""`foveal export` and `foveal import`: runs and question sets in the formats of the field."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from foveal.cli.common import check_writable, logs, plain, write_json

if TYPE_CHECKING:
    from foveal.integrations.formats.transfer import Result

Format = Literal["trl", "llamafactory", "verl", "hub-folder", "inspect"]

USE = {
    ("trl", "run"): 'SFTTrainer(train_dataset=load_dataset("{out}", split="train"))',
    ("trl", "questions"): 'GRPOTrainer(train_dataset=load_dataset("{out}", split="train"))',
    ("llamafactory", "run"): "dataset_dir: {out}, media_dir: {out}, dataset: foveal",
    ("verl", "questions"): "data.train_files: the Parquet files in {out}/data",
    ("hub-folder", "run"): 'load_dataset("{out}"); write the licence into {out}/README.md before you publish',
    ("hub-folder", "questions"): 'load_dataset("{out}"); write the licence into {out}/README.md before you publish',
    ("inspect", "questions"): 'json_dataset("{out}/samples.jsonl")',
}
"""What reads an export."""


def export(
    source: Path,
    *,
    to: Format,
    out: Path,
    system_prompt: Path | None = None,
    user_suffix: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Write a run or a question set in a format of the field.

    A run goes to trl, llamafactory or hub-folder; a question set to trl, verl, hub-folder or inspect. What a format
    keeps is in docs/formats.md. Rows that it cannot hold are told of, and listed in OUT/rejects.jsonl.

    Args:
        source: A run folder, or the JSONL file of a question set.
        to: The format.
        out: A new folder.
        system_prompt: Begin every question with the system prompt of this file (trl and verl).
        user_suffix: Put the text of this file behind every question (trl and verl).
        json_file: Write the figures to this file: kind, kept, rejected, seconds.
    """
    from foveal.integrations.formats import transfer

    check_writable(json_file)
    started = time.monotonic()
    system, suffix = _text(system_prompt), _text(user_suffix)
    with logs(logging.WARNING):
        result = transfer.export(source, to, out, system, suffix or "")
    use = USE[to, result.kind].format(out=out)
    return _tell(result, out, f"read it with {use}", time.monotonic() - started, json_file)


def import_(
    source: Path,
    *,
    from_format: Annotated[Format, Parameter(name="--from")],
    out: Path,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Turn data of a format of the field into a run or a question set.

    Conversations become a run folder, questions a question set OUT/questions.jsonl. Tool calls are read from the turns
    with foveal's own parser. Rows that cannot be read are told of, and listed in OUT/rejects.jsonl.

    Args:
        source: A file, or a folder of files.
        from_format: Its format.
        out: A new folder.
        json_file: Write the figures to this file: kind, kept, rejected, seconds.
    """
    from foveal.curate.adding import QUESTIONS
    from foveal.integrations.formats import transfer

    check_writable(json_file)
    started = time.monotonic()
    with logs(logging.WARNING):
        result = transfer.bring(source, from_format, out)
    look = f"foveal view {out}" if result.kind == "run" else f"the question set is {out}/{QUESTIONS}"
    return _tell(result, out, look, time.monotonic() - started, json_file)


def _text(file: Path | None) -> str | None:
    from foveal.errors import ConfigError

    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file {file} cannot be read: {error}", "name a UTF-8 text file") from error


def _tell(result: "Result", out: Path, after: str, seconds: float, json_file: Path | None) -> int:
    """Say what came of it; code 1 if that is nothing."""
    console = Console(highlight=False, emoji=False, markup=False, soft_wrap=True)
    counted = {"run": "conversations", "questions": "questions"}[result.kind]
    if json_file is not None:
        figures = {"kind": result.kind, "kept": result.kept, "rejected": result.rejected, "seconds": seconds}
        write_json(json_file, figures)
    console.print(f"{result.kept} {counted} in {out}", style="bold")
    if result.rejected:
        console.print(f"{result.rejected} left out, listed in {out / 'rejects.jsonl'}:", style="yellow")
        for reject in result.rejects:
            place = f"{reject.where.file}" + (f" row {reject.where.row}" if reject.where.row else "")
            console.print(plain(f"  {place}: {reject.reason}".encode(errors="replace").decode()))
        if result.rejected > len(result.rejects):
            console.print(f"  and {result.rejected - len(result.rejects)} more")
    if result.kept:
        console.print(after)
    return 0 if result.kept else 1
