"""Settings of the policy loss and of the monitors. No torch here: a wrong key costs nothing."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from foveal.config import Settings

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
