"""Tools that are called and give back nothing: the check whether a model uses what it gets back.

Calls are carried out as always. Then every picture becomes a grey one of its size, and every text that was printed,
found or returned a fixed one. How many there are stays, and so do errors: they say how to call, not what there is.
"""

import asyncio
from collections.abc import Sequence

from PIL import Image
from pydantic import JsonValue

from foveal.tools.session import Tools, ToolSession
from foveal.trajectory import ImageRef, ImageStore, Observation, SearchHit, ToolCall

TEXT = "[left out]"
GREY = (128, 128, 128)


class BlankTools(Tools):
    """The same tools, whose observations are blanked.

    Args:
        tools: That are called.
    """

    def __init__(self, tools: Tools):
        super().__init__(
            tools.code, tools.text, tools.image, tools.k, tools.max_image_searches, tools.visitor, tools.searched
        )

    def describe(self) -> dict[str, JsonValue]:
        """What a trajectory records about its tools."""
        return {**super().describe(), "blank": True}

    async def open(
        self, question_images: Sequence[Image.Image], store: ImageStore, cell_seconds: float
    ) -> "BlankSession":
        """Start a session; the arguments are those of `Tools.open`."""
        return BlankSession(self, question_images, store, cell_seconds)


class BlankSession(ToolSession):
    """The tools of one trajectory. Made by `BlankTools.open`."""

    async def call(self, call: ToolCall) -> Observation:
        """Carry out a call, and blank what it gave.

        Raises:
            IsolationError: No code can be run on this machine at all.
        """
        return await asyncio.to_thread(blanked, await super().call(call), self._store)


def blanked(observation: Observation, images: ImageStore) -> Observation:
    """An observation of the same form that says nothing.

    Args:
        observation: What a tool gave back.
        images: Takes the grey pictures.
    """

    def grey(ref: ImageRef) -> ImageRef:
        return images.put(Image.new("RGB", (ref.width, ref.height), GREY))

    if (cell := observation.cell) is not None:
        texts = {"stdout": cell.stdout, "stderr": cell.stderr if cell.status == "ok" else "", "result": cell.result}
        hidden = {name: TEXT for name, text in texts.items() if text}
        cell = cell.model_copy(update={**hidden, "images": tuple(map(grey, cell.images))})
        return observation.model_copy(update={"cell": cell})
    if observation.hits is not None:
        hits = tuple(
            SearchHit(
                title=TEXT,
                snippet=None if hit.snippet is None else TEXT,
                thumbnail=None if hit.thumbnail is None else grey(hit.thumbnail),
            )
            for hit in observation.hits
        )
        return observation.model_copy(update={"hits": hits})
    return observation
