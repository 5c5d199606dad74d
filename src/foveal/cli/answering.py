"""What `foveal ask` and `foveal serve` share: model, tools, prompt and limits, as their flags name them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import open_policy, open_searches, shipped_policy
from foveal.errors import ConfigError, InputError

if TYPE_CHECKING:
    from PIL import Image

    from foveal.config import Limits
    from foveal.policy.base import Policy
    from foveal.protocol import Profile
    from foveal.tools.sandbox import LocalSandbox
    from foveal.tools.session import Tools

OTHER_POLICY = (
    "name a model that can: --policy http://127.0.0.1:8000/v1 (any OpenAI-compatible endpoint; its key in "
    "FOVEAL_API_KEY), or --policy FOLDER (a Qwen2-VL or Qwen2.5-VL checkpoint)"
)


@dataclass(frozen=True)
class AgentFlags:
    """Who answers, and how."""

    policy: str | None = None
    """The model: address of an OpenAI-compatible endpoint, or folder of a checkpoint. By default the small model that
    ships with foveal, which knows only its own world. The key of an endpoint is read from FOVEAL_API_KEY or
    OPENAI_API_KEY."""
    model: str | None = None
    """Name of the model at the endpoint; not needed if it serves only one."""
    search: str | None = None
    """Offers the model text and image search: an index folder made by foveal index build, a live provider (serper,
    serpapi, brave, tavily, exa, searxng; its key from the environment), or a TOML file of settings."""
    dense: Path | None = None
    """Search the documents of the index by meaning too, with the model of this folder (foveal index embed)."""
    tower: Path | None = None
    """Search its pictures by the vision tower of this checkpoint folder instead (foveal index embed-images)."""
    visit: Annotated[bool, Parameter(negative="")] = False
    """Offers the model to read pages of the web."""
    profile: Literal["foveal", "deepeyes-v2"] = "foveal"
    """How the model is prompted: foveal, or deepeyes-v2 for the released checkpoints."""
    system_prompt: Path | None = None
    """Take the system prompt from this file."""
    user_suffix: Path | None = None
    """Put the text of this file behind the question."""
    max_turns: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Turns of the model, the answer included; by default 9, for the shipped model 8."""
    max_turn_tokens: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Tokens of one turn; by default 8192, for the shipped model 160."""
    max_context: Annotated[int | None, Parameter(validator=Number(gte=1))] = None
    """Tokens of everything together, pictures included; by default 24576, for the shipped model 1024."""
    max_image_pixels: Annotated[int | None, Parameter(validator=Number(gte=28 * 28))] = None
    """Scale larger pictures down to this size; by default 12845056."""
    wall_seconds: Annotated[float | None, Parameter(validator=Number(gt=0))] = None
    """Time of one answer; by default 900, for the shipped model 600."""
    temperature: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0
    """0 is greedy."""
    unsafe_allow_unsandboxed: Annotated[bool, Parameter(negative="")] = False
    """Run the model's code with all your rights if this machine offers no isolation."""


DEFAULTS = AgentFlags()


class Setup(NamedTuple):
    """Who answers, and with what."""

    policy: "Policy"
    tools: "Tools"
    profile: "Profile"
    limits: "Limits"


def open_agent(
    flags: AgentFlags, sandbox: "LocalSandbox", folder: Path, console: Console, concurrency: int = 1
) -> Setup:
    """The model that the flags name, or the shipped one, with its tools.

    Args:
        flags: All of them.
        sandbox: Where code runs.
        folder: An empty folder, kept as long as the setup is used.
        console: Told what is not offered.
        concurrency: Questions that are answered at once.

    Raises:
        InputError: There is no such folder or index, or the endpoint does not answer.
        ConfigError: The flags do not fit together.
        MissingDependency: What one of them needs is not installed.
        PolicyError: The folder holds no checkpoint that can be used.
    """
    if flags.policy is None:
        setup = _shipped(flags, folder, sandbox)
    else:
        setup = _named(flags.policy, flags, sandbox, console, concurrency)
    names = ("max_turns", "max_turn_tokens", "max_context", "max_image_pixels", "wall_seconds")
    given = {name: value for name in names if (value := getattr(flags, name)) is not None}
    return setup._replace(limits=setup.limits.model_copy(update=given))


def _named(policy: str, flags: AgentFlags, sandbox: "LocalSandbox", console: Console, concurrency: int) -> Setup:
    from foveal.config import Limits
    from foveal.protocol import load_profile
    from foveal.tools.search.settings import VisitSettings
    from foveal.tools.search.visit import open_visitor
    from foveal.tools.session import Tools

    searches = open_searches(flags.search, flags.dense, flags.tower)
    if searches.no_images is not None:
        console.print(f"image search is not offered: {searches.no_images}", style="dim", soft_wrap=True)
    visitor = open_visitor(VisitSettings()) if flags.visit else None
    tools = Tools(code=sandbox, text=searches.text, image=searches.images, k=searches.k, visitor=visitor)
    profile = load_profile(flags.profile, flags.system_prompt, flags.user_suffix)
    return Setup(open_policy(policy, flags.model, concurrency), tools, profile, Limits())


def _shipped(flags: AgentFlags, folder: Path, sandbox: "LocalSandbox") -> Setup:
    from foveal.micro import BEST, world
    from foveal.micro.facts import countries

    names = ("model", "search", "dense", "tower", "visit", "profile", "system_prompt", "user_suffix")
    if any(getattr(flags, name) != getattr(DEFAULTS, name) for name in names):
        raise ConfigError("the shipped model comes with its own prompt and search index", OTHER_POLICY)
    policy = shipped_policy(BEST)
    world.build(folder / "index", countries())
    tools = world.tools(folder / "index", sandbox)
    return Setup(policy, tools, world.profile(tools=True), world.LIMITS)


def check_shipped_question(text: str, pictures: "Sequence[Image.Image]") -> None:
    """Refuse a question that the shipped model could only guess at.

    Raises:
        InputError: It does not belong to its world.
    """
    from foveal.micro import world
    from foveal.micro.questions import TEMPLATES
    from foveal.micro.scenes import COLOURS

    if not pictures or not all(world.knows(picture) for picture in pictures):
        raise InputError(
            "the small model that ships with foveal knows only its own world of drawn scenes, and this question is "
            "about something else: its answer would be a guess",
            OTHER_POLICY,
        )
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
