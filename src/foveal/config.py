"""Typed settings of every command: frozen, unknown keys refused, no torch.

Precedence: defaults < TOML file < flags.
"""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sampling(Settings):
    """How a policy draws tokens."""

    temperature: float = Field(0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = 0


class Limits(Settings):
    """Budgets of one trajectory (paper: `run_qwen2_5_vl-7b_final_allin.sh`)."""

    max_turns: int = Field(9, ge=1)
    """Model turns, the answer included."""
    max_turn_tokens: int = Field(8192, ge=1)
    """Tokens that the model may write in one turn."""
    max_context: int = Field(24576, ge=1)
    """Tokens of the whole sequence: prompt, turns and observations, pictures included."""
    wall_seconds: float = Field(900.0, gt=0)
    """Wall time of the whole trajectory."""
    cell_seconds: float = Field(60.0, gt=0)
    """Time limit of one code cell."""
    max_repeated_errors: int = Field(3, ge=1)
    """Same error this many times in a row ends the trajectory."""
    max_image_pixels: int = Field(16384 * 28 * 28, ge=28 * 28)
    """Larger input pictures are scaled down once, for the model and the sandbox alike."""
