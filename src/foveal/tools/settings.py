"""Settings of the tools that trajectories are offered."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from foveal.config import Settings
from foveal.tools.search.settings import SearchSettings, VisitSettings


class ToolSettings(Settings):
    """The tools that trajectories are offered."""

    code: bool = True
    """Python code in the sandbox."""
    search: Path | None = None
    """An index folder (`foveal index build`): offers the text and image search that it holds."""
    dense: Path | None = Field(None, exclude_if=lambda value: value is None)
    """A sentence-embedding model: text search in the index goes by words and by meaning (`foveal index embed`)."""
    tower: Path | None = Field(None, exclude_if=lambda value: value is None)
    """A checkpoint folder: image search in the index goes by its vision tower (`foveal index embed-images`)."""
    live: SearchSettings | None = None
    """A live provider in place of an index (docs/search.md). Its answers can be recorded, and replayed without it."""
    visit: VisitSettings | None = Field(None, exclude_if=lambda value: value is None)
    """Offers to read pages of the web (docs/search.md); off unless this table is there."""
    hits: int = Field(5, ge=1)
    """Hits of one search in the index; `live.k` says it of a live provider."""
    unsafe_allow_unsandboxed: bool = False
    """Run the model's code with all rights of this program if the machine offers no isolation."""

    @model_validator(mode="after")
    def _one_search(self) -> Self:
        if self.search is not None and self.live is not None:
            raise ValueError("search is by index or live: leave out search, or live")
        if self.live is not None and self.hits not in (5, self.live.k):
            raise ValueError("hits is about an index folder: set live.k in its place")
        if self.dense is not None and self.search is None:
            raise ValueError("dense is about an index folder: set search, or leave it out")
        if self.tower is not None and self.search is None:
            raise ValueError("tower is about an index folder: set search, or leave it out")
        return self
