"""`foveal ask`: one question about your pictures, every step shown and saved."""

import asyncio
import itertools
import re
import tempfile
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import check_writable, open_policy, open_searches, shipped_policy, write_json
from foveal.cli.steps import show_end, show_turn
from foveal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from PIL import Image

    from foveal.agent import Agent
    from foveal.config import Limits
    from foveal.policy.base import Policy
    from foveal.protocol import Profile
    from foveal.tools.sandbox import LocalSandbox
    from foveal.tools.session import Tools
    from foveal.trajectory import Trajectory

OTHER_POLICY = (
    "name a model that can: --policy http://127.0.0.1:8000/v1 (any OpenAI-compatible endpoint; its key in "
    "FOVEAL_API_KEY), or --policy FOLDER (a Qwen2-VL or Qwen2.5-VL checkpoint)"
)


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
    from foveal.config import Limits, Sampling
    from foveal.protocol import load_profile
    from foveal.tools.sandbox import LocalSandbox
    from foveal.tools.session import Tools

    asked = _read(words)
    check_writable(json_file)
    console = Console(highlight=False)
    sandbox = LocalSandbox(unsafe_allow_unsandboxed=unsafe_allow_unsandboxed)
    sampling = Sampling(temperature=temperature, seed=seed)
    folder = run or Path("runs") / f"ask-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
    with tempfile.TemporaryDirectory(prefix="foveal-") as scratch:
        with console.status("opening the model"):
            if policy is None:
                if (model, search, system_prompt, user_suffix, profile) != (None, None, None, None, "foveal"):
                    raise ConfigError("the shipped model comes with its own prompt and search index", OTHER_POLICY)
                setup = _shipped(asked, Path(scratch), sandbox)
            else:
                searches = open_searches(search)
                if searches.no_images is not None:
                    console.print(f"image search is not offered: {searches.no_images}", style="dim", soft_wrap=True)
                tools = Tools(code=sandbox, text=searches.text, image=searches.images, k=searches.k)
                prompted = load_profile(profile, system_prompt, user_suffix)
                setup = _Setup(open_policy(policy, model), tools, prompted, Limits())
        asked_for = {
            "max_turns": max_turns,
            "max_turn_tokens": max_turn_tokens,
            "max_context": max_context,
            "max_image_pixels": max_image_pixels,
        }
        given = {name: value for name, value in asked_for.items() if value is not None}
        limits = setup.limits.model_copy(update=given)
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


class _Setup(NamedTuple):
    policy: "Policy"
    tools: "Tools"
    profile: "Profile"
    limits: "Limits"


def _shipped(asked: _Asked, folder: Path, sandbox: "LocalSandbox") -> _Setup:
    """The shipped model in its world, if the question belongs there; the world's index is built in `folder`."""
    from foveal.micro import BEST, world
    from foveal.micro.facts import countries

    if not asked.pictures or not all(world.knows(picture) for picture in asked.pictures):
        raise InputError(
            "the small model that ships with foveal knows only its own world of drawn scenes, and this question is "
            "about something else: its answer would be a guess",
            OTHER_POLICY,
        )
    _check_question(asked.text)
    policy = shipped_policy(BEST)
    world.build(folder / "index", countries())
    tools = world.tools(folder / "index", sandbox)
    return _Setup(policy, tools, world.profile(tools=True), world.LIMITS)


def _check_question(text: str) -> None:
    from foveal.micro.questions import TEMPLATES
    from foveal.micro.scenes import COLOURS

    colour = f"(?:{'|'.join(COLOURS)})"
    wordings = [
        re.escape(template).replace(r"\{a\}", colour).replace(r"\{b\}", colour) for template in TEMPLATES.values()
    ]
    if not any(re.fullmatch(wording, text) for wording in wordings):
        examples = "; ".join(template.format(a="red", b="blue") for template in TEMPLATES.values())
        raise InputError(
            "the small model that ships with foveal has not learned this question: its answer would be a guess",
            f"ask one of these, about the boards of the scene: {examples}; or {OTHER_POLICY}",
        )


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
