"""What one session of the code sandbox may use."""

from pydantic import Field

from foveal.config import Settings


class SandboxLimits(Settings):
    """Limits of one session."""

    memory_mb: int = Field(1024, ge=64)
    """Memory of all processes of a session together, and address space of each beyond what it starts with."""
    processes: int = Field(64, ge=4)
    """Processes and threads of a session."""
    files_mb: int = Field(256, ge=1)
    """Everything that a session writes to its folders."""
    open_files: int = Field(256, ge=32)
    """Open files of one process."""
    output_bytes: int = Field(20_000, ge=100)
    """Kept of stdout, of stderr and of the last value of one cell: head and tail, the middle is left out."""
    images: int = Field(10, ge=0)
    """Pictures of one cell."""
    megapixels: int = Field(40, ge=1)
    """Pixels of all pictures of one cell together."""
    grace_seconds: float = Field(2.0, gt=0)
    """Time that an interrupted cell has to stop before its session is killed."""

    @property
    def canvas_bytes(self) -> int:
        """Size of the memory through which pictures come back."""
        return self.megapixels * 1_000_000 * 3
