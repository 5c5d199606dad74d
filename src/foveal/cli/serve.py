"""`foveal serve`: model and tools behind one OpenAI-compatible endpoint, for harnesses and any other client."""

import asyncio
import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.answering import (
    Prompting,
    check_shipped_flags,
    check_shipped_question,
    limited,
    open_named,
    open_shipped,
)
from foveal.cli.common import is_endpoint, logs
from foveal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from foveal.serve.app import Served
    from foveal.serve.request import Asked
    from foveal.tools.sandbox import LocalSandbox

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    *,
    policy: str | None = None,
    model: str | None = None,
    search: str | None = None,
    profile: Literal["foveal", "deepeyes-v2"] = "foveal",
    system_prompt: Path | None = None,
    user_suffix: Path | None = None,
    max_turns: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    max_turn_tokens: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    max_context: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    max_image_pixels: Annotated[int | None, Parameter(validator=Number(gte=28 * 28))] = None,
    wall_seconds: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
    temperature: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    name: str | None = None,
    run: Path | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8100,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 8,
    api_key_env: str | None = None,
    unsafe_allow_unsandboxed: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Answer OpenAI clients: the agent, its tools included, as if it were a model.

    Ctrl-C ends it, and what is under way.

    Args:
        policy: The model: address of an OpenAI-compatible endpoint, or folder of a checkpoint. By default the small
            model that ships with foveal, which knows only its own world. The key of an endpoint is read from
            FOVEAL_API_KEY or OPENAI_API_KEY.
        model: Name of the model at the endpoint; not needed if it serves only one.
        search: Offers the model text and image search: an index folder made by foveal index build, a live provider
            (serper, serpapi, brave, tavily, exa, searxng; its key from the environment), or a TOML file of settings.
        profile: How the model is prompted: foveal, or deepeyes-v2 for the released checkpoints.
        system_prompt: Take the system prompt from this file.
        user_suffix: Put the text of this file behind the question.
        max_turns: Turns of the model, the answer included; by default 9, for the shipped model 8.
        max_turn_tokens: Tokens of one turn; by default 8192, for the shipped model 160. A request may ask for less.
        max_context: Tokens of everything together, pictures included; by default 24576, for the shipped model 1024.
        max_image_pixels: Scale larger pictures down to this size; by default 12845056.
        wall_seconds: Time of one answer; by default 900, for the shipped model 600. Clients should wait longer.
        temperature: Where a request names none; 0 is greedy.
        name: What clients call it; by default the model's name, or that of its folder.
        run: Save every trajectory into this run folder, after what it already holds.
        host: Address to listen at; by default only this machine is answered.
        port: Port to listen at; 0 takes a free one.
        concurrency: Requests answered at a time; further ones wait.
        api_key_env: Ask clients for the key in this environment variable.
        unsafe_allow_unsandboxed: Run the model's code with all your rights if this machine offers no isolation.
    """
    from foveal.serve.app import Served
    from foveal.serve.server import listen
    from foveal.tools.sandbox import LocalSandbox

    key = _key(api_key_env)
    console = Console(highlight=False)
    sandbox = LocalSandbox(max_sessions=concurrency, unsafe_allow_unsandboxed=unsafe_allow_unsandboxed)
    prompting = Prompting(profile, system_prompt, user_suffix)
    with listen(host, port) as listening, tempfile.TemporaryDirectory(prefix="foveal-") as scratch, logs():
        with console.status("opening the model"):
            if policy is None:
                check_shipped_flags(model, search, prompting)
                setup = open_shipped(Path(scratch), sandbox)
            else:
                setup = open_named(policy, model, search, prompting, sandbox, console)
        limits = limited(
            setup.limits,
            max_turns=max_turns,
            max_turn_tokens=max_turn_tokens,
            max_context=max_context,
            max_image_pixels=max_image_pixels,
            wall_seconds=wall_seconds,
        )
        is_folder = policy is not None and not is_endpoint(policy)
        called = name or (Path(setup.policy.name).resolve().name if is_folder else setup.policy.name)
        check = _check_shipped if policy is None else lambda asked: None
        served = Served(called, setup.policy, setup.tools, setup.profile, limits, temperature, check)
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
