"""The fork-server: a clean interpreter that loads the slow packages once and forks one process tree per session.

It holds no secret: it is exec'd with an empty environment and one open socket, and it runs no code of a model. It ends,
and with it every session, when its host process ends or closes the socket.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from . import linux, pictures, session

PRELOADED = (
    *("PIL.Image", "PIL.ImageChops", "PIL.ImageDraw", "PIL.ImageEnhance", "PIL.ImageFilter", "PIL.ImageFont"),
    *("PIL.ImageOps", "PIL.ImageStat"),
    *("numpy", "numpy.fft", "numpy.linalg", "numpy.random", "matplotlib.pyplot"),
    *("ast", "base64", "collections", "csv", "datetime", "fractions", "functools", "io", "itertools", "json", "math"),
    *("random", "re", "statistics", "string", "subprocess", "textwrap", "traceback"),
)
WATCH_SECONDS = 0.1
"""Pause between two looks at the sessions' memory."""
WATCH_MARGIN = 128 << 20
"""A session may exceed its memory by this: a single process shall meet its own limit, a MemoryError, first."""


def main(socket_number: int, host: int) -> NoReturn:
    """Serve sessions on a SOCK_SEQPACKET socket until the host goes.

    Args:
        socket_number: File descriptor of the socket.
        host: Pid of the host process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # also for the sessions' first processes: code may signal them
    link = socket.socket(fileno=socket_number)
    host_alive = os.pidfd_open(host)
    config = json.loads(link.recv(1 << 20))
    preload()
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)  # the init processes of the sessions become our children
    own = os.pidfd_open(os.getpid())
    run_uids = spare_uids()
    gc.collect()
    gc.freeze()  # a collection in a session then touches no page that it shares with us
    link.sendall(json.dumps({"ready": True}).encode())
    poll = select.poll()
    poll.register(link, select.POLLIN)
    poll.register(host_alive, select.POLLIN)
    poll.register(child_ended := wake_on_child(), select.POLLIN)
    started = 0
    while True:
        events = dict(poll.poll(WATCH_SECONDS * 1000 if _children(os.getpid()) else None))
        if child_ended in events:
            os.read(child_ended, 1 << 12)
            reap()
        if host_alive in events:
            os._exit(0)
        if link.fileno() in events:
            message, fds, _, _ = socket.recv_fds(link, 1 << 16, 250)
            if not message:
                os._exit(0)
            uid = run_uids[started % len(run_uids)] if run_uids else None
            started += 1
            start(json.loads(message) | {"config": config, "server": own, "run_uid": uid}, fds)
        watch(link, config["memory"] + WATCH_MARGIN)


def preload() -> None:
    """Import what cells use most, as far as it is installed; seed numpy; warm matplotlib's fonts."""
    for name in PRELOADED:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(name)
    pictures.prepare()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)  # so that a trajectory can be repeated


def spare_uids() -> range | None:
    """User ids that no account uses, for root to run sessions as; None for an ordinary user, who has none to give.

    A session whose only user id is root's outside would keep root's access to files and escape the process limit.
    """
    if os.geteuid() != 0:
        return None
    first, _, count = map(int, Path("/proc/self/uid_map").read_text().splitlines()[-1].split())
    top = min(first + count, 2_000_000_000)
    return range(top - 1100, top - 100) if count > 2000 else None


def wake_on_child() -> int:
    """A pipe that becomes readable when a child has ended."""
    readable, writable = os.pipe()
    for fd in (readable, writable):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return readable


def reap() -> None:
    """Take note of all children that have ended, so that the kernel can forget them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def start(request: dict[str, Any], fds: list[int]) -> None:
    """Fork a session and write the id maps of its user namespace, which it cannot do for itself."""
    wants_maps, unshared = os.pipe()
    go, mapped = os.pipe()
    pid = os.fork()
    if pid == 0:
        session.start(request, fds, unshared, go)
    for fd in (unshared, go, *fds):
        os.close(fd)
    if os.read(wants_maps, 1):
        with contextlib.suppress(ProcessLookupError):
            write_maps(pid, request["run_uid"])
    os.close(wants_maps)
    os.close(mapped)


def write_maps(pid: int, run_uid: int | None) -> None:
    """The user namespace of `pid`: as root 0 builds the session and 1000 runs it; as a user 1000 does both."""
    folder = Path(f"/proc/{pid}")
    if run_uid is None:
        (folder / "setgroups").write_text("deny")
        (folder / "uid_map").write_text(f"{session.UID} {os.geteuid()} 1\n")
        (folder / "gid_map").write_text(f"{session.UID} {os.getegid()} 1\n")
    else:
        for name in ("uid_map", "gid_map"):
            (folder / name).write_text(f"0 0 1\n{session.UID} {run_uid} 1\n")


def watch(link: socket.socket, limit: int) -> None:
    """Kill each session whose processes together hold more memory than `limit` bytes, and tell the host which."""
    for pid in _children(os.getpid()):
        if _memory(pid, _upper_bound) > limit and _memory(pid, _exact) > limit:
            with contextlib.suppress(BlockingIOError):  # a host that never reads must not stop the watch
                link.send(json.dumps({"over_memory": pid}).encode(), socket.MSG_DONTWAIT)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _memory(pid: int, measure: Callable[[int], int]) -> int:
    """Bytes that a process and its descendants hold."""
    own = next(filter(None, map(measure, _threads(pid))), 0)  # a thread that has ended shows no memory, the first, too
    return own + sum(_memory(child, measure) for child in _children(pid))


def _upper_bound(pid: int) -> int:
    """Memory that is not a file's; pages shared with other processes count in full. Cheap."""
    return _kilobytes(pid, "status", ("RssAnon:", "RssShmem:", "VmSwap:"))


def _exact(pid: int) -> int:
    """Memory with shared pages divided among their users. Slower, and a process can forbid it."""
    return _kilobytes(pid, "smaps_rollup", ("Pss:", "SwapPss:")) or _upper_bound(pid)


def _kilobytes(pid: int, file: str, rows: tuple[str, ...]) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:  # the process is gone, or forbids it
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(rows))


def _children(pid: int) -> list[int]:
    """Children of all threads of a process: the kernel lists those of each thread apart."""
    found: list[int] = []
    for thread in _threads(pid):
        with contextlib.suppress(OSError):  # it is gone
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _threads(pid: int) -> list[int]:
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]  # noqa: PTH208 - names only, no paths
    except OSError:  # the process is gone
        return []
