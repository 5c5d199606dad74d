"""Settings of reinforcement learning: loop, policy loss, monitors. No torch here: a wrong key costs nothing."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from foveal.config import COLDEST, Limits, Settings
from foveal.protocol import ProfileName
from foveal.reward.settings import RewardSettings
from foveal.tools.settings import ToolSettings

PRESETS: dict[str, dict[str, Any]] = {
    "dapo": {},
    "grpo": {"clip_high": 0.20, "dual_clip": 0.0, "mean": "sequence"},
}
"""What a preset changes about the defaults, which are those of DAPO."""


class LossSettings(Settings):
    """The policy loss. The defaults are DAPO (arXiv 2503.14476) with the clip range of DeepEyesV2."""

    preset: Literal["dapo", "grpo"] = "dapo"
    """`grpo`: symmetric clip 0.2, no dual clip, mean of the sequences' means. Fields that are set stay as they are."""
    clip_low: float = Field(0.20, gt=0, lt=1)
    """The ratio of new to old probability gains nothing below 1 - `clip_low`."""
    clip_high: float = Field(0.30, gt=0)
    """The ratio gains nothing above 1 + `clip_high`. Higher than `clip_low`: rare tokens may become likely."""
    dual_clip: float = Field(3.0, ge=0)
    """Where the advantage is negative the ratio counts at most this much (arXiv 1912.09729); 0 is off."""
    mean: Literal["token", "sequence"] = "token"
    """`token`: every trained token of the global batch weighs the same. `sequence`: every sequence does."""
    kl: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the reference model, by the k3 estimator."""
    importance: Literal["off", "token", "sequence-mask"] = "off"
    """Correction where sampler and trainer differ. `token`: each token weighs its ratio of trainer to sampler, at most
    `importance_cap`. `sequence-mask`: each sequence weighs the product of its ratios, or nothing above the cap."""
    importance_cap: float = Field(2.0, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _preset_first(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        return {**PRESETS[preset], **values} if isinstance(preset, str) and preset in PRESETS else values

    @model_validator(mode="after")
    def _dual_clip_outside_the_range(self) -> Self:
        if 0 < self.dual_clip <= 1 + self.clip_high:
            raise ValueError(f"dual_clip must be 0 (off) or above 1 + clip_high = {1 + self.clip_high:g}")
        return self


AlarmName = Literal[
    "tool_abandonment",
    "placeholder_code",
    "repeated_calls",
    "crashing_code",
    "runaway_length",
    "cut_short",
    "entropy_collapse",
    "sampler_gap",
]
"""Failure signatures of a training run (`foveal.train.monitors`)."""


class MonitorSettings(Settings):
    """When a failure signature becomes an alarm. Shares are of 1; the start is the mean of the first `window` steps."""

    window: int = Field(5, ge=1)
    """Steps over which a metric is averaged before it is judged."""
    patience: int = Field(2, ge=1)
    """Steps in a row for which the average must be out of bounds."""
    call_rate_share: float = Field(0.5, ge=0, le=1)
    """tool_abandonment: share of trajectories with a call, below this share of the start."""
    call_rate_floor: float = Field(0.05, ge=0, le=1)
    """tool_abandonment: share of trajectories with a call, whatever it was at the start."""
    placeholder: float = Field(0.3, ge=0, le=1)
    """placeholder_code: share of code cells without effect."""
    repeated: float = Field(0.3, ge=0, le=1)
    """repeated_calls: share of calls that an earlier turn of the trajectory has made already."""
    crashing: float = Field(0.5, ge=0, le=1)
    """crashing_code: share of code cells that raised, timed out or died."""
    length_factor: float = Field(2.0, gt=1)
    """runaway_length: tokens that the model writes, over those of the start."""
    cut: float = Field(0.3, ge=0, le=1)
    """cut_short: share of trajectories that a limit ended."""
    entropy_share: float = Field(0.2, ge=0, le=1)
    """entropy_collapse: entropy of the trained tokens, below this share of the start."""
    gap: float = Field(0.05, gt=0)
    """sampler_gap: mean difference of the log-probs of sampler and trainer, in nats."""


class RlSettings(Settings):
    """Reinforcement learning on questions with known answers. The defaults are those of the paper where it has any."""

    model: Path
    """Checkpoint folder to start from."""
    questions: tuple[Path, ...] = Field(min_length=1)
    """Question sets, JSONL (`foveal.curate.questions`); one file may stand alone."""

    profile: ProfileName = "foveal"
    system_prompt: Path | None = None
    """File of the system prompt, in place of the profile's own."""
    user_suffix: Path | None = None
    """File of the text behind every question."""
    thumbnails: bool = True
    """Show the pictures of image search hits."""
    tools: ToolSettings = ToolSettings()
    limits: Limits = Limits()
    reward: RewardSettings = RewardSettings()

    steps: int = Field(60, ge=1)
    """Steps of the run: sample, score, learn."""
    prompts: int = Field(256, ge=1)
    """Groups that a step is to learn from, over all processes."""
    rollouts: int = Field(16, ge=2)
    """Trajectories of a group."""
    temperature: float = Field(1.0, ge=COLDEST)
    """Of the sampling, and of the log-probs that are trained. Nothing is cut off (top-p 1)."""
    dynamic_sampling: bool = True
    """Draw another question for each group that has nothing to compare; such groups are not trained on."""
    sampling_budget: int = Field(3, ge=1)
    """With dynamic sampling: groups drawn in a step, at most this many times `prompts`."""
    informative_by: Literal["accuracy", "reward"] = "accuracy"
    """What has to differ within a group that is trained on: right and wrong answers (DAPO), or any rewards."""
    mask_cut: bool = True
    """No loss on trajectories that a limit ended (overlong masking); their rewards still count in their group."""
    mask_malformed: bool = False
    """No loss on trajectories that broke the format; their rewards still count in their group."""

    updates: int = Field(1, ge=1)
    """Optimizer steps on the trajectories of a step, each on its own share of the groups."""
    learning_rate: float = Field(1e-6, gt=0)
    warmup_updates: int = Field(0, ge=0)
    """Optimizer steps in which the rate rises to its constant value."""
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    loss: LossSettings = LossSettings()
    freeze_vision: bool = True
    """Leave vision tower and projector as they are; every picture then goes through them once a step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision with float32 weights, and rollouts by a copy in bfloat16."""
    gradient_checkpointing: bool = False
    """Less memory for about a third more time."""
    micro_tokens: int = Field(16384, ge=1)
    """Tokens of one forward pass of training, padding included; a longer sequence goes alone."""
    concurrency: int = Field(64, ge=1)
    """Trajectories under way at once, in each process."""
    max_batch: int = Field(32, ge=1)
    """Turns written at once, and conversations whose keys and values are kept, in each process."""

    monitors: MonitorSettings = MonitorSettings()
    stop_on: tuple[AlarmName, ...] = ()
    """Alarms that end the run, with a checkpoint."""
    save_steps: int = Field(10, ge=1)
    """Steps between checkpoints; the last two are kept."""
    saved_groups: int = Field(4, ge=0)
    """Groups of every step whose trajectories are kept, as a run folder."""
    save_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights of the result."""
    seed: int = Field(0, ge=0)
    """Of the order of the questions and of everything that is sampled."""
    tracker: Literal["trackio", "wandb"] | None = None
    """Gets every line of metrics, too; the package has to be installed."""

    @field_validator("questions", "stop_on", mode="before")
    @classmethod
    def _one_stands_alone(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.updates > self.prompts:
            raise ValueError(f"updates = {self.updates} shares cannot be made of prompts = {self.prompts} groups")
        if self.profile == "deepeyes-v2" and self.system_prompt is None:
            raise ValueError("profile deepeyes-v2 needs system_prompt: the official text belongs to its authors")
        return self
