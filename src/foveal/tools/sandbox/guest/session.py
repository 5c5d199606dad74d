"""From a forked process to a fenced session: namespaces, own file tree, limits, then the cells."""

import os
import random
import select
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

from . import cells, fences, frames, linux, root, seccomp

UID = 1000
"""User and group id of a session, inside."""
FILTER = seccomp.program()
NAMESPACES = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)


def start(request: dict[str, Any], fds: list[int], unshared: int, go: int) -> NoReturn:
    """Become the session in a process that the server just forked. Never returns.

    Args:
        request: What the host asked for, the server's settings and the run uid.
        fds: Control socket, pipes for stdout and stderr, canvas for pictures, then one file per input picture.
        unshared: Pipe that tells the server that the user namespace is there.
        go: Pipe whose end says that its id maps are written.
    """
    control = fds[0]
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but({*fds, unshared, go, request["server"]})
        if request["isolated"]:
            # If the machine runs out of memory, the kernel shall end this session, not the host or its training.
            Path("/proc/self/oom_score_adj").write_text("1000")
            linux.unshare(linux.CLONE_NEWUSER)
            os.write(unshared, b"u")
            os.close(unshared)
            os.read(go, 1)
            os.close(go)
            if request["run_uid"] is not None:
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
            linux.unshare(NAMESPACES)
        parent = os.pidfd_open(os.getpid())
        if os.fork() == 0:
            code = _init(request, fds, parent)
    except Exception as error:
        frames.write(control, {"failed": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(code)


def _init(request: dict[str, Any], fds: list[int], parent: int) -> int:
    """The first process of the pid namespace: builds the fences, forks the process that runs cells, waits for it."""
    control, stdout, stderr, canvas, *pictures = fds
    config, run_uid = request["config"], request["run_uid"]
    os.setsid()  # the server's process group holds all sessions: kill(0, ...) and setpriority would reach them
    if request["isolated"]:
        root.build(config["binds"], config["scratch"], config["scratch_files"], UID)
        socket.sethostname("sandbox")
        readable = ["/proc", "/etc", *(target for source, target in config["binds"] if source.startswith("/"))]
        fences.drop_rights(None if run_uid is None else UID)
        fences.landlock(readable, [*root.WRITABLE, *root.DEVICES])
    else:
        os.chdir(request["folder"])
        fences.gain_nothing()
    _die_with_the_server(parent, request["server"])
    if request["isolated"]:
        seccomp.install(FILTER)
    fences.show_in_proc(False)
    init = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        os.close(init)
        _become_cells(request, control, stdout, stderr, canvas, pictures)
    own = os.pidfd_open(child)
    link = socket.socket(fileno=os.dup(control))
    socket.send_fds(link, [frames.pack({"started": True})], [init, own])
    for fd in (init, own, stdout, stderr, canvas, *pictures):
        os.close(fd)
    status = _wait_for(child)
    frames.write(control, {"ended": os.waitstatus_to_exitcode(status)})
    return 0


def _die_with_the_server(parent: int, server: int) -> None:
    """Ask the kernel to kill this process when the server ends; first wait until the server is its parent."""
    select.select([parent], [], [])
    os.close(parent)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([server], [], [], 0)[0]:
        os._exit(1)
    os.close(server)


def _become_cells(
    request: dict[str, Any], control: int, stdout: int, stderr: int, canvas: int, pictures: list[int]
) -> NoReturn:
    config = request["config"]
    null = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((null, 0), (stdout, 1), (stderr, 2)):
        os.dup2(source, target)
        os.close(source)
    fences.show_in_proc(True)
    processes = config["processes"] if request["isolated"] else None
    fences.limit_resources(config["memory"], processes, config["file"], config["files"])
    os.environ.clear()
    os.environ.update(config["environment"])
    if not request["isolated"]:
        os.environ.update(HOME=request["folder"], TMPDIR=request["folder"])
    random.seed(0)  # a fork had seeded it anew; numpy's generator is as `server.preload` left it
    cells.serve(control, canvas, pictures, config)


def _wait_for(child: int) -> int:
    """Reap whatever ends until `child` does; its wait status."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _close_all_but(kept: set[int]) -> None:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names only, no paths
        fd = int(name)
        if fd > 2 and fd not in kept:
            try:
                os.close(fd)
            except OSError:  # the descriptor of the listing itself
                continue
