"""What code does to its own runner: it dies, forges answers, breaks its interpreter. The next cell must not notice."""

import pytest

DEATHS = {
    "import os; os._exit(0)": "exit code 0",
    "import os; os._exit(7)": "exit code 7",
    "import os; os.abort()": "SIGABRT",
    "import ctypes; ctypes.string_at(0)": "SIGSEGV",
    "import os; os.kill(os.getpid(), 9)": "SIGKILL",
    "import os; os.closerange(3, 256)": "exit code",
}


@pytest.mark.parametrize(("code", "reason"), DEATHS.items())
def test_a_dead_session_says_why_and_starts_anew(session, code, reason):
    cell = session.run(f"print('last words', flush=True)\n{code}")
    assert (cell.status, cell.stdout) == ("died", "last words\n")
    assert reason in cell.stderr
    assert "variables are lost" in cell.stderr
    cell = session.run("x = 1")
    assert (cell.status, cell.stderr) == ("ok", "[new session: the variables of earlier cells are lost]\n")
    assert session.run("x").stderr == ""


REPRS = {
    "raises": ("raise ValueError('no repr')", "error", "ValueError: no repr"),
    "is no text": ("return 7", "error", "TypeError"),
    "sleeps": ("import time; time.sleep(60)", "timeout", "KeyboardInterrupt"),
    "exits": ("import os; os._exit(1)", "died", "exit code 1"),
}


@pytest.mark.parametrize(("body", "status", "stderr"), REPRS.values(), ids=REPRS)
def test_a_malicious_repr_harms_only_itself(session, body, status, stderr, alive):
    cell = session.run(
        f"class Bad:\n    def __repr__(self):\n        {body}\nBad()", 0.5 if status == "timeout" else 20
    )
    assert cell.status == status
    assert stderr in cell.stderr
    assert alive(session)


def test_an_exception_that_cannot_be_shown_is_named(session, alive):
    cell = session.run(
        "class Bad(Exception):\n    def __str__(self):\n        raise SystemExit\n    __repr__ = __str__\nraise Bad"
    )
    assert cell.status == "error"
    assert "Bad" in cell.stderr
    assert alive(session)


FORGED = {
    "not json": "b'\\0\\0\\0\\4abcd'",
    "deep": "struct.pack('!I', 400000) + b'[' * 400000",
    "too long": "struct.pack('!I', 1 << 31)",
    "not an object": "frame([1])",
    "no id": "frame({'done': {'status': 'ok', 'result': None, 'cut': False}})",
    "no status": "frame({'done': {'id': 1}})",
    "result of 1 MB": "frame({'done': {'id': 1, 'status': 'ok', 'result': 'x' * 900000, 'cut': False}})",
    "result is a number": "frame({'done': {'id': 1, 'status': 'ok', 'result': 1, 'cut': False}})",
    "status is new": "frame({'done': {'id': 1, 'status': 'fine', 'result': None, 'cut': False}})",
    "picture is huge": "frame({'picture': [100000, 100000, 0]})",
    "picture is negative": "frame({'picture': [-5, -5, 0]})",
    "picture is text": "frame({'picture': ['5', '5', '0']})",
    "picture is outside": "frame({'picture': [10, 10, 120000000]})",
    "eleven pictures": "frame({'picture': [1, 1, 0]}) * 11",
    "too many pixels": "frame({'picture': [4000, 6000, 0]}) * 2",
}


@pytest.mark.parametrize("frame", FORGED.values(), ids=FORGED)
def test_forged_frames_end_the_session_and_nothing_else(box, session, frame, alive):
    other = box.open()
    cell = session.run(
        "import json, os, struct, time, socket\n"
        "def frame(m):\n    body = json.dumps(m).encode()\n    return struct.pack('!I', len(body)) + body\n"
        "for fd in range(3, 256):\n"
        "    try:\n        control = socket.socket(fileno=os.dup(fd)); control.getpeername(); break\n"
        "    except OSError: pass\n"
        f"control.sendall({frame})\ntime.sleep(30)",
        timeout=10,
    )
    assert cell.status == "died", cell
    assert "its processes sent" in cell.stderr
    assert alive(other)
    assert alive(session)
    other.close()


def test_a_forged_answer_fools_only_its_own_session(box, session, alive):
    other = box.open()
    cell = session.run(
        "import json, os, struct, socket\n"
        "body = json.dumps({'done': {'id': 1, 'status': 'ok', 'result': 'forged', 'cut': False}}).encode()\n"
        "for fd in range(3, 256):\n"
        "    try:\n        control = socket.socket(fileno=os.dup(fd)); control.getpeername(); break\n"
        "    except OSError: pass\n"
        "control.sendall(struct.pack('!I', len(body)) + body)\nimport time; time.sleep(0.2)"
    )
    assert cell.result == "forged"
    cell = session.run("1")  # now the answer of the cell before arrives
    assert cell.status == "died"
    assert "an answer that nobody asked for" in cell.stderr
    assert alive(session)
    assert alive(other)
    other.close()


TAMPERING = {
    "stdout is None": "import sys\nsys.stdout = sys.stderr = sys.__stdout__ = None",
    "stdout is closed": "import sys\nsys.stdout.close()\nsys.stderr.close()",
    "stdout is detached": "import sys\nsys.stdout.detach()",
    "descriptors are closed": "import os\nos.close(0), os.close(1), os.close(2)",
    "builtins are gone": "import builtins\n"
    "for name in ('print', 'isinstance', 'repr', 'len', 'open', 'BaseException'):\n    setattr(builtins, name, None)",
    "modules are gone": "import sys\n"
    "for name in list(sys.modules):\n    if name not in ('sys', 'builtins'): del sys.modules[name]",
    "json and os are broken": "import json, os\njson.dumps = json.loads = os.write = os.read = None",
    "globals are gone": "globals().clear()",
    "the signal handler is gone": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)",
    "tracing": "import sys\nsys.settrace(lambda *a: 1 / 0)",
    "recursion": "import sys\nsys.setrecursionlimit(60)",
}


@pytest.mark.parametrize("code", TAMPERING.values(), ids=TAMPERING)
def test_a_cell_that_breaks_its_interpreter_does_not_break_the_next(session, code):
    session.run(code)
    cell = session.run("print('hello')\n6 * 7")
    assert (cell.status, cell.stdout, cell.result) == ("ok", "hello\n", "42"), cell.stderr
