"""Any program of yours as a provider: one JSON object on its standard input, one on its standard output.

It is started anew for every search, without a shell, with your environment, and gets

    {"tool": "search", "query": "height of the Eiffel Tower", "k": 5, ...options}
    {"tool": "image_search", "image": "<PNG in base64>", "k": 5, ...options}

and answers `{"hits": [{"title": ..., "link": ..., "snippet": ..., "date": ..., "source": ..., "score": ...,
"thumbnail": ...}]}`, all but the title optional, or `{"error": "..."}`. A thumbnail is an http(s) address or a
`data:` URL. What it writes to its standard error goes to yours; it is not recorded.
"""

import asyncio
import base64
import contextlib
import io
import json
import os
import signal
from collections.abc import Sequence
from typing import Any

from PIL import Image

from foveal.tools.search.providers.http import MAX_BYTES, MAX_MESSAGE, Access, Trouble, hit, text
from foveal.tools.search.providers.lens import Lens, Match
from foveal.trajectory import ImageStore, SearchHit

_FIX = 'run it by hand: echo \'{"tool": "search", "query": "test", "k": 5}\' | PROGRAM'


class CommandText:
    """Text search by a program.

    Args:
        access: Its options are handed over, and its time-out counts.
        command: Program and arguments.
    """

    name = "command"

    def __init__(self, access: Access, command: Sequence[str]):
        self._access = access
        self._command = command

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """What the program answers, at most `k` hits.

        Raises:
            SearchError: The program failed.
        """
        question = {**self._access.options, "tool": "search", "query": query, "k": k}
        return [match.hit for match in await _matches(self._command, question, self._access.timeout)][:k]


class CommandImages:
    """Image search by a program.

    Args:
        access: Its options are handed over, and its time-out counts.
        command: Program and arguments.
        lens: Fetches thumbnails.
    """

    name = "command"

    def __init__(self, access: Access, command: Sequence[str], lens: Lens):
        self._access = access
        self._command = command
        self._lens = lens

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """What the program answers, at most `k` hits.

        Raises:
            SearchError: The program failed.
        """
        picture = await asyncio.to_thread(_png, image)
        question = {**self._access.options, "tool": "image_search", "image": picture, "k": k}
        matches = await _matches(self._command, question, self._access.timeout)
        return await self._lens.with_thumbnails(matches[:k], images)


async def _matches(command: Sequence[str], question: dict[str, Any], timeout: float) -> list[Match]:
    try:
        async with asyncio.timeout(timeout):
            code, output = await _run(command, json.dumps(question).encode())
    except TimeoutError:
        raise Trouble(f"the search program did not answer within {timeout:g} s", "raise timeout") from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "its name cannot be one"
        raise Trouble(f"the search program cannot be started: {said}", "correct command", kind="shape") from None
    if code != 0:
        raise Trouble(f"the search program ended with code {code}", _FIX)
    try:
        reply = json.loads(output)
    except (ValueError, RecursionError):
        raise Trouble("the search program answered something that is no JSON", _FIX, kind="shape") from None
    if isinstance(reply, dict) and (error_said := text(reply.get("error"), MAX_MESSAGE)):
        raise Trouble(f"the search program failed: {error_said}", _FIX)
    found = reply.get("hits") if isinstance(reply, dict) else None
    if not isinstance(found, list):
        raise Trouble('the search program did not answer {"hits": [...]}', _FIX, kind="shape")
    matches = []
    for row in found:
        if isinstance(row, dict):
            about = (row.get(name) for name in ("title", "link", "snippet", "date", "source", "score"))
            if (one := hit(*about)) is not None:
                matches.append(Match(one, row.get("thumbnail")))
    return matches


async def _run(command: Sequence[str], question: bytes) -> tuple[int, bytes]:
    """Exit code and output of the program; it and what it started are gone afterwards, however this ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        _, output = await asyncio.gather(_feed(process.stdin, question), _read(process.stdout))
        return await process.wait(), output
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended, and so has everything it started
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):  # a pipe that is not read to its end would stay open
                while await process.stdout.read(2**16):
                    pass
                await process.wait()


async def _feed(stdin: asyncio.StreamWriter, question: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # a program may answer without reading
        stdin.write(question)
        await stdin.drain()
    stdin.close()


async def _read(stdout: asyncio.StreamReader) -> bytes:
    output = bytearray()
    while chunk := await stdout.read(2**16):
        output += chunk
        if len(output) > MAX_BYTES:
            raise Trouble(f"the search program answered more than {MAX_BYTES // 1_000_000} MB", kind="shape")
    return bytes(output)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()
