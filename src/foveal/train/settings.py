"""Settings of training commands. No torch here: `--help` and a wrong key cost nothing."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from foveal.config import Settings


class SftSettings(Settings):
    """Cold start: supervised training on saved trajectories. The defaults are those of the official 7B recipe."""

    model: Path
    """Checkpoint folder to start from."""
    data: tuple[Path, ...] = Field(min_length=1)
    """Run folders with the trajectories to learn; one folder may stand alone."""
    epochs: int = Field(3, ge=1)
    batch_size: int = Field(128, ge=1)
    """Sequences of one optimizer step, over all devices."""
    micro_batch: int = Field(1, ge=1)
    """Sequences of one forward pass on one device; gradients are accumulated up to `batch_size`."""
    learning_rate: float = Field(1e-5, gt=0)
    """Highest point of a cosine schedule."""
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of all steps in which the rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_length: int = Field(20480, ge=1)
    """Most tokens of a sequence, pictures included. Longer ones lose whole turns at their end, or are dropped."""
    max_pixels: int | None = Field(None, ge=28 * 28)
    """Largest view of a picture while training; None is the checkpoint's own. The saved checkpoint keeps its own."""
    freeze_vision: bool = True
    """Leave vision tower and projector as they are."""
    cache_vision: bool = False
    """Put every picture through the frozen tower once and keep its features in memory: for small sets."""
    lora_rank: int = Field(0, ge=0)
    """Train low-rank adapters of the language model, merged into the saved checkpoint; 0 trains all its weights."""
    lora_alpha: int = Field(32, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision with float32 weights (frozen weights under LoRA in bfloat16)."""
    gradient_checkpointing: bool = False
    """Less memory for about a third more time."""
    save_steps: int = Field(100, ge=1)
    """Optimizer steps between checkpoints."""
    keep_checkpoints: int = Field(2, ge=1)
    log_steps: int = Field(10, ge=1)
    workers: int = Field(0, ge=0)
    """Processes that open pictures; 0 opens them between steps."""
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @field_validator("data", mode="before")
    @classmethod
    def _one_folder(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.cache_vision and not self.freeze_vision:
            raise ValueError("cache_vision needs freeze_vision: features of a tower that learns change every step")
        if self.lora_rank and not self.freeze_vision:
            raise ValueError("lora_rank needs freeze_vision: adapters are of the language model only")
        return self
