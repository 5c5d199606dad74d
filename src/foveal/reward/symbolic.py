r"""Formulas that are equal: `\frac{1}{2}` is `0.5`, `x^2-1` is `(x-1)(x+1)`. By math-verify, in a process of its own.

The process is started at the first formula and ends with this one. It may be asked from any thread.
"""

import atexit
import functools
import importlib.util
import json
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from foveal.errors import MissingDependency
from foveal.reward.text import unwrapped, with_powers

CPU_SECONDS = 5.0
"""Processor time of one comparison; after it the formulas count as different."""
START_SECONDS = 300.0
"""A machine under load may take long to import sympy."""
WALL_SECONDS = 120.0
"""In case a comparison waits for something else than the processor."""

_FUNCTIONS = r"sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln|exp|sqrt|pi"
_BARE_FUNCTION = re.compile(rf"(?<![\\A-Za-z])({_FUNCTIONS.replace('|sqrt', '')})(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-z]+\*?\}")
_WORD = re.compile(rf"(?!(?:{_FUNCTIONS})(?![A-Za-z]))(?<![A-Za-z])[A-Za-z]{{2,}}")
_TEXT = re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname)\b|[%$]")
_ASSIGNMENT = re.compile(r"\s*[A-Za-z](?:_\{?\w+\}?)?\s*=[^=]*")


def require_math_verify(package: str = "math_verify") -> None:
    """Check that math-verify can be imported.

    Raises:
        MissingDependency: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(
            f"the rule symbolic needs the package {package}, which is not installed", 'pip install "foveal[math]"'
        )


def symbolic(answer: str, golds: Iterable[str]) -> bool:
    r"""Whether the answer is a formula that equals one of the golds, by math-verify.

    Only what is a formula from end to end is compared, because its parser reads words as products of letters (cat =
    act) and skips units: texts with words, `\text{}`, `%` or `$` never match here. `x = 5` counts as 5, `6 = 5` does
    not.

    Raises:
        MissingDependency: math-verify is not installed.
    """
    require_math_verify()
    given = formula(answer)
    if given is None:
        return False
    expected = [read for gold in golds if (read := formula(gold)) is not None]
    return any(_worker(os.getpid()).equal(gold, given) for gold in expected if _comparable(given, gold))


def formula(text: str) -> str | None:
    """The text as LaTeX, or None if it is not one formula."""
    plain = _BARE_FUNCTION.sub(r"\\\1", with_powers(unwrapped(text)).replace("**", "^"))
    words = _COMMAND.sub(" ", _ENVIRONMENT.sub(" ", plain))
    return None if not plain or _TEXT.search(plain) or _WORD.search(words) else plain


def _comparable(answer: str, gold: str) -> bool:
    return "=" not in answer or "=" in gold or _ASSIGNMENT.fullmatch(answer) is not None


class MathWorker:
    """The other process. One comparison at a time; a comparison that takes too long costs only itself."""

    def __init__(self, cpu_seconds: float = CPU_SECONDS):
        self._cpu_seconds = cpu_seconds
        self._owner = os.getpid()
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def equal(self, gold: str, answer: str) -> bool:
        """Whether math-verify finds them equal; False if that took too long."""
        with self._turn:
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps([gold, answer]).encode() + b"\n")
            except BrokenPipeError:
                reply = b""
            else:
                reply = _line(process, WALL_SECONDS)
            if reply not in (b"true\n", b"false\n"):
                self._stop()
            return reply == b"true\n"

    def close(self) -> None:
        """End the process. Safe to call twice; a later comparison starts another."""
        if self._owner == os.getpid():  # a forked child must not end its parent's
            with self._turn:
                self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("mathworker.py")
        # -P: the folder of the script holds modules of ours, which sympy must not find.
        command = [sys.executable, "-P", str(script), str(self._cpu_seconds)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        if _line(process, START_SECONDS) != b"ready\n":
            _end(process)
            raise MissingDependency(
                f"the process that compares formulas did not start ({' '.join(command)})",
                'run that command to see why; pip install --force-reinstall "foveal[math]" may mend it',
            )
        return process

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


@functools.cache
def _worker(pid: int) -> MathWorker:
    """The worker of this process."""
    worker = MathWorker()
    atexit.register(worker.close)
    return worker


def _line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """One line of the process, or nothing if it ended or took too long. Replies are short: a line comes whole."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else b""


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
