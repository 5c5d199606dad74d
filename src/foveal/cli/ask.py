"""`foveal ask`: one question about your pictures, every step shown and saved."""

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import check_writable, open_policy, open_search, write_json
from foveal.cli.steps import show_end, show_turn
from foveal.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

    from foveal.agent import Agent
    from foveal.tools.sandbox import LocalSandbox
    from foveal.trajectory import Trajectory

OTHER_POLICY = (
    "name a model that can: --policy http://127.0.0.1:8000/v1 (any OpenAI-compatible endpoint; its key in "
    "FOVEAL_API_KEY), or --policy FOLDER (a Qwen2-VL or Qwen2.5-VL checkpoint)"
)


def ask(
    *words: str,
    policy: str | None = None,
    model: str | None = None,
    search: Path | None = None,
    profile: Literal["foveal", "deepeyes-v2"] = "foveal",
    system_prompt: Path | None = None,
    max_turns: Annotated[int, Parameter(validator=Number(gte=1))] = 9,
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
        search: An index folder made by foveal index build: offers the model text and image search.
        profile: How the model is prompted: foveal, or deepeyes-v2 for the released checkpoints.
        system_prompt: Take the system prompt from this file.
        max_turns: Turns of the model, the answer included.
        temperature: 0 is greedy.
        seed: Of the sampling.
        run: Save into this run folder, after what it already holds; by default a new one, runs/ask-TIME.
        json_file: Write the trajectory to this file.
        unsafe_allow_unsandboxed: Run the model's code with all your rights if this machine offers no isolation.
    """
    from foveal.agent import Agent
    from foveal.config import Limits, Sampling
    from foveal.protocol import load_profile
    from foveal.records import read_run
    from foveal.tools.sandbox import LocalSandbox
    from foveal.tools.session import Tools
    from foveal.view import render_run

    asked = _read(words)
    check_writable(json_file)
    prompted = load_profile(profile, system_prompt)
    indexes = open_search(search)
    console = Console(highlight=False)
    with console.status("opening the model"):
        chosen = open_policy(policy or _shipped(asked.pictures), model)
    sandbox = LocalSandbox(unsafe_allow_unsandboxed=unsafe_allow_unsandboxed)
    tools = Tools(code=sandbox, text=indexes.text, image=indexes.images)
    limits, sampling = Limits(max_turns=max_turns), Sampling(temperature=temperature, seed=seed)
    folder = run or Path("runs") / f"ask-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
    trajectory = asyncio.run(_answer(Agent(chosen, tools, prompted, limits, sampling), sandbox, asked, folder, console))
    show_end(trajectory, console)
    if json_file is not None:
        write_json(json_file, trajectory.model_dump(mode="json"))
    render_run(folder)
    page = folder.resolve() / "pages" / f"{len(read_run(folder).trajectories)}.html"
    console.print(f"page: {page}", style="dim", soft_wrap=True, markup=False)
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


def _shipped(pictures: "Sequence[Image.Image]") -> str:
    """The folder of the shipped model, if it can answer about these pictures."""
    from foveal.micro import checkpoint_folder
    from foveal.micro.world import knows

    if not pictures or not all(knows(picture) for picture in pictures):
        raise InputError(
            "the small model that ships with foveal knows only its own world of drawn scenes, and this question is "
            "about something else: its answer would be a guess",
            OTHER_POLICY,
        )
    return str(checkpoint_folder("sft"))


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
