import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.tools.search.image import ImageIndex
from foveal.tools.search.text import TextIndex
from foveal.trajectory import ImageStore, SearchHit


@pytest.fixture
def find() -> Callable[..., list[SearchHit]]:
    """Search a text index by words or an image index by a picture, and wait for the hits."""

    def search(index: TextIndex | ImageIndex, query: str | Image.Image, k: int = 5) -> list[SearchHit]:
        if isinstance(index, TextIndex):
            return asyncio.run(index.search(query, k))
        return asyncio.run(index.search(query, k, ImageStore()))

    return search


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder with two documents and two pictures."""
    folder = tmp_path / "mine"
    (folder / "notes" / "deep").mkdir(parents=True)
    (folder / "notes" / "zebra.md").write_text("# Zebras\nA zebra has stripes.")
    (folder / "notes" / "deep" / "list.jsonl").write_text('{"title": "Okapi", "text": "striped legs"}\n')
    Image.new("RGB", (40, 30), "red").save(folder / "red_square.png")
    Image.new("RGB", (40, 30), "blue").save(folder / "sea.jpg", quality=95)
    (folder / "sea.txt").write_text("The sea at noon")
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    """Where the index of `source` goes."""
    return tmp_path / "index"


@pytest.fixture
def damage() -> Callable[[Path], None]:
    """Overwrite a database with noise, its first page kept, as a bad disk or an interrupted copy leaves it."""

    def overwrite(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))

    return overwrite


@dataclass
class RawServer:
    """A loopback HTTP server that gives one answer, as the bytes that are sent, to every connection.

    b"hang" never answers, b"drip" answers for ever a byte at a time, b"reset" hangs up.
    """

    reply: bytes | Callable[[str], bytes]
    """Or a function of the head of the request."""
    head: str = ""
    """Head of the last request."""
    requests: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.requests += 1
            reply = self.reply(self.head) if callable(self.reply) else self.reply
            if reply == b"hang":
                await asyncio.sleep(60)
            if reply == b"drip":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n")
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            if reply == b"reset":
                writer.transport.abort()
                return
            writer.write(reply)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return  # the client hung up, or the test is over
        finally:
            writer.close()

    def play(self, client: Callable[[str], Awaitable[Any]], tls: ssl.SSLContext | None = None) -> Any:
        """Serve while `client(url)` runs."""

        async def run() -> Any:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=tls)
            port = server.sockets[0].getsockname()[1]
            try:
                return await client(f"http://127.0.0.1:{port}")
            finally:
                server.close()
                await asyncio.sleep(0.02)  # a connection that is just being accepted would be lost, and not closed
                for task in (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(run())


@pytest.fixture
def raw_server() -> type[RawServer]:
    """`raw_server(reply).play(client)`."""
    return RawServer
