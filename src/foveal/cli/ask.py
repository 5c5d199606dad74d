"""`foveal ask`: one question about your pictures, every step shown and saved."""

import asyncio
import itertools
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.answering import DEFAULTS, AgentFlags, check_shipped_question, open_agent
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
    flags: Annotated[AgentFlags, Parameter(name="*")] = DEFAULTS,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    run: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Answer one question about your pictures and show every step.

    Args:
        words: Picture files, then the question.
        flags: Who answers, and how.
        seed: Of the sampling.
        run: Save into this run folder, after what it already holds; by default a new one, runs/ask-TIME.
        json_file: Write the trajectory to this file.
    """
    from foveal.agent import Agent
    from foveal.config import Sampling
    from foveal.tools.sandbox import LocalSandbox

    asked = _read(words)
    check_writable(json_file)
    console = Console(highlight=False)
    if flags.policy is None:
        check_shipped_question(asked.text, asked.pictures)
    sandbox = LocalSandbox(unsafe_allow_unsandboxed=flags.unsafe_allow_unsandboxed)
    folder = run or Path("runs") / f"ask-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
    with tempfile.TemporaryDirectory(prefix="foveal-") as scratch:
        with console.status("opening the model"):
            setup = open_agent(flags, sandbox, Path(scratch), console)
        agent = Agent(*setup, Sampling(temperature=flags.temperature, seed=seed))
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
