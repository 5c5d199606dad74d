"""Starts the fork-server: a fresh interpreter with an empty environment and an allow-list of folders."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from foveal.tools.sandbox.guest.root import WORK
from foveal.tools.sandbox.limits import SandboxLimits

SYSTEM_FOLDERS = (
    *("/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/usr/bin", "/lib", "/lib32", "/lib64", "/bin"),
    *("/usr/share/fonts", "/usr/local/share/fonts", "/usr/share/zoneinfo", "/var/cache/fontconfig", "/nix/store"),
    *("/etc/fonts", "/etc/alternatives", "/etc/ld.so.cache"),
)
"""What a session sees of the machine, besides the interpreter and its packages. Read-only."""
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_START = (
    "import sys; sys.path[:] = [sys.argv[1], *sys.path, *sys.argv[4:]]; from guest.server import main; "
    "del sys.path[0]; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class Server(NamedTuple):
    """A running fork-server."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    """SOCK_SEQPACKET, not blocking. The server and all its sessions end when it is closed."""
    log: int
    """File in memory with what the server wrote to stderr."""

    def last_words(self) -> str:
        """The end of the server's stderr."""
        size = os.fstat(self.log).st_size
        return os.pread(self.log, 2000, max(0, size - 2000)).decode(errors="replace").strip()

    def close(self) -> None:
        """End the server and all its sessions."""
        self.link.close()
        self.process.kill()  # its sessions die with it
        self.process.wait()
        os.close(self.log)


def start_server(limits: SandboxLimits) -> Server:
    """Start a fork-server. It says so on its link when it is ready."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = os.memfd_create("foveal-sandbox-log")
    # As `python -I`, but the hash seed is read from the environment: sets keep their order from run to run.
    site = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages") and Path(path).is_dir()]
    command = [_interpreter(), "-s", "-S", "-P", "-B", "-c", _START, str(Path(__file__).parent)]
    with theirs:
        process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(os.getpid()), *site],
            env=_server_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C in a terminal is for the host, not for the sessions
        )
    ours.setblocking(False)
    ours.send(json.dumps(server_config(limits, site)).encode())
    return Server(process, ours, log)


def server_config(limits: SandboxLimits, site: list[str]) -> dict[str, Any]:
    """The settings of a fork-server, as it wants them."""
    return {
        "binds": allow_list(site),
        "memory": limits.memory_mb << 20,
        "processes": limits.processes,
        "scratch": limits.files_mb << 20,
        "scratch_files": 20_000,
        "file": max(limits.files_mb << 20, limits.canvas_bytes),
        "files": limits.open_files,
        "images": limits.images,
        "pixels": limits.canvas_bytes // 3,
        "result": limits.output_bytes,
        "environment": {
            "HOME": WORK,
            "USER": "user",
            "TMPDIR": "/tmp",
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": "/tmp/matplotlib",
            "PYTHONPATH": ":".join(site),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            **ONE_THREAD,
        },
    }


def allow_list(site: list[str]) -> list[tuple[str, str]]:
    """Pairs of real path and path inside the session. The first is the text of a link where the system has a link."""
    prefixes = {sys.base_prefix, sys.base_exec_prefix}
    python = [f"{prefix}/{name}" for prefix in sorted(prefixes) for name in ("bin", "lib", "lib64")]
    links = [path for path in SYSTEM_FOLDERS if Path(path).is_symlink()]
    paths = {path for path in (*SYSTEM_FOLDERS, *python, *site) if path not in links and Path(path).exists()}
    tops = sorted(path for path in paths if not any(str(parent) in paths for parent in Path(path).parents))
    return [(str(Path(path).readlink()).lstrip("/"), path) for path in links] + [
        (str(Path(path).resolve()), path) for path in tops
    ]


def _interpreter() -> str:
    # The venv's python is a link to this one and would look for its pyvenv.cfg.
    return str(getattr(sys, "_base_executable", sys.executable))


def _server_environment() -> dict[str, str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "MALLOC_ARENA_MAX": "2",  # each arena of a thread reserves 64 MB of the session's address space
        "PYTHONHASHSEED": "0",
        "PYTHONUTF8": "1",
        **ONE_THREAD,
    }
    if "LD_LIBRARY_PATH" in os.environ:  # some interpreters do not start without
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "foveal" / "matplotlib"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:  # no home to write to: matplotlib then lists the fonts anew at every start
        return environment
    return environment | {"MPLCONFIGDIR": str(cache)}
