"""The command line, in this process and in one of its own, and a real photo."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest

from foveal.cli import main

SOURCE = Path(__file__).parents[2] / "src"


SHOWN = {"COLUMNS": "200", "NO_COLOR": "1"}

Command = Callable[..., subprocess.CompletedProcess[str]]
"""Runs the command line in `tmp_path`, without the keys of whoever runs the tests: `command("ask", ..., env={...})`."""


@pytest.fixture
def foveal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process, where a bug is no exit code but fails the test. A new process, as `process`
    starts it, takes seconds: one test a command is enough."""

    def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as here, pytest.raises(SystemExit) as end:
            here.chdir(tmp_path)
            for name in [name for name in os.environ if name.endswith("_API_KEY")]:
                here.delenv(name)
            for name, value in {**SHOWN, **(env or {})}.items():
                here.setenv(name, value)
            main([str(word) for word in words])
        return subprocess.CompletedProcess(words, end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def process(tmp_path: Path) -> Command:
    """The command line in a process of its own, in which a warning is an error."""

    def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", "from foveal.cli import main; main()", *map(str, words)],
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": str(SOURCE), **SHOWN, **(env or {})},
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run


@pytest.fixture
def killed() -> Callable[..., bool]:
    """Starts the command line in a process of its own and kills it and its children: `killed("bench", ..., after=3.0)`.
    Gives whether it was still at work. With `began` the time counts from when that is true."""

    def run(*words: object, after: float, began: Callable[[], bool] = lambda: True) -> bool:
        process = subprocess.Popen(
            [sys.executable, "-c", "from foveal.cli import main; main()", *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not began() and process.poll() is None:
                time.sleep(0.001)
            process.wait(after)
            return False
        except subprocess.TimeoutExpired:
            return True
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    return run


@pytest.fixture(scope="session")
def photo() -> Path:
    """A photo that foveal did not make: Grace Hopper, 512 × 600, shipped with matplotlib."""
    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
