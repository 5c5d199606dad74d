"""What code in a session tries to do to the machine, to other sessions and to its own runner: real processes."""

import asyncio
import os
import socket
import time
import uuid
from pathlib import Path

import pytest

from foveal.tools.sandbox import LocalSandbox, SandboxLimits


@pytest.fixture(scope="module", autouse=True)
def secret():
    """A value in the host's environment and heap since before the sandbox's server started."""
    value = os.environ["FOVEAL_TEST_CANARY"] = uuid.uuid4().hex
    yield value
    del os.environ["FOVEAL_TEST_CANARY"]


def alive(session):
    """The session answers, with its state."""
    cell = session.run("6 * 7")
    return (cell.status, cell.result) == ("ok", "42")


def test_no_file_of_the_machine_can_be_read(session, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("SECRET")
    tmp_path.chmod(0o755)
    canary.chmod(0o644)
    paths = [str(canary), *(f"{root}{canary}" for root in ("/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/old"))]
    paths += [str(Path(__file__)), "/etc/shadow", "/etc/hostname", "/proc/1/environ", "/proc/kcore", "/proc/kmsg"]
    cell = session.run(
        f"import os\nopened = []\nfor path in {paths!r}:\n"
        "    try:\n        open(path, 'rb').read(1)\n        opened.append(path)\n    except OSError:\n        pass\n"
        "opened, 'SECRET' in repr(list(os.walk('/tmp'))), open('/etc/passwd').read()"
    )
    assert cell.result == "([], False, 'user:x:1000:1000::/box:/bin/sh\\n')", cell.stderr


def test_symlinks_and_dots_lead_nowhere_else(session, tmp_path):
    (tmp_path / "canary").write_text("SECRET")
    cell = session.run(
        f"import os\nos.symlink({str(tmp_path / 'canary')!r}, '/box/link')\n"
        f"up = '/box/' + '../' * 30 + {str(tmp_path / 'canary').lstrip('/')!r}\n"
        "[os.path.exists('/box/link'), os.path.exists(up)]"
    )
    assert cell.result == "[False, False]"


def test_no_secret_of_the_host_process_reaches_the_code(session, secret, tmp_path):
    handle = os.open(tmp_path / "open-file", os.O_CREAT | os.O_RDWR)
    os.write(handle, secret.encode())
    os.set_inheritable(handle, True)
    cell = session.run(
        f"wanted = {secret[:16]!r} + {secret[16:]!r}\n"  # the whole secret is not in this text
        "import os\nfound = []\n"
        "if 'FOVEAL_TEST_CANARY' in os.environ or wanted in repr(os.environ): found.append('environ')\n"
        "for pid in ('1', 'self'):\n"
        "    for file in ('environ', 'cmdline', 'mountinfo', 'maps'):\n"
        "        try:\n"
        "            if wanted.encode() in open(f'/proc/{pid}/{file}', 'rb').read(): found.append(file)\n"
        "        except OSError: pass\n"
        "for fd in range(3, 256):\n"
        "    try:\n"
        "        if wanted.encode() in os.pread(fd, 4096, 0): found.append(fd)\n"
        "    except OSError: pass\n"
        "found"
    )
    os.close(handle)
    assert cell.result == "[]", cell.stderr


def test_the_memory_of_the_code_process_holds_no_secret(session, secret):
    cell = session.run(
        f"pieces = {secret[:16]!r}, {secret[16:]!r}\n"
        "found = 0\n"
        "memory = open('/proc/self/mem', 'rb', 0)\n"
        "for line in open('/proc/self/maps'):\n"
        "    if not line.split()[1].startswith('r') or '[v' in line: continue\n"
        "    start, end = (int(n, 16) for n in line.split()[0].split('-'))\n"
        "    memory.seek(start)\n"
        "    data = memory.read(end - start)\n"
        "    at = data.find(pieces[0].encode())\n"
        "    while at >= 0:\n"
        "        found += data[at + 16 : at + 32] == pieces[1].encode()\n"
        "        at = data.find(pieces[0].encode(), at + 1)\n"
        "found"
    )
    assert cell.result == "0", cell.stderr


def test_nothing_but_its_own_folders_can_be_written(session):
    cell = session.run(
        "import os\nwritten = []\n"
        "for top in [line.split()[4] for line in open('/proc/self/mountinfo')] + ['/', '/etc', '/dev']:\n"
        "    try:\n"
        "        open(os.path.join(top, 'x'), 'w').close()\n        written.append(top)\n"
        "    except OSError:\n        pass\n"
        "sorted(set(written))"
    )
    assert cell.result == "['/box', '/dev/shm', '/tmp']", cell.stderr


def test_the_disk_cannot_be_filled(session):
    cell = session.run(
        "import errno\nwritten = 0\n"
        "try:\n"
        "    for n in range(1000):\n"
        "        written += open(f'/tmp/{n}', 'wb').write(bytes(8 << 20))\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])\n"
        "written <= 256 << 20"
    )
    assert (cell.stdout, cell.result) == ("ENOSPC\n", "True")
    cell = session.run("open('/tmp/sparse', 'wb').truncate(1 << 40)")
    assert "OSError" in cell.stderr
    cell = session.run("for n in range(100_000):\n    open(f'/box/{n}', 'w').close()")
    assert "No space left on device" in cell.stderr
    assert alive(session)


def test_there_is_no_network(session):
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0foveal-{uuid.uuid4().hex}"
        abstract.bind(name)
        abstract.listen()
        cell = session.run(
            "import ctypes, os, socket, urllib.request\n"
            "def tries():\n"
            f"    yield lambda: socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 2)\n"
            f"    yield lambda: socket.socket(socket.AF_UNIX).connect({name!r})\n"
            "    yield lambda: socket.getaddrinfo('example.org', 80)\n"
            "    yield lambda: urllib.request.urlopen('http://127.0.0.1', timeout=2)\n"
            "    yield lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\n"
            "    yield lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n"
            "    yield lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW)\n"
            "reached = []\n"
            "for number, action in enumerate(tries()):\n"
            "    try:\n        action()\n        reached.append(number)\n"
            "    except OSError:\n        pass\n"
            "reached, os.listdir('/sys') if os.path.exists('/sys') else None, open('/proc/net/dev').read().count(':')"
        )
        assert cell.result == "([], None, 1)", cell.stderr  # the one device is its own loopback, which is down
        tcp.settimeout(0.1)
        with pytest.raises(TimeoutError):
            tcp.accept()


def test_dangerous_system_calls_are_refused(session):
    cell = session.run(
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*a):\n    ctypes.set_errno(0)\n    r = libc.syscall(*a)\n"
        "    return errno.errorcode.get(ctypes.get_errno(), r)\n"
        "{name: call(number, *rest) for name, number, *rest in [('unshare', 272, 0x10000000), "
        "('clone', 56, 0x10000011, 0, 0, 0, 0), ('clone3', 435, 0, 0), ('setns', 308, 0, 0), "
        "('ptrace', 101, 0, 0, 0, 0), ('mount', 165, 0, 0, 0, 0, 0), ('bpf', 321, 0, 0, 0), "
        "('keyctl', 250, 0, 0), ('io_uring_setup', 425, 1, 0), ('userfaultfd', 323, 0), "
        "('memfd_create', 319, b'x', 0), ('shmget', 29, 0, 4096, 0o1777), ('newest', 500), "
        "('io_setup', 206, 1, ctypes.byref(ctypes.c_ulong())), ('vmsplice', 278, -1, 0, 0, 0), "
        "('inotify_init', 253), ('inotify_init1', 294, 0), ('setsockopt', 54, -1, 1, 7, 0, 0)]}"
    )
    assert eval(cell.result) == {
        "clone3": "ENOSYS",
        "newest": "ENOSYS",
        **dict.fromkeys(["unshare", "clone", "setns", "ptrace", "mount", "bpf", "keyctl", "shmget"], "EPERM"),
        **dict.fromkeys(["io_uring_setup", "userfaultfd", "memfd_create", "io_setup", "vmsplice"], "EPERM"),
        **dict.fromkeys(["inotify_init", "inotify_init1", "setsockopt"], "EPERM"),
    }


def test_asyncio_and_subprocess_still_work(session):
    cell = session.run(
        "import asyncio, subprocess, sys\n"
        "async def main():\n"
        "    process = await asyncio.create_subprocess_exec(sys.executable, '-c', 'import numpy; print(6 * 7)')\n"
        "    return await process.wait()\n"
        "asyncio.run(main())",
        timeout=60,
    )
    assert (cell.stdout, cell.result) == ("42\n", "0"), cell.stderr


def test_a_fork_bomb_stays_small_and_dies_with_its_session(box, descendants, settle):
    session = box.open()
    before = len(descendants())
    cell = session.run(
        "import os, time\nmade = 0\n"
        "try:\n    while made < 1000:\n"
        "        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\n        made += 1\n"
        "except BlockingIOError:\n    pass\nmade"
    )
    assert 10 <= int(cell.result) <= 64
    assert len(descendants()) - before <= 64
    cell = session.run(
        "import os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        timeout=0.5,
    )
    assert cell.status == "timeout"
    assert len(descendants()) < before
    assert alive(session)
    session.close()


def test_a_thread_bomb_is_refused(session):
    cell = session.run(
        "import threading, time\nn = 0\n"
        "try:\n    while n < 1000:\n"
        "        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()\n        n += 1\n"
        "except RuntimeError:\n    pass\nn"
    )
    assert int(cell.result) <= 64
    assert alive(session)


def test_too_much_memory_is_a_memory_error_and_the_state_is_kept(session):
    session.run("kept = 1")
    cell = session.run("data = bytearray(1 << 40)")
    assert cell.stderr.endswith("MemoryError\n")
    cell = session.run("hoard = []\nwhile True:\n    hoard.append(bytearray(64 << 20))")
    assert cell.stderr.endswith("MemoryError\n")
    assert session.run("int(sum(map(len, hoard)) / 2**20) in range(700, 1025), kept").result == "(True, 1)"


@pytest.mark.parametrize("kind", ["bytearray(400 << 20)", "mmap.mmap(-1, 400 << 20)"])
def test_memory_of_many_processes_together_is_limited(session, kind):
    cell = session.run(
        "import mmap, os, time\n"
        "for _ in range(10):\n"
        "    if os.fork() == 0:\n"
        f"        data = {kind}\n"
        "        for at in range(0, 400 << 20, 4096): data[at] = 1\n"
        "        time.sleep(60)\n"
        "time.sleep(60)",
        timeout=50,
    )
    assert cell.status == "died"
    assert cell.seconds < 30
    assert "together used more than 1024 MB of memory" in cell.stderr
    assert alive(session)


HIDING = {
    "forked by a thread": "def work():\n"
    "    for _ in range(8):\n"
    "        if os.fork() == 0:\n            fill()\n"
    "    time.sleep(60)\n"
    "threading.Thread(target=work, daemon=True).start()",
    "first thread ended": "def work():\n    time.sleep(0.5)\n    fill()\n"
    "for _ in range(8):\n"
    "    if os.fork() == 0:\n"
    "        threading.Thread(target=work, daemon=True).start()\n"
    "        ctypes.CDLL(None).syscall(60, 0)",  # exit, of this thread only
}


@pytest.mark.parametrize("code", HIDING.values(), ids=HIDING)
def test_memory_cannot_hide_behind_threads(code):
    async def main():
        async with LocalSandbox(SandboxLimits(memory_mb=128)) as sandbox:
            session = await sandbox.open()
            cell = await session.run(
                "import ctypes, os, threading, time\n"
                "def fill():\n"
                "    data = bytearray(40 << 20)\n"
                "    for at in range(0, len(data), 4096): data[at] = 1\n"
                "    time.sleep(60)\n"
                f"{code}\ntime.sleep(60)",
                timeout=15,
            )
            assert cell.status == "died"
            assert "together used more than 128 MB of memory" in cell.stderr

    asyncio.run(main())


def test_the_kernel_ends_a_session_before_anything_else_if_memory_runs_out(session):
    cell = session.run("[open(f'/proc/{pid}/oom_score_adj').read() for pid in (1, 'self')]")
    assert cell.result == "['1000\\n', '1000\\n']"
    assert "Read-only" in session.run("open('/proc/self/oom_score_adj', 'w')").stderr


def test_a_session_is_a_process_group_of_its_own(session):
    """In the server's group, `kill(0, ...)` and `setpriority` would reach other sessions of the same user."""
    assert session.run("import os\nos.getpgid(1), os.getsid(1), os.getpgrp()").result == "(1, 1, 1)"


LOOPS = {
    "swallows everything": "import time\nwhile True:\n    try:\n        time.sleep(1)\n    except BaseException: pass",
    "ignores the signal": "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "blocks the signal": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [2])\nwhile True: pass",
    "is in C": "sum(iter(int, 1))",
}


@pytest.mark.parametrize("code", LOOPS.values(), ids=LOOPS)
def test_a_loop_that_cannot_be_interrupted_is_killed(session, code):
    session.run("gone = 1")
    start = time.monotonic()
    cell = session.run(code, timeout=0.3)
    assert time.monotonic() - start < 0.3 + 0.5 + 1.5
    assert cell.status == "timeout"
    assert "did not stop when interrupted" in cell.stderr
    assert "variables are lost" in cell.stderr
    cell = session.run("gone")
    assert cell.status == "error"
    assert cell.stderr.startswith("[new session: the variables of earlier cells are lost]\n")
    assert "NameError" in cell.stderr


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "import time; time.sleep(60)",
        "import re; re.match('(a*)*b', 'a' * 60)",
        "import os; os.system('sleep 60')",
    ],
)
def test_an_ordinary_loop_is_interrupted_and_the_state_is_kept(session, code):
    session.run("kept = 1")
    cell = session.run("print('before')\n" + code, timeout=0.3)
    if "system" in code:  # the shell stands between: Python gets no chance to raise
        assert cell.status == "timeout"
        return
    assert (cell.status, cell.stdout) == ("timeout", "before\n")
    assert cell.stderr.startswith('Traceback (most recent call last):\n  File "<cell 2>", line 2')
    assert cell.stderr.endswith("KeyboardInterrupt\n[the cell was interrupted after 0.3 s. The variables are kept.]\n")
    assert session.run("kept").result == "1"


def test_a_gigabyte_of_output_is_read_and_cut(session):
    cell = session.run(
        "import os\nprint('first')\nline = b'x' * (1 << 20)\nfor _ in range(1024):\n    os.write(1, line)\n"
        "print('\\nlast')",
        timeout=60,
    )
    assert cell.status == "ok"
    assert cell.truncated
    assert len(cell.stdout) < 21_000
    assert cell.stdout.startswith("first\nxxx")
    assert cell.stdout.endswith("xxx\nlast\n")
    assert f"[... {(1 << 30) + 12 - 20_000} bytes left out ...]" in cell.stdout


def test_a_huge_result_is_cut(session):
    cell = session.run("'y' * (100 << 20)")
    assert cell.truncated
    assert cell.result is not None
    assert len(cell.result) < 21_000
    assert cell.result.startswith("'yy")
    assert cell.result.endswith("yy'")


def test_a_writer_that_never_stops_does_not_keep_the_host(session):
    code = "import os, threading\ndef spam():\n    while True: os.write(1, b'z' * 65536)\n"
    code += "threading.Thread(target=spam, daemon=True).start()"
    assert session.run(code, timeout=5).status == "ok"
    assert session.run("1 + 1", timeout=5).result == "2"


def test_a_daemon_dies_with_its_session(box, descendants, settle):
    before = descendants()
    session = box.open()
    cell = session.run(
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        time.sleep(300)\n        os._exit(0)\n    os._exit(0)\n"
        "time.sleep(0.1)\nlen([name for name in os.listdir('/proc') if name.isdigit()])"
    )
    assert cell.result == "3" or cell.result == "4"  # first process, runner, daemon (and a child not reaped yet)
    assert len(descendants() - before) >= 3
    session.close()
    settle(lambda: descendants() <= before)


def test_sessions_do_not_see_each_other(box):
    one, two = box.open(), box.open()
    token = uuid.uuid4().hex
    wrote = one.run(
        f"token = {token!r}\nimport os, time\n"
        "for folder in ('/box', '/tmp', '/dev/shm'):\n    open(folder + '/canary', 'w').write(token)\n"
        "from multiprocessing import shared_memory\nos.environ['CANARY'] = token"
    )
    assert wrote.status == "ok"
    cell = two.run(
        "import os\nfound = [f for f in ('/box', '/tmp', '/dev/shm') if os.path.exists(f + '/canary')]\n"
        "pids = sorted(int(name) for name in os.listdir('/proc') if name.isdigit())\n"
        "found, pids, 'CANARY' in os.environ, 'token' in globals()"
    )
    assert cell.result == "([], [1, 2], False, False)"
    assert two.run("import os\nos.kill(-1, 9)").status in ("ok", "error", "died")
    assert one.run("token").result == repr(token)
    one.close()
    two.close()


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


@pytest.mark.parametrize("target", ["1", "os.getppid()", "-1"])
def test_code_cannot_kill_the_machines_processes(session, box, target):
    other = box.open()
    session.run(f"import os, signal\nfor number in (15, 9, 2):\n    os.kill({target}, number)")
    assert alive(other)
    assert alive(session)
    other.close()


REPRS = {
    "raises": ("raise ValueError('no repr')", "error", "ValueError: no repr"),
    "is no text": ("return 7", "error", "TypeError"),
    "sleeps": ("import time; time.sleep(60)", "timeout", "KeyboardInterrupt"),
    "exits": ("import os; os._exit(1)", "died", "exit code 1"),
}


@pytest.mark.parametrize(("body", "status", "stderr"), REPRS.values(), ids=REPRS)
def test_a_malicious_repr_harms_only_itself(session, body, status, stderr):
    cell = session.run(f"class Bad:\n    def __repr__(self):\n        {body}\nBad()", timeout=0.5)
    assert cell.status == status
    assert stderr in cell.stderr
    assert alive(session)


def test_an_exception_that_cannot_be_shown_is_named(session):
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
def test_forged_frames_end_the_session_and_nothing_else(box, session, frame):
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


def test_a_forged_answer_fools_only_its_own_session(box, session):
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


def test_a_decompression_bomb_explodes_inside(session):
    cell = session.run(
        "import io\nfrom PIL import Image\nfile = io.BytesIO()\n"
        "Image.new('1', (14000, 14000)).save(file, 'PNG')\nImage.open(file).convert('RGB')",
        timeout=30,
    )
    assert cell.status == "error"
    assert "DecompressionBombError" in cell.stderr
    assert cell.images == []


def test_pictures_beyond_the_caps_are_left_out_with_a_reason(session):
    cell = session.run(
        "from PIL import Image\nImage.new('RGB', (8000, 6000)).show()\nImage.new('RGB', (0, 5)).show()\n"
        "for n in range(12):\n    Image.new('RGB', (n + 1, 1)).show()"
    )
    assert cell.status == "ok"
    assert cell.truncated
    assert [image.width for image in cell.images] == list(range(1, 11))
    assert "[picture of 8000x6000 not shown: a cell may show at most 40 megapixels; resize it first]" in cell.stderr
    assert "[picture of 0x5 not shown: it is empty]" in cell.stderr
    assert cell.stderr.count("a cell may show at most 10 pictures") == 2


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


def test_the_runner_is_an_unprivileged_user_with_no_way_up(session):
    cell = session.run(
        "import os\nstatus = dict(line.split(':\\t') for line in open('/proc/self/status').read().splitlines())\n"
        "os.getuid(), os.getgid(), os.getgroups() in ([], [65534]), "
        "*(status[k] for k in ('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp'))"
    )
    zero = "0" * 16
    assert eval(cell.result) == (1000, 1000, True, zero, zero, "1", "2")
    outer = session.run("open('/proc/self/uid_map').read().split()").result
    assert eval(outer)[:2] != ["1000", "0"]
