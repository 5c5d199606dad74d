"""What `foveal ask` and `foveal serve` share: model, tools, prompt and limits, as their flags name them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

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


class Prompting(NamedTuple):
    """The flags that say how a model is prompted."""

    profile: str
    system_prompt: Path | None
    user_suffix: Path | None


class Setup(NamedTuple):
    """Who answers, and with what."""

    policy: "Policy"
    tools: "Tools"
    profile: "Profile"
    limits: "Limits"


def open_named(
    policy: str, model: str | None, search: str | None, prompting: Prompting, sandbox: "LocalSandbox", console: Console
) -> Setup:
    """The model that `--policy` names, with the tools of `--search`.

    Raises:
        InputError: There is no such folder or index, or the endpoint does not answer.
        ConfigError: The flags do not fit together.
        PolicyError: The folder holds no checkpoint that can be used.
    """
    from foveal.config import Limits
    from foveal.protocol import load_profile
    from foveal.tools.session import Tools

    searches = open_searches(search)
    if searches.no_images is not None:
        console.print(f"image search is not offered: {searches.no_images}", style="dim", soft_wrap=True)
    tools = Tools(code=sandbox, text=searches.text, image=searches.images, k=searches.k)
    profile = load_profile(*prompting)
    return Setup(open_policy(policy, model), tools, profile, Limits())


def check_shipped_flags(model: str | None, search: str | None, prompting: Prompting) -> None:
    """Refuse flags that the shipped model has no use for.

    Raises:
        ConfigError: One is given.
    """
    if (model, search, prompting) != (None, None, Prompting("foveal", None, None)):
        raise ConfigError("the shipped model comes with its own prompt and search index", OTHER_POLICY)


def open_shipped(folder: Path, sandbox: "LocalSandbox") -> Setup:
    """The shipped model in its world, whose index is built in `folder`."""
    from foveal.micro import BEST, world
    from foveal.micro.facts import countries

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


def limited(limits: "Limits", **given: float | None) -> "Limits":
    """The limits with those of the flags that were given."""
    return limits.model_copy(update={name: value for name, value in given.items() if value is not None})
