"""A code session as the agent sees it: survives the death of its processes, and says so."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from PIL import Image

from foveal.errors import SandboxError
from foveal.tools.base import Cell
from foveal.tools.sandbox.box import Answer, Box

IMAGE_SECONDS = 10.0


class LocalSession:
    """A stateful session with `image_1` ... `image_n` preloaded. Made by `LocalSandbox.open`.

    If its processes die, the next cell runs in new ones, and its stderr says that the variables are lost.
    """

    def __init__(
        self,
        box: Box,
        restart: Callable[[], Awaitable[Box]],
        why_killed: Callable[[Box], str | None],
        on_close: Callable[["LocalSession"], None],
        num_images: int,
    ):
        self._box: Box | None = box
        self._restart, self._why_killed, self._on_close = restart, why_killed, on_close
        self._num_images = num_images
        self._busy: asyncio.Future[None] | None = None
        self._closed = False

    async def run(self, code: str, timeout: float) -> Cell:
        """Run a cell as written. Whatever it does is data.

        Args:
            code: Python; a common indentation of all lines is taken off, nothing else is changed.
            timeout: Seconds. Then the cell is interrupted (the variables stay); if it does not stop, it is killed.

        Raises:
            SandboxError: The session is closed, runs another cell, or could not be started again.
        """
        start = time.monotonic()
        answer, notice = await self._ask({"code": code}, timeout)
        after = ""
        if answer.lost:
            after = f"[the session was killed: {answer.lost}. Its variables are lost.]\n"
        elif answer.status == "timeout":
            after = f"[the cell was interrupted after {timeout:g} s. The variables are kept.]\n"
        stderr = answer.stderr.text()
        if after and stderr and not stderr.endswith("\n"):
            stderr += "\n"
        truncated = answer.stdout.truncated or answer.stderr.truncated
        return Cell(
            status=answer.status,
            stdout=answer.stdout.text(),
            stderr=notice + stderr + after,
            result=answer.result,
            images=answer.images,
            seconds=time.monotonic() - start,
            truncated=truncated or answer.cut,
        )

    async def image(self, name: str) -> Image.Image | None:
        """The picture in a variable: a Pillow image, or an array of bytes of shape HxW or HxWx3. None if there is none.

        Raises:
            SandboxError: As for `run`.
        """
        answer, _ = await self._ask({"name": name}, IMAGE_SECONDS)
        return answer.images[0] if answer.images else None

    async def close(self) -> None:
        """Kill everything that the session started, a cell that runs, too, and wait until it is gone.

        Safe to call twice.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._busy:  # whoever runs a cell holds the lines to its processes: kill them, it lets go
                if self._box:
                    self._box.kill()
                await asyncio.wait([self._busy])
            await self._end_box()
        finally:
            self._on_close(self)

    async def _ask(self, request: dict[str, str], timeout: float) -> tuple[Answer, str]:
        """The answer, and the notice for stderr if it comes from new processes."""
        if self._closed or self._busy:
            raise SandboxError("the session is closed" if self._closed else "the session is running another cell")
        self._busy = asyncio.get_running_loop().create_future()
        try:
            notice = ""
            if self._box is None or not self._box.alive:
                await self._end_box()
                self._box = await self._restart()
                if self._closed:
                    await self._end_box()
                    raise SandboxError("the session was closed")
                names = _names(self._num_images)
                notice = f"[new session: the variables of earlier cells are lost{names}]\n"
            answer = await self._box.ask(request, timeout)
            if answer.lost:
                reason = self._why_killed(self._box) or answer.lost
                answer = answer._replace(lost=reason)
                await self._end_box()
            return answer, notice
        except asyncio.CancelledError:
            if self._box:
                self._box.kill()
            raise
        finally:
            self._busy.set_result(None)
            self._busy = None

    async def _end_box(self) -> None:
        box, self._box = self._box, None
        if box is not None:
            box.kill()
            try:
                await box.gone()
            finally:
                box.close()


def _names(count: int) -> str:
    if not count:
        return ""
    return "; image_1 is loaded again" if count == 1 else f"; image_1 ... image_{count} are loaded again"
