"""`foveal ask`: one question about your pictures, every step shown and saved."""

import asyncio
import itertools
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

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
from foveal.cli.common import check_writable, write_json
from foveal.cli.steps import show_end, show_turn
from foveal.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from foveal.agent import Agent
    from foveal.tools.sandbox import LocalSandbox
    from foveal.trajectory import Trajectory


def ask(
    *words: str,
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
    temperature: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    seed: int = 0,
    run: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    unsafe_allow_unsandboxed: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Answer one question about your pictures and show every step.

    Args:
        words: Picture files, then the question.
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
        max_turn_tokens: Tokens of one turn; by default 8192, for the shipped model 160.
        max_context: Tokens of everything together, pictures included; by default 24576, for the shipped model 1024.
        max_image_pixels: Scale larger pictures down to this size; by default 12845056.
        temperature: 0 is greedy.
        seed: Of the sampling.
        run: Save into this run folder, after what it already holds; by default a new one, runs/ask-TIME.
        json_file: Write the trajectory to this file.
        unsafe_allow_unsandboxed: Run the model's code with all your rights if this machine offers no isolation.
    """
    from foveal.agent import Agent
    from foveal.config import Sampling
    from foveal.tools.sandbox import LocalSandbox

    asked = _read(words)
    check_writable(json_file)
    console = Console(highlight=False)
    sandbox = LocalSandbox(unsafe_allow_unsandboxed=unsafe_allow_unsandboxed)
    sampling = Sampling(temperature=temperature, seed=seed)
    folder = run or Path("runs") / f"ask-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
    prompting = Prompting(profile, system_prompt, user_suffix)
    with tempfile.TemporaryDirectory(prefix="foveal-") as scratch:
        with console.status("opening the model"):
            if policy is None:
                check_shipped_flags(model, search, prompting)
                check_shipped_question(asked.text, asked.pictures)
                setup = open_shipped(Path(scratch), sandbox)
            else:
                setup = open_named(policy, model, search, prompting, sandbox, console)
        limits = limited(
            setup.limits,
            max_turns=max_turns,
            max_turn_tokens=max_turn_tokens,
            max_context=max_context,
            max_image_pixels=max_image_pixels,
        )
        agent = Agent(setup.policy, setup.tools, setup.profile, limits, sampling)
        trajectory = asyncio.run(_answer(agent, sandbox, asked, folder, console))
    _report(trajectory, folder, json_file, console)
    return 0 if trajectory.answer is not None else 1


class _Asked(NamedTuple):
    text: str
    pictures: "tuple[Image.Image, ...]"


def _read(words: Sequence[str]) -> _Asked:
    """Take the question off the end and read the pictures before it."""
    from foveal.agent import load_picture

    usage = 'write: foveal ask PICTURE... "QUESTION"'
    if not words or not words[-1].strip() or Path(words[-1]).is_file():
        raise InputError("there is no question", usage)
    for name in words[:-1]:
        if not Path(name).is_file():
            raise InputError(f"there is no picture {name}", usage)
    return _Asked(words[-1], tuple(load_picture(name) for name in words[:-1]))


async def _answer(
    agent: "Agent", sandbox: "LocalSandbox", asked: _Asked, folder: Path, console: Console
) -> "Trajectory":
    """Run the agent, print its turns, save the trajectory."""
    from foveal.records import RunWriter
    from foveal.trajectory import Question, Turn

    numbers = itertools.count(1)

    def on_turn(turn: Turn) -> None:
        show_turn(next(numbers), turn, console)

    async with sandbox:
        await sandbox.probe()  # without isolation nothing is asked, rather than asked and then not run
        with RunWriter(folder, resume=True) as writer, console.status("working"):
            refs = tuple(writer.images.put(picture) for picture in asked.pictures)
            question = Question(id=uuid.uuid4().hex, text=asked.text, images=refs)
            trajectory = await agent.run(question, writer.images, on_turn)
            writer.write(trajectory)
    return trajectory


def _report(trajectory: "Trajectory", folder: Path, json_file: Path | None, console: Console) -> None:
    from foveal.records import read_run
    from foveal.view import render_run

    show_end(trajectory, console)
    if json_file is not None:
        write_json(json_file, trajectory.model_dump(mode="json"))
    render_run(folder)
    page = folder.resolve() / "pages" / f"{len(read_run(folder).trajectories)}.html"
    console.print(f"page: {page}", style="dim", soft_wrap=True, markup=False)
