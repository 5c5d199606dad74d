"""Settings of the tools that trajectories are offered."""

from pathlib import Path

from pydantic import Field

from foveal.config import Settings


class ToolSettings(Settings):
    """The tools that trajectories are offered."""

    code: bool = True
    """Python code in the sandbox."""
    search: Path | None = None
    """An index folder (`foveal index build`): offers the text and image search that it holds."""
    hits: int = Field(5, ge=1)
    """Hits of one search."""
    unsafe_allow_unsandboxed: bool = False
    """Run the model's code with all rights of this program if the machine offers no isolation."""
