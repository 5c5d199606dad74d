"""Running the endpoint on a port, until it is told to stop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.types import ASGIApp

from foveal.errors import InputError

KEEP_ALIVE_SECONDS = 75
"""For which an idle connection stays open: longer than clients keep theirs, so that it is they who close it."""
GRACE_SECONDS = 10
"""For replies that are on their way when the server stops."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        InputError: The host or the port cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{host} port {port} cannot be used: {said}", "name others: --host, --port") from error


async def serve(app: ASGIApp, listening: socket.socket, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)

    async def stop() -> None:
        await stopping.wait()
        server.should_exit = True

    watching = asyncio.create_task(stop())
    try:
        await server.serve(sockets=[listening])
    finally:
        watching.cancel()


@contextlib.asynccontextmanager
async def stopped_by_signals() -> AsyncIterator[asyncio.Event]:
    """An event that is set by Ctrl-C and by SIGTERM, which end nothing by themselves meanwhile."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    # uvicorn has handlers of its own while it runs, and raises the signals again behind itself: they end here.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        yield stopping
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
