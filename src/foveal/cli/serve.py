"""`foveal serve`: model and tools behind one OpenAI-compatible endpoint, for harnesses and any other client."""

import asyncio
import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.answering import DEFAULTS, AgentFlags, check_shipped_question, open_agent
from foveal.cli.common import is_endpoint, logs
from foveal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from foveal.serve.app import Served
    from foveal.serve.request import Asked
    from foveal.tools.sandbox import LocalSandbox

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    *,
    flags: Annotated[AgentFlags, Parameter(name="*")] = DEFAULTS,
    name: str | None = None,
    run: Path | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8100,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 8,
    api_key_env: str | None = None,
) -> int:
    """Answer OpenAI clients: the agent, its tools included, as if it were a model.

    A request may name another temperature, and fewer tokens of one turn. Clients should wait longer than
    --wall-seconds. Ctrl-C ends it, and what is under way.

    Args:
        flags: Who answers, and how.
        name: What clients call it; by default the model's name, or that of its folder.
        run: Save every trajectory into this run folder, after what it already holds.
        host: Address to listen at; by default only this machine is answered.
        port: Port to listen at; 0 takes a free one.
        concurrency: Requests answered at a time; further ones wait.
        api_key_env: Ask clients for the key in this environment variable.
    """
    from foveal.serve.app import Served
    from foveal.serve.server import listen
    from foveal.tools.sandbox import LocalSandbox

    key = _key(api_key_env)
    console = Console(highlight=False)
    sandbox = LocalSandbox(max_sessions=concurrency, unsafe_allow_unsandboxed=flags.unsafe_allow_unsandboxed)
    with listen(host, port) as listening, tempfile.TemporaryDirectory(prefix="foveal-") as scratch, logs():
        with console.status("opening the model"):
            setup = open_agent(flags, sandbox, Path(scratch), console, concurrency)
        is_folder = flags.policy is not None and not is_endpoint(flags.policy)
        called = name or (Path(setup.policy.name).resolve().name if is_folder else setup.policy.name)
        check = _check_shipped if flags.policy is None else lambda asked: None
        served = Served(called, *setup, flags.temperature, check)
        if host not in LOOPBACK and key is None:
            console.print(
                "everybody who can reach this address is answered: --api-key-env asks for a key", style="yellow"
            )
        asyncio.run(_serve(served, sandbox, listening, concurrency, run, key, console))
    return 0


def _key(variable: str | None) -> str | None:
    """The key that clients have to send."""
    if variable is None:
        return None
    if not os.environ.get(variable):
        raise ConfigError(f"the environment variable {variable} is not set", "export it, or correct --api-key-env")
    return os.environ[variable]


def _check_shipped(asked: "Asked") -> None:
    if asked.system:
        raise InputError("the shipped model comes with its own system prompt", "leave the system message out")
    check_shipped_question(asked.question, asked.pictures)


async def _serve(
    served: "Served",
    sandbox: "LocalSandbox",
    listening: socket.socket,
    concurrency: int,
    folder: Path | None,
    key: str | None,
    console: Console,
) -> None:
    from foveal.records import RunWriter, scan_run
    from foveal.serve.app import Saved, application
    from foveal.serve.server import serve, stopped_by_signals

    with contextlib.ExitStack() as closing:
        saved = None
        if folder is not None:
            writer = closing.enter_context(RunWriter(folder, resume=True))
            saved = Saved(writer, sum(1 for _ in scan_run(folder)))
        async with stopped_by_signals() as stopping, sandbox:
            tier = await sandbox.probe()  # without isolation nothing is asked, rather than asked and then not run
            host, port = listening.getsockname()[:2]
            address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
            offered = ", ".join(served.tools.offered)
            console.print(
                f"{served.name} at {address} with {offered} (isolation: {tier})", soft_wrap=True, markup=False
            )
            await serve(application(served, stopping, concurrency, saved, key), listening, stopping)
    if folder is not None:
        console.print(f"to see what was done: foveal view {folder}", soft_wrap=True, markup=False)
