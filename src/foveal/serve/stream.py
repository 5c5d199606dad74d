"""A reply in pieces: server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import Send

from foveal.trajectory import Turn

SIGN_OF_LIFE_SECONDS = 15.0
"""Between comments in a stream that has nothing to say, so that nobody in between takes it for dead."""


class Stream:
    """Events of one reply.

    Attributes:
        begun: Whether the client was sent anything; an error has to be an event then.
    """

    def __init__(self, send: Send):
        self._send = send
        self.begun = False

    async def begin(self, event: dict[str, Any]) -> None:
        """Send the head of the reply, and a first event."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.say(event)

    async def say(self, event: dict[str, Any]) -> None:
        """Send an event."""
        await self._body(f"data: {json.dumps(event)}\n\n")

    async def sign_of_life(self) -> None:
        """Send a comment, which clients skip."""
        await self._body(": at work\n\n")

    async def end(self, *events: dict[str, Any]) -> None:
        """Send the last events, and that they are the last."""
        for event in events:
            await self.say(event)
        await self._body("data: [DONE]\n\n", more=False)

    async def _body(self, text: str, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": more})


async def with_signs_of_life(turns: asyncio.Queue[Turn | None], stream: Stream) -> AsyncIterator[Turn]:
    """The turns up to None; the stream is kept alive while there is none."""
    while True:
        try:
            async with asyncio.timeout(SIGN_OF_LIFE_SECONDS):
                turn = await turns.get()
        except TimeoutError:
            await stream.sign_of_life()
            continue
        if turn is None:
            return
        yield turn
