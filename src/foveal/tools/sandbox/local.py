"""The default code sandbox: sessions in namespaces of this machine, without root, docker or a daemon."""

import asyncio
import contextlib
import functools
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from PIL import Image

from foveal.errors import IsolationError, SandboxError
from foveal.tools.sandbox import canary
from foveal.tools.sandbox.box import START_SECONDS, Box
from foveal.tools.sandbox.channel import picture_file
from foveal.tools.sandbox.launch import Server, start_server
from foveal.tools.sandbox.limits import SandboxLimits
from foveal.tools.sandbox.session import LocalSession

log = logging.getLogger(__name__)

MOST_IMAGES = 200
"""Pictures of one session; the kernel passes at most 253 files at once."""
Tier = Literal["ns", "none"]
"""Strength of isolation: `ns`, namespaces with Landlock, seccomp and limits; `none`, no isolation at all."""


class LocalSandbox:
    """Code sessions on this machine, one per trajectory, each in its own namespaces.

    Nothing is started before the first `open`. Then a fork-server loads the usual packages once, and a canary session
    tries what no session may be able to do. A sandbox works in one thread, in one event loop after another.

    Args:
        limits: What one session may use; None takes the defaults.
        max_sessions: Sessions at a time; further calls of `open` wait.
        unsafe_allow_unsandboxed: Run code with this program's own rights if the machine offers no isolation.
    """

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        max_sessions: int = 64,
        unsafe_allow_unsandboxed: bool = False,
    ):
        self.limits = limits or SandboxLimits()
        self._max_sessions = max_sessions
        self._unsafe = unsafe_allow_unsandboxed
        self._server: Server | None = None
        self._tier: Tier | None = None
        self._sessions: set[LocalSession] = set()
        self._over_memory: set[int] = set()
        self._gate: _Gate | None = None

    async def open(self, images: Sequence[Image.Image] = ()) -> LocalSession:
        """Start a session in which `image_1` ... `image_n` are preloaded.

        Raises:
            IsolationError: The machine offers no isolation, and nobody allowed to go without.
            SandboxError: No session could be started, or it could not read the interpreter's packages.
        """
        tier = await self._ready()
        await self._this_gate().slots.acquire()
        try:
            session = await self._open(images, isolated=tier == "ns")
        except BaseException:
            self._this_gate().slots.release()
            raise
        self._sessions.add(session)
        return session

    async def probe(self) -> Tier:
        """The isolation that sessions get here, found by trying to break out of one.

        Raises:
            IsolationError: There is none, and nobody allowed to go without.
        """
        return await self._ready()

    async def aclose(self) -> None:
        """Kill every session and the fork-server. The sandbox can be used again afterwards."""
        try:
            for session in tuple(self._sessions):
                await session.close()
        finally:
            server, self._server = self._server, None
            if server:
                server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _ready(self) -> Tier:
        """Start the server if it does not run, and find the tier if it is not known."""
        async with self._this_gate().starting:
            if self._server and self._server.process.poll() is not None:
                log.warning("the sandbox's fork-server ended and is started again: %s", self._server.last_words())
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = await _started(self.limits)
            if self._tier is None:
                self._tier = await self._find_tier()
            return self._tier

    async def _find_tier(self) -> Tier:
        try:
            found = await canary.release(functools.partial(self._open, (), isolated=True))
        except SandboxError as error:
            reason = error.what
        else:
            if found.unreadable:
                folders = " ".join(found.unreadable)
                raise SandboxError(f"the user that code runs as cannot read {folders}", f"chmod -R go+rX {folders}")
            if not found.breaches:
                return "ns"
            reason = "; ".join(found.breaches)
        if not self._unsafe:
            raise IsolationError(f"this machine offers no isolation for code: {reason}", canary.fix())
        log.warning("code runs WITHOUT ISOLATION, with all rights of this program: %s", reason)
        return "none"

    async def _open(self, images: Sequence[Image.Image], isolated: bool) -> LocalSession:
        if len(images) > MOST_IMAGES:
            raise SandboxError(f"a session takes at most {MOST_IMAGES} pictures, not {len(images)}")
        with contextlib.ExitStack() as stack:
            files = [picture_file(image) for image in images]
            for file in files:
                stack.callback(os.close, file)
            folder = None if isolated else Path(tempfile.mkdtemp(prefix="foveal-"))
            if folder:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            box = await self._start_box(files, isolated, folder)
            restart = functools.partial(self._restart_box, files, isolated, folder)
            on_close = functools.partial(self._on_close, stack.pop_all())
        return LocalSession(box, restart, self._why_killed, on_close, len(images))

    async def _restart_box(self, files: Sequence[int], isolated: bool, folder: Path | None) -> Box:
        await self._ready()  # the server may have died, too
        return await self._start_box(files, isolated, folder)

    async def _start_box(self, files: Sequence[int], isolated: bool, folder: Path | None) -> Box:
        if self._server is None:
            raise SandboxError("the sandbox is closed")
        try:
            return await Box.start(
                self.limits, self._server.link, files, isolated=isolated, folder=str(folder) if folder else None
            )
        except (BrokenPipeError, ConnectionResetError):
            raise SandboxError(f"the sandbox's fork-server ended: {self._server.last_words()}") from None

    def _why_killed(self, box: Box) -> str | None:
        """What the server says about the death of a session's processes."""
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while self._server and (message := self._server.link.recv(4096)):
                self._over_memory.add(json.loads(message)["over_memory"])
        if box.pid in self._over_memory:
            self._over_memory.discard(box.pid)
            return f"its processes together used more than {self.limits.memory_mb} MB of memory"
        return None

    def _on_close(self, held: contextlib.ExitStack, session: LocalSession) -> None:
        held.close()
        if session in self._sessions:  # not so for the canary's
            self._sessions.remove(session)
            self._this_gate().slots.release()

    def _this_gate(self) -> "_Gate":
        """The locks of the running event loop: asyncio's locks belong to the loop that first waited for them."""
        loop = asyncio.get_running_loop()
        if self._gate is None or self._gate.loop is not loop:
            free = self._max_sessions - len(self._sessions)
            self._gate = _Gate(loop, asyncio.Lock(), asyncio.Semaphore(free))
        return self._gate


class _Gate(NamedTuple):
    loop: asyncio.AbstractEventLoop
    starting: asyncio.Lock
    slots: asyncio.Semaphore


async def _started(limits: SandboxLimits) -> Server:
    if sys.platform != "linux":
        raise IsolationError(f"the code sandbox needs Linux, this is {sys.platform}", "run foveal in a Linux machine")
    server = start_server(limits)
    try:
        async with asyncio.timeout(START_SECONDS):
            message = await asyncio.get_running_loop().sock_recv(server.link, 4096)
        if not message:
            raise ConnectionResetError
    except BaseException as error:
        words = server.last_words()
        server.close()
        if isinstance(error, ConnectionResetError):
            raise SandboxError(f"the sandbox's fork-server did not start: {words}") from None
        if isinstance(error, TimeoutError):
            raise SandboxError(f"the sandbox's fork-server did not start within {START_SECONDS:.0f} s") from None
        raise
    return server
