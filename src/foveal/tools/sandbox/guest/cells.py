"""Runs cells one after another in one namespace, as a notebook does, until the host closes the socket."""

import ast
import builtins
import contextlib
import io
import linecache
import os
import signal
import site
import sys
import textwrap
import traceback
import types
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from PIL import Image

from . import frames, pictures

_FLUSH: Any = io.TextIOWrapper.flush
_OWN_FILES = (__file__, pictures.__file__)


def serve(control: int, canvas: int, images: list[int], config: dict[str, Any]) -> NoReturn:
    """Answer the host's requests, then end the process.

    Args:
        control: Socket to the host.
        canvas: File for the pixels of shown pictures.
        images: One file per input picture; they become `image_1`, `image_2`, ...
        config: `images`, `pixels` and `result`: caps of one cell's answer.
    """
    runner = Runner(control, canvas, config)
    for number, fd in enumerate(images, 1):
        runner.scope[f"image_{number}"] = pictures.load(fd)
    frames.write(control, {"ready": True})
    while (request := frames.read(control)) is not None:
        answer = runner.run(request["code"]) if "code" in request else runner.find(request["name"])
        frames.write(control, {"done": {**answer, "id": request["id"]}})
    os._exit(0)


class Runner:
    """The namespace of a session and what it takes to run a cell in it.

    A cell may replace anything that it can reach. So all that is needed between two cells is kept here, not looked up.
    """

    def __init__(self, control: int, canvas: int, config: dict[str, Any]):
        site.setquit()  # `exit`, `quit` and `help`, which the server's bare start leaves out
        site.sethelper()
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module  # so that multiprocessing and pickle find what cells define
        self.scope: dict[str, Any] = module.__dict__
        self.show = pictures.Show(control, canvas, config["images"], config["pixels"], self._note)
        self.show.take_over()
        self.scope["display"] = self._display
        self._result_bytes: int = config["result"]
        self._cells = 0
        self._running = False
        self._pid = os.getpid()
        self._files = [(os.dup(number), number) for number in range(3)]
        self._streams: dict[str, Any] = {}
        self._builtins = dict(builtins.__dict__)

    def run(self, code: str) -> dict[str, Any]:
        """Run a cell: `status` (`ok` or `error`) and `result`, the last expression's value if it has one to show."""
        self._cells += 1
        name = f"<cell {self._cells}>"
        answer: dict[str, Any] = {"status": "ok", "result": None, "cut": False}

        def body() -> None:
            value = self._execute(textwrap.dedent(code), name)
            self._end_if_forked()
            if isinstance(value, Image.Image):
                self.show.image(value)
            elif value is not None and not _is_figure(value):
                answer["result"], answer["cut"] = _cut(repr(value), self._result_bytes)
            self.show.figures()

        if not self._guarded(body, code, name):
            answer["status"] = "error"
        answer["cut"] = answer["cut"] or self.show.cut
        return answer

    def find(self, name: str) -> dict[str, Any]:
        """Show the picture that a variable holds, if it holds one."""

        def body() -> None:
            if image := pictures.of_value(self.scope.get(name)):
                self.show.image(image)

        self._guarded(body, "", "<image>")
        return {"status": "ok", "result": None, "cut": self.show.cut}

    def _execute(self, code: str, name: str) -> object:
        tree = ast.parse(code, name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        try:
            exec(compile(tree, name, "exec"), self.scope)
            if isinstance(last, ast.Expr):
                return eval(compile(ast.Expression(last.value), name, "eval"), self.scope)
            return None
        finally:
            builtins.__dict__.update(self._builtins)  # what comes next needs them

    def _guarded(self, body: Callable[[], None], code: str, name: str) -> bool:
        """Run `body` so that whatever it does, this process is ready for the next request. True if nothing was raised.

        Interrupts count only while `body` runs; one that comes too late changes nothing.
        """
        self._restore()
        self.show.start()
        lines = textwrap.dedent(code).splitlines(keepends=True)
        linecache.cache[name] = (len(code), None, lines, name)
        fine = True
        try:
            self._running = True
            try:
                body()
            finally:
                self._running = False
        except SystemExit as end:
            self._running = False
            fine = end.code in (None, 0)
            if not fine:
                self._note(f"SystemExit: {end.code}")
        except BaseException as error:
            self._running = False
            fine = False
            self._report(error)
        self._flush()
        self._end_if_forked()
        return fine

    def _end_if_forked(self) -> None:
        """End a child that the cell forked and let run on: only the first process answers the host."""
        if os.getpid() != self._pid:
            self._flush()
            os._exit(0)

    def _report(self, error: BaseException) -> None:
        """Print the traceback without the frames of this package, so that it begins in the cell."""
        try:
            report = traceback.TracebackException.from_exception(error)
            chain = [report]
            for part in chain:  # grows while it is walked
                part.stack = traceback.StackSummary.from_list([f for f in part.stack if f.filename not in _OWN_FILES])
                chain += [other for other in (part.__cause__, part.__context__) if other is not None]
            self._note("".join(report.format()).rstrip("\n"))
        except BaseException as second:  # an exception whose text raises
            self._note(f"{type(error).__name__} (its text cannot be shown: {type(second).__name__})")

    def _display(self, *values: object) -> None:
        """Show pictures and figures; print the `repr` of anything else."""
        for value in values:
            if isinstance(value, Image.Image):
                self.show.image(value)
            elif _is_figure(value):
                self.show.figure(value)
            else:
                print(repr(value))  # noqa: T201 - this is what the cell asked for

    def _note(self, text: str) -> None:
        self._flush()
        data = (text + "\n").encode(errors="backslashreplace")
        while data:
            data = data[os.write(2, data) :]

    def _interrupt(self, _signal: int, _frame: types.FrameType | None) -> None:
        if self._running:
            self._running = False
            raise KeyboardInterrupt

    def _restore(self) -> None:
        """Put back what the cell before may have replaced and every cell needs: output, input, the interrupt."""
        for saved, number in self._files:
            os.dup2(saved, number)
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if not _usable(stream := self._streams.get(name)):
                mode = "w" if number else "r"
                stream = os.fdopen(number, mode, 1, "utf-8", "backslashreplace", None, closefd=False)
                self._streams[name] = stream
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        signal.signal(signal.SIGINT, self._interrupt)

    def _flush(self) -> None:
        for name in ("stdout", "stderr"):
            with contextlib.suppress(OSError, ValueError):  # the cell closed it
                _FLUSH(self._streams[name])


def _usable(stream: TextIO | None) -> bool:
    try:
        return stream is not None and not stream.closed
    except ValueError:  # its buffer was detached
        return False


def _is_figure(value: object) -> bool:
    figure = sys.modules.get("matplotlib.figure")
    return figure is not None and isinstance(value, figure.Figure)


def _cut(text: str, most: int) -> tuple[str, bool]:
    """Head and tail of a text that is too long, and whether it was."""
    if len(text) <= most:
        return text, False
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}", True
