"""The micro world as an agent meets it: its tools, its prompts, its limits, and what belongs to it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.config import Limits
from foveal.micro import scenes
from foveal.micro.facts import Country
from foveal.micro.library import documents
from foveal.micro.questions import SYSTEM, WITH_TOOLS, WITHOUT_TOOLS
from foveal.protocol import FOVEAL, Profile
from foveal.tools.base import CodeSandbox
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.text import TextIndex
from foveal.tools.session import Tools

LIMITS = Limits(max_turns=8, max_turn_tokens=160, max_context=1024, wall_seconds=600, cell_seconds=10)
"""The time is ample, or figures would depend on what else the machine has to do."""
NUM_HITS = 3
FRAME_PIXELS = 1000
"""A board's frame has about 2,900 pixels of its exact colour; another board never hides it."""


def profile(tools: bool) -> Profile:
    """The `foveal` protocol with the micro world's short prompts, without thumbnails."""
    return replace(FOVEAL, thumbnails=False).with_prompt(SYSTEM, WITH_TOOLS if tools else WITHOUT_TOOLS)


def build(folder: Path, facts: Sequence[Country]) -> None:
    """Write the world's index: a page for every country with these facts, city pages, and flags of the second drawing.

    Raises:
        InputError: The folder holds an index already.
    """
    TextIndex.create(folder).add(documents(facts))
    names = {country.code: country.name for country in facts}
    flags = scenes.sprites("index")
    pictures = [Picture(f"Flag of {names[code]}", flags[code], f"flag/{code.lower()}") for code in sorted(names)]
    ImageIndex.create(folder).add(pictures)


def tools(folder: Path, code: CodeSandbox | None) -> Tools:
    """The world's tools over an index that `build` wrote."""
    return Tools(code=code, text=TextIndex.open(folder), image=ImageIndex.open(folder), k=NUM_HITS)


def knows(image: Image.Image) -> bool:
    """Whether a picture is a scene of this world: its size, and at least one frame in a board's exact colour.

    The micro model has seen nothing else, so its answer about any other picture would be a guess.
    """
    if image.size != (scenes.SIZE, scenes.SIZE):
        return False
    pixels = np.asarray(image.convert("RGB"))
    return any((pixels == colour).all(-1).sum() >= FRAME_PIXELS for colour in scenes.COLOURS.values())
