"""What code tries to use up: time, memory, processes, disk, output, pictures. Real processes."""

import asyncio
import time

import pytest

from foveal.tools.sandbox import LocalSandbox, SandboxLimits


def test_the_disk_cannot_be_filled(session, alive):
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


def test_a_fork_bomb_stays_small_and_dies_with_its_session(box, descendants, settle, alive):
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


def test_a_thread_bomb_is_refused(session, alive):
    cell = session.run(
        "import threading, time\nn = 0\n"
        "try:\n    while n < 1000:\n"
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n        n += 1\n"
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
def test_memory_of_many_processes_together_is_limited(session, kind, alive):
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
    assert time.monotonic() - start < 30
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
    assert session.run(code).status == "ok"
    assert session.run("1 + 1").result == "2"


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
