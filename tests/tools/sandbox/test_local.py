"""The life of a sandbox: loops, cancellation, slots, the death of its parts, machines without isolation."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import foveal
from foveal.errors import SandboxError
from foveal.tools.sandbox import LocalSandbox

HERE = Path(__file__).parent
SOURCE = str(Path(foveal.__file__).parents[1])


def test_one_sandbox_serves_one_event_loop_after_another(descendants, settle):
    before = descendants()
    sandbox = LocalSandbox(max_sessions=2)

    async def crowd():
        async def one(number):
            session = await sandbox.open()
            cell = await session.run(f"{number} * 2", 20)
            await session.close()
            return cell.result

        return await asyncio.gather(*(one(number) for number in range(5)))

    assert asyncio.run(crowd()) == ["0", "2", "4", "6", "8"]
    assert asyncio.run(crowd()) == ["0", "2", "4", "6", "8"]
    kept = asyncio.run(sandbox.open())
    asyncio.run(kept.run("x = 5", 20))
    assert asyncio.run(kept.run("x", 20)).result == "5"
    asyncio.run(sandbox.aclose())
    settle(lambda: descendants() <= before)
    assert asyncio.run(crowd()) == ["0", "2", "4", "6", "8"]  # it starts again
    asyncio.run(sandbox.aclose())
    settle(lambda: descendants() <= before)


def test_open_waits_for_a_free_slot():
    async def main():
        async with LocalSandbox(max_sessions=1) as sandbox:
            first = await sandbox.open()
            second = asyncio.create_task(sandbox.open())
            await asyncio.sleep(0.2)
            assert not second.done()
            await first.close()
            session = await asyncio.wait_for(second, 10)
            assert (await session.run("1", 20)).result == "1"

    asyncio.run(main())


def test_many_sessions_run_at_the_same_time(box):
    async def main():
        sandbox = box.sandbox
        sessions = await asyncio.gather(*(sandbox.open() for _ in range(12)))
        code = "import time; start = time.monotonic(); time.sleep(0.5); (start, time.monotonic())"
        cells = await asyncio.gather(*(session.run(code, 20) for session in sessions))
        starts, ends = zip(
            *(json.loads(cell.result.replace("(", "[").replace(")", "]")) for cell in cells), strict=True
        )
        assert max(ends) - min(starts) < sum(ends) - sum(starts), "they ran one after the other"
        await asyncio.gather(*(session.close() for session in sessions))

    box.wait(main())


def test_cancelling_a_cell_leaves_no_process(box, descendants, settle):
    async def main():
        sandbox = box.sandbox
        await sandbox.probe()
        idle = descendants()
        session = await sandbox.open()
        code = (
            "import os, time\nfor _ in range(3):\n    os.fork()\nif os.getpid() > 2:\n    os.setsid()\ntime.sleep(60)"
        )
        task = asyncio.create_task(session.run(code, 60))
        async with asyncio.timeout(15):
            while len(descendants() - idle) < 8:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        settle(lambda: descendants() <= idle)
        await session.close()
        await session.close()
        again = await sandbox.open()
        assert (await again.run("1", 20)).result == "1"
        await again.close()

    box.wait(main())


def test_cancelling_open_leaves_no_process_and_no_used_slot(descendants, settle):
    async def main():
        async with LocalSandbox(max_sessions=1) as sandbox:
            await sandbox.probe()
            idle = descendants()
            for delay in (0, 0.001, 0.005, 0.01, 0.02):
                task = asyncio.create_task(sandbox.open([Image.new("RGB", (100, 100))]))
                await asyncio.sleep(delay)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await (await task).close()
            settle(lambda: descendants() <= idle)
            session = await asyncio.wait_for(sandbox.open(), 10)
            assert (await session.run("1", 20)).result == "1"

    asyncio.run(main())


def test_no_file_descriptor_is_left_behind(box):
    async def main():
        sandbox = box.sandbox
        await sandbox.probe()
        before = open_files()
        for code in ("1", "import os; os._exit(1)", "1"):
            session = await sandbox.open([Image.new("RGB", (10, 10))] * 3)
            await session.run(code, 20)
            await session.close()
        assert open_files() == before

    box.wait(main())


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_lost_session_gets_its_images_back(box):
    async def main():
        sandbox = box.sandbox
        session = await sandbox.open([Image.new("RGB", (8, 6), "red"), Image.new("RGB", (3, 3), "blue")])
        await session.run("image_1 = None\nimport os\nos._exit(1)", 20)
        cell = await session.run("image_1.size, image_2.getpixel((0, 0))", 20)
        assert cell.result == "((8, 6), (0, 0, 255))"
        assert cell.stderr == (
            "[new session: the variables of earlier cells are lost; image_1 ... image_2 are loaded again]\n"
        )
        await session.run("os = __import__('os')\nos._exit(1)", 20)
        found = await session.image("image_2")
        assert found is not None
        assert found.size == (3, 3)
        await session.close()

    box.wait(main())


def test_a_cell_after_a_cancelled_one_runs_in_a_new_session(box):
    async def main():
        session = await box.sandbox.open()
        await session.run("x = 1", 20)
        task = asyncio.create_task(session.run("import time; time.sleep(60)", 60))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        cell = await session.run("2", 20)
        assert (cell.status, cell.result) == ("ok", "2")
        assert cell.stderr.startswith("[new session")
        await session.close()

    box.wait(main())


def test_closing_a_session_ends_the_cell_that_runs(box):
    async def main():
        await box.sandbox.probe()
        before = open_files()
        session, other = await box.sandbox.open(), await box.sandbox.open()
        running = asyncio.create_task(session.run("import time; time.sleep(60)", 60))
        await asyncio.sleep(0.2)
        await asyncio.wait_for(session.close(), 30)
        assert (await asyncio.wait_for(running, 30)).status == "died"
        assert (await other.run("1", 20)).result == "1"
        await other.close()
        assert open_files() == before

    box.wait(main())


def test_closing_a_session_that_starts_anew_leaves_nothing(box, descendants, settle):
    async def main():
        await box.sandbox.probe()
        before, idle = open_files(), descendants()
        session = await box.sandbox.open([Image.new("RGB", (10, 10))])
        await session.run("import os; os._exit(1)", 20)
        running = asyncio.create_task(session.run("1", 20))
        await asyncio.sleep(0)
        await session.close()
        with pytest.raises(SandboxError, match="closed"):
            await running
        settle(lambda: descendants() <= idle)
        assert open_files() == before

    box.wait(main())


def test_a_host_with_many_open_files_runs_cells(box):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        session = box.open()
        assert session.run("1").result == "1"
        session.close()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_pictures_than_the_kernel_passes_are_refused(box):
    with pytest.raises(SandboxError, match="at most 200 pictures"):
        box.open([Image.new("RGB", (1, 1))] * 201)
    session = box.open([Image.new("RGB", (1, 1))] * 200)
    assert session.run("image_200.size").result == "(1, 1)"
    session.close()


def test_a_session_refuses_what_it_cannot_do(box):
    async def main():
        sandbox = box.sandbox
        session = await sandbox.open()
        running = asyncio.create_task(session.run("1", 20))
        await asyncio.sleep(0)
        with pytest.raises(SandboxError, match="running another cell"):
            await session.run("1", 20)
        assert (await running).status == "ok"
        await session.close()
        with pytest.raises(SandboxError, match="closed"):
            await session.run("1", 20)

    box.wait(main())


def test_the_death_of_the_server_ends_the_sessions_and_the_next_open_starts_another(descendants, settle, caplog):
    async def main():
        before = descendants()
        async with LocalSandbox() as sandbox:
            session = await sandbox.open()
            task = asyncio.create_task(session.run("import time; time.sleep(60)", 60))
            await asyncio.sleep(0.3)
            server = [
                pid for pid in descendants() - before if b"guest.server" in Path(f"/proc/{pid}/cmdline").read_bytes()
            ]
            os.kill(min(server), signal.SIGKILL)
            assert (await task).status == "died"
            cell = await session.run("1", 20)
            assert (cell.status, cell.result) == ("ok", "1")
            assert "variables of earlier cells are lost" in cell.stderr
            again = await sandbox.open()
            assert (await again.run("1", 20)).result == "1"

    asyncio.run(main())
    assert "is started again" in caplog.text


HOST = """
import asyncio, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job of a shell ignores it
from foveal.tools.sandbox import LocalSandbox
async def main():
    sandbox = LocalSandbox()
    session = await sandbox.open()
    await session.run("import os, time\\nif os.fork() == 0:\\n    os.setsid()\\n    time.sleep(60)", 20)
    print("up", flush=True)
    await session.run("import time; time.sleep(60)", 60)
asyncio.run(main())
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_if_the_host_dies_everything_dies(end, settle):
    marker = f"foveal-host-{os.getpid()}-{end}"
    environment = {**os.environ, "PYTHONPATH": SOURCE, "MARKER": marker}
    with subprocess.Popen(
        [sys.executable, "-c", HOST], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as host:
        assert host.stdout.readline() == b"up\n"
        below = children_of(host.pid)
        assert len(below) >= 4  # server, first process, runner, daemon
        host.send_signal(end)
        host.wait(60)
    settle(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


def children_of(pid):
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(child), *children_of(int(child))]
    return found


RUN = '''
import asyncio, json, logging, os, sys
from PIL import Image
from foveal.errors import FovealError
from foveal.tools.sandbox import LocalSandbox
logging.basicConfig(stream=sys.stderr)
FORKS = """
import os, time
made = 0
try:
    while made < 100:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        made += 1
except BlockingIOError:
    pass
made
"""
async def main():
    async with LocalSandbox(unsafe_allow_unsandboxed="unsafe" in sys.argv) as sandbox:
        tier = await sandbox.probe()
        session = await sandbox.open([Image.new("RGB", (4, 3), "red")])
        code = "import os, numpy.polynomial, sqlite3\\nprint(os.getuid(), os.getcwd())\\nimage_1.size"
        cell = await session.run(code, 60)
        forks = await session.run(FORKS, 20)
        picture = await session.image("image_1")
        print(json.dumps([tier, cell.result, cell.stdout, cell.stderr, forks.result, picture.size]))
try:
    asyncio.run(main())
except FovealError as error:
    print(json.dumps([type(error).__name__, error.what, error.fix]))
'''


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_gets_the_same_isolation(tmp_path):
    reply = run_as(tmp_path, "user", RUN)
    tier, result, stdout, stderr, forks, size = json.loads(reply.stdout)
    assert (tier, result, stdout, stderr, size) == ("ns", "(4, 3)", "1000 /box\n", "", [4, 3]), reply.stderr
    assert 10 <= int(forks) <= 64


def test_without_isolation_it_refuses_and_names_the_fix(tmp_path):
    reply = run_as(tmp_path, "no-namespaces", RUN)
    kind, what, fix = json.loads(reply.stdout)
    assert kind == "IsolationError"
    assert "no isolation for code" in what
    assert "unshare" in what
    assert "Operation not permitted" in what
    assert fix


def test_without_isolation_code_runs_if_the_user_insists_and_the_log_says_so(tmp_path):
    reply = run_as(tmp_path, "no-namespaces", RUN, "unsafe")
    tier, result, stdout, *_ = json.loads(reply.stdout)
    assert (tier, result) == ("none", "(4, 3)"), reply.stderr
    assert stdout.startswith(f"{os.getuid()} ")
    folder = stdout.split()[1]
    assert not Path(folder).exists()  # it went with the session
    assert "WITHOUT ISOLATION" in reply.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sessions run as that user")
def test_packages_that_only_root_can_read_are_named(tmp_path):
    closed = tmp_path / "site-packages"
    closed.mkdir(mode=0o700)
    environment = {**os.environ, "PYTHONPATH": f"{SOURCE}:{closed}"}
    reply = subprocess.run(
        [sys.executable, "-c", RUN], capture_output=True, text=True, env=environment, timeout=600, check=False
    )
    kind, what, fix = json.loads(reply.stdout)
    assert (kind, fix) == ("SandboxError", f"chmod -R go+rX {closed}")
    assert str(closed) in what


def run_as(folder, how, *arguments):
    """Run Python code as an ordinary user, or where namespaces are refused."""
    environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [sys.executable, str(HERE / "elsewhere.py"), how, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
