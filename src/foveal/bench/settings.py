"""Settings of `foveal bench`: who is asked, what, with which tools, and which checks stand beside. No heavy import."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from foveal.config import Limits
from foveal.curate.settings import AskedSettings, PromptSettings
from foveal.policy.paid import Ceiling
from foveal.reward.settings import JudgeSettings
from foveal.tools.settings import ToolSettings

Mode = Literal["with-tools", "without-tools", "blind", "blank"]
"""One way in which all questions are asked; names the folder of its answers.

`blind`: the pictures are withheld. `blank`: what tools give back says nothing (`foveal.bench.blank`)."""

ToolName = Literal["code", "search", "image_search"]


class BenchToolSettings(ToolSettings):
    """The tools of a benchmark. The other fields say where is searched, and how."""

    offer: tuple[ToolName, ...] | None = None
    """Which are on; None for those of the benchmark's own policy, none at all for a model without tools."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.code:
            raise ValueError("which tools are on is said by offer alone: leave out code")
        return self


class BenchSettings(AskedSettings):
    """A benchmark run. The fields of `AskedSettings` say who is asked."""

    data: Path | None = None
    """File or folder of the benchmark as published; None fetches it from the Hugging Face hub."""
    temperature: float = Field(0.0, ge=0)
    """0 is greedy, and then repeats only show how much the endpoint itself varies."""
    n: int | None = Field(None, ge=1)
    """Questions that are asked, drawn by lot; None for all. A smaller draw is part of a larger one."""
    repeats: int = Field(1, ge=1)
    """Times that each question is asked, each with a seed of its own."""
    seed: int = 0
    """Of the lot and of the sampling."""
    tools: BenchToolSettings = BenchToolSettings()
    prompt: PromptSettings = PromptSettings()
    no_tools_prompt: PromptSettings | None = None
    """For the questions without tools; by default `prompt`, but never its `system_prompt`, which speaks of tools: in
    its place stands that of the profile `foveal`."""
    limits: Limits = Limits()
    """Budgets of one trajectory; `max_image_pixels` is the benchmark's own unless it is given."""
    judge: JudgeSettings | None = None
    """Asked where no rule can tell, if the benchmark has a judge."""
    ceiling: Ceiling = Ceiling()
    """What the endpoint may be paid in all."""
    no_tools: bool = True
    """Ask the same weights without tools, too: no score says much without that."""
    blind: bool = False
    """Ask without the pictures, too: what can be guessed?"""
    blank_observations: bool = False
    """Ask with tools that give back nothing, too: is what they give back used at all?"""
