"""`foveal doctor`: what works on this machine, and how to mend what does not."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from foveal.cli.common import (
    api_key,
    check_writable,
    is_endpoint,
    missing_package,
    plain,
    served_models,
    write_json,
)
from foveal.errors import FovealError, InputError


class Check(NamedTuple):
    """One line of the report."""

    name: str
    found: str | None
    """What there is; None if it is missing or does not work."""
    problem: str = ""
    fix: str | None = None
    needed: bool = True
    """False: `foveal ask` works without it."""


def doctor(
    *,
    policy: str | None = None,
    model: str | None = None,
    search: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Check everything that `foveal ask` needs, and say how to fix what fails.

    Args:
        policy: Check this endpoint or checkpoint folder instead of the shipped model.
        model: Check that the endpoint serves this model.
        search: Check this index folder.
        json_file: Write what was found to this file: python, isolation, torch, transformers, gpu, search, checkpoint
            and endpoint, each a word or null; ok; and failed, the names of the needed ones that do not work.
    """
    check_writable(json_file)
    console = Console(highlight=False)
    remote = policy is not None and is_endpoint(policy)
    probes: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        ("python", True, _python),
        ("isolation", True, _isolation),
        ("torch", not remote, _torch),
        ("transformers", not remote, _transformers),
        ("gpu", False, _gpu),
        ("search", True, lambda: _search(search)),
        ("checkpoint", not remote, lambda: _checkpoint(None if remote else policy)),
        ("endpoint", remote, lambda: _endpoint(policy if remote else None, model)),
    )
    checks = []
    for name, needed, probe in probes:
        with console.status(f"checking {name}"):
            checks.append(_try(name, needed, probe))
        _show(checks[-1], console)
    failed = [check.name for check in checks if check.needed and check.found is None]
    verdict = Text(f"foveal ask cannot run here yet: {', '.join(failed)}", "bold red")
    console.print(verdict if failed else Text("foveal ask can run here", "bold green"))
    if json_file is not None:
        write_json(
            json_file, {**{check.name: check.found for check in checks}, "ok": not failed, "failed": list(failed)}
        )
    return 1 if failed else 0


def _try(name: str, needed: bool, probe: Callable[[], str]) -> Check:
    try:
        return Check(name, probe(), needed=needed)
    except FovealError as error:
        return Check(name, None, error.what, error.fix, needed)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        return Check(name, None, missing.what, missing.fix, needed)


def _show(check: Check, console: Console) -> None:
    if check.found is not None:
        mark, style, words = "ok", "green", check.found
    else:
        mark, style, words = ("fails", "bold red", check.problem) if check.needed else ("-", "dim", check.problem)
    console.print(Text.assemble((f"{mark:>5}  ", style), (f"{check.name:<13}", "bold"), plain(words)), soft_wrap=True)
    if check.found is None and check.fix:
        console.print(Text(f"{'':20}fix: {plain(check.fix)}", "" if check.needed else "dim"), soft_wrap=True)


def _python() -> str:
    return sys.version.split()[0]


def _isolation() -> str:
    import asyncio

    from foveal.tools.sandbox import LocalSandbox

    async def probe() -> str:
        async with LocalSandbox() as sandbox:
            return await sandbox.probe()

    return asyncio.run(probe())


def _torch() -> str:
    import torch

    return torch.__version__


def _transformers() -> str:
    import transformers

    return transformers.__version__


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise InputError("none: models run on the CPU, which is slow for more than a few million parameters")
    return f"{torch.cuda.device_count()} × {torch.cuda.get_device_name(0)}"


def _search(folder: Path | None) -> str:
    import sqlite3

    from foveal.tools.search.folder import open_index

    if folder is None:
        return f"SQLite {sqlite3.sqlite_version}"
    indexes = open_index(folder)
    documents = len(indexes.text) if indexes.text else 0
    pictures = len(indexes.images) if indexes.images else 0
    return f"{documents} documents and {pictures} pictures in {folder}"


def _checkpoint(folder: str | None) -> str:
    from foveal.micro import BEST, checkpoint_folder

    if folder is None:
        return f"the shipped model, {checkpoint_folder(BEST)}"
    if not (Path(folder) / "config.json").is_file():
        raise InputError(
            f"{folder} has no config.json: not a checkpoint folder", "--policy takes a URL or a checkpoint"
        )
    return folder


def _endpoint(url: str | None, model: str | None) -> str:
    if url is None:
        raise InputError("none was named", "--policy http://127.0.0.1:8000/v1 checks one")
    from foveal.policy.openai import without_login

    models, shown = served_models(url, api_key()), without_login(url)
    if model is not None and model not in models:
        raise InputError(f"{shown} does not serve {model}", f"choose one of: {', '.join(models[:8])}")
    return f"{shown} serves {', '.join(models[:8])}"
