"""What the agent asks of its tools: one `ToolSession` per trajectory that turns a `ToolCall` into an `Observation`."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from PIL import Image

from foveal.trajectory import ImageStore, SearchHit


class Cell(NamedTuple):
    """What one code cell gave back, pictures still as pixels."""

    status: str
    """`ok`, `error`, `timeout` or `died`, as in `trajectory.CellResult`."""
    stdout: str
    stderr: str
    result: str | None
    images: Sequence[Image.Image]
    seconds: float
    truncated: bool


class CodeSession(Protocol):
    """A stateful code session of one trajectory."""

    async def run(self, code: str, timeout: float) -> Cell:
        """Run a cell. Whatever the code does is data; never raises for it.

        Raises:
            SandboxError: The sandbox itself failed.
        """

    async def image(self, name: str) -> Image.Image | None:
        """The picture that the variable `name` holds in the session, or None if it holds none."""

    async def close(self) -> None:
        """Kill everything that the session started. Safe to call twice and during cancellation."""


class CodeSandbox(Protocol):
    """A maker of code sessions."""

    async def open(self, images: Sequence[Image.Image]) -> CodeSession:
        """Start a session in which `image_1` ... `image_n` are preloaded.

        Raises:
            SandboxError: No session could be started.
        """


class TextSearch(Protocol):
    """A text search provider or index."""

    name: str

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` hits, best first.

        Raises:
            SearchError: The provider failed.
        """


class Visitor(Protocol):
    """A reader of pages."""

    name: str

    async def visit(self, url: str) -> SearchHit:
        """The page at an address: its title, date, final address, and its main text as snippet.

        Raises:
            SearchError: It cannot be had, or has no text.
        """


class ImageSearch(Protocol):
    """An image search provider or index."""

    name: str

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The `k` most similar pictures, best first; thumbnails are put into `images`.

        Raises:
            SearchError: The provider failed.
        """
