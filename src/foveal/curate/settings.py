"""Settings of curation: one file for the whole pipeline, a table for each step. No heavy import here."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from foveal.config import Address, Limits, Settings
from foveal.curate.leaks import CheckSettings
from foveal.curate.pictures import PictureLimits
from foveal.curate.sources import SourceSettings
from foveal.policy.paid import Ceiling, Price
from foveal.protocol import ProfileName
from foveal.reward.settings import RewardSettings
from foveal.tools.settings import ToolSettings

Filter = Literal["check", "difficulty", "benefit", "window", "verify"]
"""Steps that can be left out; each then lets everything pass."""
Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole."""


class AskedSettings(Settings):
    """A model that is asked: a student or a teacher."""

    policy: Address
    """URL of an OpenAI-compatible endpoint, or a checkpoint folder."""
    model: str | None = None
    """Name of the model at the endpoint; not needed where it serves one."""
    key: str | None = None
    """Environment variable that holds the key of the endpoint; by default FOVEAL_API_KEY or OPENAI_API_KEY."""
    temperature: float = Field(1.0, ge=0)
    concurrency: int = Field(16, ge=1)
    """Trajectories under way at once, and turns that a checkpoint writes together: fewer need less memory."""
    timeout: float = Field(300.0, gt=0)
    """Seconds to wait for one reply of an endpoint."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Of an endpoint; None holds none back."""
    price: Price = Price()
    """What the endpoint takes."""


class TeacherSettings(AskedSettings):
    """A model that writes trajectories for the cold start."""

    name: str = Field(pattern=r"^\w[\w.-]*$")
    """Of its folder, and in every figure."""


class PromptSettings(Settings):
    """How questions are put."""

    profile: ProfileName = "foveal"
    system_prompt: Path | None = None
    """File of the system prompt, in place of the profile's own."""
    user_suffix: Path | None = None
    """File of the text behind every question."""
    thumbnails: bool = True
    """Show the pictures of image search hits."""


class DifficultySettings(Settings):
    """Questions that the student answers without tools are too easy (paper: 8 samples, at most 2 right)."""

    samples: int = Field(8, ge=1)
    most_right: int = Field(2, ge=0)
    """A question stays if at most this many samples are right; fewer than there are, or nothing would be too easy."""
    prompt: PromptSettings | None = None
    """For the question without tools; by default as with tools."""

    @model_validator(mode="after")
    def _something_is_too_easy(self) -> Self:
        if self.most_right >= self.samples:
            raise ValueError(
                f"most_right is {self.most_right} of {self.samples} samples, so that no question can be too easy: "
                "lower most_right, or raise samples"
            )
        return self


class BenefitSettings(Settings):
    """What the student solves with tools goes to reinforcement learning, the rest to the cold start.

    The paper takes 8 samples and names no threshold.
    """

    samples: int = Field(8, ge=1)
    least_right: int = Field(1, ge=1)
    """A question counts as solved if at least this many samples are right; no more than there are."""

    @model_validator(mode="after")
    def _something_is_solved(self) -> Self:
        if self.least_right > self.samples:
            raise ValueError(
                f"least_right is {self.least_right} of {self.samples} samples, so that no question can be solved: "
                "lower least_right, or raise samples"
            )
        return self


class WindowSettings(Settings):
    """Questions of reinforcement learning: neither hopeless nor certain for the model that it starts from."""

    lowest: float = Field(1 / 8, ge=0, le=1)
    highest: float = Field(7 / 8, ge=0, le=1)
    """Share of right samples with tools, both ends included."""
    samples: int = Field(8, ge=1)
    student: AskedSettings | None = None
    """The model that reinforcement learning starts from, if it is another one than that of `benefit`: the cold start.
    It is then asked all questions that the cold start did not learn; else the samples of `benefit` count."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError("lowest is above highest")
        return self


class SynthesisSettings(Settings):
    """Trajectories of the teachers on questions that the student did not solve."""

    samples: int = Field(1, ge=1)
    """Most tries of each teacher at a question: it goes on until one is kept. Later ones do not count."""
    most_questions: int | None = Field(None, ge=1)
    """Questions that are asked at all, by lot; None for all."""
    ceiling: Ceiling = Ceiling()
    """What all teachers together may spend."""


class VerifySettings(Settings):
    """What a trajectory must be to be learned from. The right answer, and code without errors, always (paper)."""

    placeholders: bool = False
    """Allow code that does nothing."""
    unused_results: bool = False
    """Allow a tool result that no later turn refers to."""
    repeated_calls: bool = False
    """Allow a call that an earlier turn has made already."""
    needs_call: bool = True
    """Refuse trajectories without any tool call."""
    most_tokens: int | None = Field(None, ge=1)
    """Words of the model, in tokens where they were counted, else in characters / 4."""
    per_question: int = Field(1, ge=1)
    """Trajectories of one question that are kept, of all teachers; the teachers take turns."""


class LongCotSettings(Settings):
    """Reasoning without pictures and tools, mixed into the cold start."""

    sources: tuple[SourceSettings, ...] = ()
    """Rows with question, answer and a solution (`reasoning`)."""
    share: float = Field(0.0, ge=0, lt=1)
    """Of the cold-start set. (Paper, figure 9: 0.816.)"""


class BalanceSettings(Settings):
    """Shares of the sets by a property of the question."""

    by: Literal["family", "domain", "source"] = "family"
    """Questions without it are `other`."""
    sft: dict[str, Share] = Field(default_factory=dict)
    """Most of the questions of the cold-start set by value; what is not named is not held back."""
    rl: dict[str, Share] = Field(default_factory=dict)
    """The same for the set of reinforcement learning."""


class SplitSettings(Settings):
    """How the sets are cut."""

    held_out: float = Field(0.0, ge=0, lt=1)
    """Share of the questions that goes into `held_out` instead of the set; all rows of a picture go together."""
    most_sft: int | None = Field(None, ge=1)
    """Trajectories in the cold-start set at most, those of `long_cot` and held-out ones among them; drawn by lot."""
    most_rl: int | None = Field(None, ge=1)
    """Questions in the set of reinforcement learning at most, drawn by lot."""


class CurateSettings(Settings):
    """All of curation."""

    sources: tuple[SourceSettings, ...] = ()
    pictures: PictureLimits = PictureLimits()
    """What pictures may be taken in."""
    benchmarks: tuple[Path, ...] = ()
    """Question sets that nothing may leak from."""
    skip: tuple[Filter, ...] = ()
    """Steps that are left out and let everything pass."""
    student: AskedSettings | None = None
    teachers: tuple[TeacherSettings, ...] = ()
    prompt: PromptSettings = PromptSettings()
    tools: ToolSettings = ToolSettings()
    limits: Limits = Limits()
    reward: RewardSettings = RewardSettings()
    """Only its accuracy counts."""
    check: CheckSettings = CheckSettings()
    difficulty: DifficultySettings = DifficultySettings()
    benefit: BenefitSettings = BenefitSettings()
    window: WindowSettings = WindowSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    verify: VerifySettings = VerifySettings()
    long_cot: LongCotSettings = LongCotSettings()
    balance: BalanceSettings = BalanceSettings()
    split: SplitSettings = SplitSettings()
    seed: int = Field(0, ge=0)
    """Of everything that is sampled or drawn by lot."""

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        names = [teacher.name for teacher in self.teachers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two teachers have the name {twice!r}")
        if "long-cot" in names:
            raise ValueError("'long-cot' is no name for a teacher: the rows of long_cot have it")
        return self
