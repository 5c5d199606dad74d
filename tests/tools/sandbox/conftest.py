import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.tools.base import Cell
from foveal.tools.sandbox import LocalSandbox, SandboxLimits


class Sync:
    """A sandbox for tests that are not async: everything runs in one event loop that stays open."""

    def __init__(self, sandbox: LocalSandbox, runner: asyncio.Runner):
        self.sandbox = sandbox
        self.wait = runner.run

    def open(self, images: list[Image.Image] | None = None) -> "SyncSession":
        return SyncSession(self.wait(self.sandbox.open(images or [])), self.wait)


class SyncSession:
    def __init__(self, session: Any, wait: Callable[..., Any]):
        self.session = session
        self._wait = wait

    def run(self, code: str, timeout: float = 20) -> Cell:
        return self._wait(self.session.run(code, timeout))

    def image(self, name: str) -> Image.Image | None:
        return self._wait(self.session.image(name))

    def close(self) -> None:
        self._wait(self.session.close())


@pytest.fixture(scope="module")
def box() -> Iterator[Sync]:
    """One sandbox for all tests of a file."""
    with asyncio.Runner() as runner:
        sandbox = LocalSandbox(SandboxLimits(grace_seconds=0.5))
        yield Sync(sandbox, runner)
        runner.run(sandbox.aclose())


@pytest.fixture
def session(box: Sync) -> Iterator[SyncSession]:
    """A fresh session."""
    opened = box.open()
    yield opened
    opened.close()


@pytest.fixture
def alive() -> Callable[[SyncSession], bool]:
    """Whether a session answers."""

    def answers(session: SyncSession) -> bool:
        cell = session.run("6 * 7")
        return (cell.status, cell.result) == ("ok", "42")

    return answers


@pytest.fixture
def descendants() -> Callable[[], set[int]]:
    """Pids of all processes below this one."""

    def below(pid: int) -> set[int]:
        found: set[int] = set()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, task.read_text().split()):
                found |= {child}
                with contextlib.suppress(FileNotFoundError):  # it ended in the meantime
                    found |= below(child)
        return found

    return lambda: below(int(Path("/proc/self/stat").read_text().split()[0]))


@pytest.fixture
def settle() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds: the kernel needs a moment to forget a process that has ended."""

    def wait(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < end, "it does not come to hold"
            time.sleep(0.01)

    return wait
