"""One incarnation of a session: its processes, and the host's end of every line to them."""

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image

from foveal.errors import SandboxError
from foveal.tools.sandbox.channel import BrokenProtocol, Canvas, Capture, Inbox
from foveal.tools.sandbox.guest import frames
from foveal.tools.sandbox.limits import SandboxLimits

START_SECONDS = 60.0
PIECE = 1 << 16


class Answer(NamedTuple):
    """What came back for one request."""

    status: str
    """`ok`, `error`, `timeout` or `died`."""
    stdout: Capture
    stderr: Capture
    result: str | None
    images: Sequence[Image.Image]
    cut: bool
    """True if the result or a picture was cut or left out."""
    lost: str | None
    """Why the processes are gone, if they are."""


class Box:
    """The processes of a session. Made by `Box.start`."""

    def __init__(self, limits: SandboxLimits):
        self._limits = limits
        self._control, self._theirs = socket.socketpair()
        self._canvas = Canvas(limits.canvas_bytes, limits.images)
        (self._stdout, stdout), (self._stderr, stderr) = os.pipe(), os.pipe()
        self._their_ends = [self._theirs.fileno(), stdout, stderr]
        self._control.setblocking(False)
        self._line = self._control.fileno()
        for fd in (self._stdout, self._stderr):
            os.set_blocking(fd, False)
        self._processes: list[int] = []
        self._inbox = Inbox()
        self._killed = False
        self._requests = 0
        self.pid = 0
        """Pid of the session's first process, as the host counts."""

    @classmethod
    async def start(
        cls, limits: SandboxLimits, link: socket.socket, pictures: Sequence[int], **request: object
    ) -> Self:
        """Have the server at the other end of `link` fork a session, and wait until it is ready.

        Args:
            limits: What it may use.
            link: Socket to the fork-server.
            pictures: Files that become `image_1`, `image_2`, ...
            request: `isolated`, and the work folder if it is not.

        Raises:
            SandboxError: The session could not be started; the text says which step failed.
        """
        box = cls(limits)
        try:
            fds = [*box._their_ends, box._canvas.file, *pictures]
            await _send(link, json.dumps(request).encode(), fds)
            box._close_their_ends()
            async with asyncio.timeout(START_SECONDS):
                await box._wait_until_ready()
        except BaseException as error:
            box.kill()
            box.close()
            if isinstance(error, TimeoutError):
                raise SandboxError(f"a sandbox session did not start within {START_SECONDS:.0f} s") from None
            raise
        return box

    async def ask(self, request: dict[str, Any], timeout: float) -> Answer:
        """Send a request and collect everything until it is answered, or the processes are gone.

        At the limit the cell is interrupted; if that does not stop it, everything is killed. Cancelling this call
        kills everything at once.
        """
        loop = asyncio.get_running_loop()
        limits = self._limits
        stdout, stderr = Capture(limits.output_bytes), Capture(limits.output_bytes)
        finished: asyncio.Future[tuple[str, str | None]] = loop.create_future()
        self._canvas.start()
        result: str | None = None
        cut = interrupted = False
        ending = "its processes were killed"
        self._requests += 1
        unsent = memoryview(frames.pack({**request, "id": self._requests}))

        def finish(status: str, lost: str | None = None) -> None:
            if not finished.done():
                finished.set_result(("timeout" if interrupted else status, lost))

        def on_frame(frame: dict[str, Any]) -> None:
            nonlocal result, cut, ending
            if finished.done():  # after its answer a session has nothing to say
                return
            if "picture" in frame:
                self._canvas.take(frame["picture"])
            elif "done" in frame:
                status, result, cut = _checked(frame["done"], self._requests, limits.output_bytes)
                finish(status)
            elif type(code := frame.get("ended")) is int:
                ending = _how_it_ended(code)

        def on_output(pipe: int, capture: Capture) -> None:
            data = _read(pipe)
            if data == b"":  # closed by everyone in the session
                loop.remove_reader(pipe)
            capture.feed(data or b"")

        def on_control() -> None:
            try:
                data = _receive(self._control)
                if data == b"":
                    loop.remove_reader(self._line)
                for frame in self._inbox.feed(data or b""):
                    on_frame(frame)
            except BrokenProtocol as error:
                self.kill()
                finish("died", f"its processes sent {error}")

        def on_end() -> None:
            loop.remove_reader(self._processes[0])
            on_control()  # what the session still sent
            finish("died", ending)

        def send() -> None:
            nonlocal unsent
            try:
                unsent = unsent[self._control.send(unsent) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):  # `on_end` will say more
                unsent = unsent[:0]
            if unsent:
                loop.add_writer(self._line, send)
            else:
                loop.remove_writer(self._line)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._processes[1], signal.SIGINT)

        def give_up() -> None:
            self.kill()
            finish("timeout", f"it ran longer than {timeout:g} s and did not stop when interrupted")

        readers: dict[int, Callable[[], None]] = {
            self._stdout: lambda: on_output(self._stdout, stdout),
            self._stderr: lambda: on_output(self._stderr, stderr),
            self._line: on_control,
            self._processes[0]: on_end,
        }
        timers = [loop.call_later(timeout, interrupt), loop.call_later(timeout + limits.grace_seconds, give_up)]
        for reader, callback in readers.items():
            loop.add_reader(reader, callback)
        try:
            send()
            status, lost = await finished
        except asyncio.CancelledError:
            self.kill()
            raise
        finally:
            loop.remove_writer(self._line)
            for reader in readers:
                loop.remove_reader(reader)
            for timer in timers:
                timer.cancel()
        for pipe, capture in ((self._stdout, stdout), (self._stderr, stderr)):
            _drain(pipe, capture)
        return Answer(status, stdout, stderr, result, self._canvas.images, cut, lost)

    @property
    def alive(self) -> bool:
        """False once the processes have ended or been told to."""
        if self._killed:
            return False
        ended = select.poll()  # `select.select` refuses descriptors from 1024 on
        ended.register(self._processes[0], select.POLLIN)
        return not ended.poll(0)

    def kill(self) -> None:
        """Kill every process of the session. The kernel does it with the first one; safe to call at any time."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            for process in self._processes[:1]:
                signal.pidfd_send_signal(process, signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until no process of the session is left."""
        if self._processes:
            loop = asyncio.get_running_loop()
            ended: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._processes[0], _once, ended)
            try:
                await ended
            finally:
                loop.remove_reader(self._processes[0])

    def close(self) -> None:
        """Close the host's ends. Safe to call twice."""
        self._control.close()
        self._close_their_ends()
        for fd in (self._stdout, self._stderr, self._canvas.file, *self._processes):
            if fd >= 0:
                os.close(fd)
        self._stdout = self._stderr = self._canvas.file = -1
        self._processes = []

    def _close_their_ends(self) -> None:
        self._theirs.close()
        for fd in self._their_ends[1:]:
            os.close(fd)
        self._their_ends = []

    async def _wait_until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        seen: set[str] = set()

        def on_control() -> None:
            data, fds, _, _ = socket.recv_fds(self._control, PIECE, 2)
            self._processes += fds
            found = self._inbox.feed(data)
            seen.update(*found)
            failed = [str(frame["failed"]) for frame in found if "failed" in frame]
            if ready.done():
                return
            if failed or not data or "ended" in seen:
                words = Capture(2000)
                _drain(self._stderr, words)
                reason = " ".join(failed) or words.text() or "its first process ended"
                ready.set_exception(SandboxError(f"a sandbox session could not be started: {reason}"))
            elif {"started", "ready"} <= seen:  # from the first process, which sends the pidfds, and from the runner
                ready.set_result(None)

        loop.add_reader(self._line, on_control)
        try:
            await ready
        finally:
            loop.remove_reader(self._line)
        self.pid = _pid(self._processes[0])


async def _send(link: socket.socket, message: bytes, fds: Sequence[int]) -> None:
    while True:
        try:
            socket.send_fds(link, [message], list(fds))
            return
        except BlockingIOError:
            loop = asyncio.get_running_loop()
            writable: asyncio.Future[None] = loop.create_future()
            loop.add_writer(link, _once, writable)
            try:
                await writable
            finally:
                loop.remove_writer(link)


def _checked(answer: object, number: int, most: int) -> tuple[str, str | None, bool]:
    """Status, result and `cut` of an answer that anything may have written."""
    if isinstance(answer, dict) and answer.get("id") != number:
        raise BrokenProtocol("an answer that nobody asked for")
    match answer:
        case {"status": "ok" | "error" as status, "result": None, "cut": bool(cut)}:
            return status, None, cut
        case {"status": "ok" | "error" as status, "result": str(result), "cut": bool(cut)} if len(result) <= most + 100:
            return status, result.encode(errors="backslashreplace").decode(), cut
    raise BrokenProtocol("an answer that is not one")


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"the process ended itself with exit code {code}"
    try:
        return f"the process was killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"the process was killed by signal {-code}"


def _pid(pidfd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise SandboxError("the kernel does not say which process a pidfd is")


def _receive(control: socket.socket) -> bytes | None:
    """What is there to read: empty at the end, None if there is nothing now. The kernel drops files sent along."""
    try:
        return control.recv(PIECE)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def _read(pipe: int) -> bytes | None:
    """As `_receive`, for a pipe."""
    try:
        return os.read(pipe, PIECE)
    except BlockingIOError:
        return None


def _once(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _drain(pipe: int, capture: Capture) -> None:
    """Read what is in a pipe now, and no more than fits into it, so that no writer can keep us here."""
    left = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    while left > 0 and (data := _read(pipe)):
        capture.feed(data)
        left -= len(data)
