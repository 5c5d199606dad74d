"""Settings of rewards: weights by part, rules, the judge. A preset fills in the weights that are not given."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from foveal.config import Address, Settings

Rule = Literal["exact", "choice", "number", "symbolic"]
Preset = Literal["paper", "official", "deepeyes"]


class Weights(Settings):
    """total = sum of weight * part. A part of weight 0 is neither computed nor logged; accuracy always is."""

    accuracy: float = Field(1.0, ge=0)
    """1 if the answer is right, else 0."""
    format: float = Field(1.0, ge=0)
    """1 if the model's own turns are well-formed, else 0."""
    tool_bonus: float = Field(0.0, ge=0)
    """1 if the answer is right and a tool was used, else 0 (DeepEyes)."""
    search_penalty: float = Field(0.0, ge=0)
    """-1 if the answer is right and something was searched for, else 0 (official code, MMSearch-R1)."""
    execution: float = Field(0.0, ge=0)
    """Share of code cells that ran without an error, 0 without cells (ARTIST)."""
    overlong: float = Field(0.0, ge=0)
    """From 0 down to -1 as the response nears its token limit (DAPO)."""


PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "paper": {"weights": {"accuracy": 1.0, "format": 1.0}},
    "official": {
        "weights": {"accuracy": 0.8, "format": 0.2, "search_penalty": 0.08},
        "search_penalty_families": ("search",),
    },
    "deepeyes": {"weights": {"accuracy": 0.8, "format": 0.2, "tool_bonus": 1.2}},
}
"""paper: R_acc + R_format, weights not given there. official: the released code of DeepEyesV2, where questions of the
search set get 0.8 * acc * (1 - 0.1 * [searched]) + 0.2 * format. deepeyes: the released code of DeepEyes (v1)."""


class JudgeSettings(Settings):
    """A model that compares answers, behind an OpenAI-compatible endpoint."""

    url: Address
    """As in http://127.0.0.1:8000/v1."""
    model: str
    timeout: float = Field(60.0, gt=0)
    """Seconds for one reply."""
    max_retries: int = Field(3, ge=0)
    """Further tries after a failure that may pass."""
    max_tokens: int = Field(2048, ge=1)
    """Of one reply, its thinking included."""
    cache: Path | None = None
    """SQLite file that keeps verdicts; by default `verdicts.sqlite` in the folder of the run."""


class OverlongSettings(Settings):
    """Where the soft overlong punishment begins and ends. The defaults are those of DAPO."""

    max_tokens: int = Field(20480, ge=1)
    """L_max: a longer response gets -1."""
    cache_tokens: int = Field(4096, ge=1)
    """L_cache: the punishment begins this many tokens before L_max."""

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if self.cache_tokens > self.max_tokens:
            raise ValueError("cache_tokens is larger than max_tokens")
        return self


class RewardSettings(Settings):
    """How a trajectory is scored."""

    preset: Preset = "paper"
    weights: Weights = Weights()
    rules: tuple[Rule, ...] = ("exact", "choice", "number")
    """In this order; the first that can tell decides. `symbolic` needs the extra `math`."""
    relative_tolerance: float = Field(0.0, ge=0, lt=1)
    """Of numbers, relative to the gold answer."""
    absolute_tolerance: float = Field(0.0, ge=0)
    max_answer_chars: int = Field(300, ge=1)
    """An answer of this many characters or more is wrong and ill-formed."""
    search_penalty_families: tuple[str, ...] = ()
    """Families of questions that the search penalty is for; empty for all."""
    overlong: OverlongSettings = OverlongSettings()
    judge: JudgeSettings | None = None
    """Asked where no rule can tell. Without one, such an answer is wrong."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name, weights = values.get("preset", "paper"), values.get("weights", {})
        if isinstance(weights, Weights):
            weights = weights.model_dump(exclude_unset=True)
        if name not in get_args(Preset) or not isinstance(weights, dict):
            return values  # the fields themselves say what is wrong
        preset = PRESETS[name]
        return {**preset, **values, "weights": {**preset["weights"], **weights}}
