"""`RUN/bench.json`: everything that a score depends on, written before the first question is asked.

A run goes on only under the settings it began with. What does not change answers (the address of the data, prices, the
version of the code, further modes) may change, and is kept, too.
"""

import json
import subprocess
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from foveal import __version__
from foveal.errors import ConfigError, RecordError
from foveal.files import write_whole
from foveal.policy.paid import Price
from foveal.trajectory import Record

FILE = "bench.json"

_BINDING = (
    "benchmark", "questions_sha256", "pictures_sha256", "n", "repeats", "seed", "temperature", "policy", "profile",
    "suffix", "thumbnails", "limits",
)  # fmt: skip
"""And every field of `tools`."""

_LATER = ("pictures_sha256", "tools.index", "tools.live", "tools.pages")
"""What was not always written down: an older run goes on without, and is bound from then on."""


class Code(Record):
    """The code that took part in a run, from a time on."""

    since: str
    """UTC time, ISO 8601."""
    foveal: str
    """Version of the package."""
    commit: str | None
    """Of the repository that it runs from, with `-dirty` behind if files were changed; None for an installed one."""


class Header(Record):
    """The head of a benchmark run."""

    version: Literal[1] = 1
    benchmark: str
    title: str
    data: str
    """Where the questions were read."""
    items: int
    """Questions there."""
    left_out: int
    """Rows there that could not become questions."""
    questions_sha256: str
    """Of ids, texts and accepted answers of the questions that are asked."""
    pictures_sha256: str | None = None
    """Of the files of their pictures; None in older runs."""
    n: int
    """Questions that are asked."""
    repeats: int
    seed: int
    temperature: float
    policy: str
    """Name of the model, or checkpoint folder."""
    profile: str
    """Protocol profile of the prompt with tools."""
    thumbnails: bool
    prompts: dict[str, str]
    """SHA-256 of the prompt of every mode."""
    suffix: str
    """Put behind every question."""
    tools: dict[str, JsonValue]
    """What is offered, and where is searched: `index` is a fingerprint of the index folder."""
    tools_why: str
    """Why these tools are on."""
    limits: dict[str, JsonValue]
    """Budgets of one trajectory; `max_image_pixels` is the image budget."""
    scorer: str
    """How answers are scored, in one sentence."""
    judge: str | None
    """Name of the model that judges where no rule can tell; None if there is none."""
    price: Price
    """What the endpoint takes."""
    modes: tuple[str, ...]
    """Folders of this run, the one that the score is of first."""
    code: tuple[Code, ...]
    """Every version that asked or scored, in order."""


def begin(folder: Path, header: Header, mended: bool = False) -> Header:
    """Write the header of a run, or make sure that the run in the folder began with the same settings.

    Args:
        folder: Of the run.
        header: As it would be now.
        mended: Whether pictures of the data may have changed, because some could not be read before.

    Returns:
        The header as it stands in the folder now.

    Raises:
        ConfigError: It began with other settings.
        RecordError: The header cannot be read.
        InputError: The folder cannot be written.
    """
    if (folder / FILE).exists():
        header = _joined(folder, read_header(folder), header, ("pictures_sha256",) if mended else ())
    write_whole(folder / FILE, header.model_dump_json(indent=2) + "\n")
    return header


def read_header(folder: Path) -> Header:
    """The header of a run.

    Raises:
        RecordError: There is none, or it cannot be read.
    """
    file = folder / FILE
    try:
        return Header.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise RecordError(f"{folder} holds no benchmark run: there is no {FILE}", "name a folder of --run") from None
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(
            f"{file} cannot be read: {where} {first['msg']}".replace("  ", " "),
            "read it with the foveal that wrote it, or with a newer one",
        ) from None


def differences(first: Header, second: Header) -> list[str]:
    """Names of the settings in which two runs differ, the judge and the prompts of common modes too.

    Pictures that an older run did not write down are left out: only its answers tell which they were.
    """
    ours, theirs = _binding(first), _binding(second)
    found = [name for name in dict.fromkeys((*ours, *theirs)) if ours.get(name) != theirs.get(name)]
    found += ["judge"] if first.judge != second.judge else []
    if first.pictures_sha256 is None or second.pictures_sha256 is None:
        found = [name for name in found if name != "pictures_sha256"]
    common = first.prompts.keys() & second.prompts.keys()
    return [*found, *(["prompts"] if any(first.prompts[mode] != second.prompts[mode] for mode in common) else [])]


def note_code(folder: Path) -> None:
    """Write down that the code of now took part in a run.

    Raises:
        RecordError: The header cannot be read.
        InputError: The folder cannot be written.
    """
    header = read_header(folder)
    header = header.model_copy(update={"code": _with(header.code, code_version())})
    write_whole(folder / FILE, header.model_dump_json(indent=2) + "\n")


def code_version() -> Code:
    """The code that runs now."""
    return Code(since=datetime.now(UTC).isoformat(timespec="seconds"), foveal=__version__, commit=_commit())


def _binding(header: Header) -> dict[str, JsonValue]:
    """The settings under which a run goes on, by name."""
    about = {name: getattr(header, name) for name in _BINDING}
    return {**about, **{f"tools.{name}": value for name, value in header.tools.items()}}


def _joined(folder: Path, old: Header, new: Header, free: Collection[str]) -> Header:
    before, now = _binding(old), _binding(new)
    was = {
        name: before.get(name)
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
        and name not in free
        and (before.get(name) is not None or name not in _LATER)
    }
    was |= {f"prompt {mode}": old.prompts[mode] for mode in old.prompts if old.prompts[mode] != new.prompts.get(mode)
            and mode in new.prompts}  # fmt: skip
    if old.judge is not None and new.judge != old.judge:
        was["judge"] = old.judge
    if was:
        said = ", ".join(f"{name} was {json.dumps(value, ensure_ascii=False)}" for name, value in was.items())
        raise ConfigError(
            f"{folder} was begun with other settings: {said}", "set it back, or name another folder: --run DIR"
        )
    modes = tuple(dict.fromkeys((*old.modes, *new.modes)))
    prompts = {**old.prompts, **new.prompts}
    return new.model_copy(update={"modes": modes, "prompts": prompts, "code": _with(old.code, new.code[-1])})


def _with(known: tuple[Code, ...], code: Code) -> tuple[Code, ...]:
    last = known[-1] if known else None
    same = last is not None and (last.foveal, last.commit) == (code.foveal, code.commit)
    return known if same else (*known, code)


def _commit() -> str | None:
    """The commit of the repository that holds this file; None if none does, or git is not installed."""
    here = Path(__file__)
    found = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return found and _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
