"""The probe: a session that tries to break out. What it can do decides whether code may run on this machine."""

import json
import os
import platform
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from foveal.tools.base import CodeSession

ATTEMPTS = """
import ctypes, json, os, pathlib, resource, socket, subprocess, sys
breaches = []

def attempt(what, action):
    try:
        action()
    except (OSError, ImportError):
        return
    breaches.append(what)

def network():
    with socket.create_connection(("127.0.0.1", port), 1):
        pass

def new_namespace():
    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000):
        raise OSError

attempt("it reads files of this machine", lambda: open(secret).read())
attempt("it reaches this machine's network", network)
attempt("it makes namespaces of its own", new_namespace)
attempt("it signals processes of this machine", lambda: os.kill(host, 0))
for folder in ("/", "/proc/sys/kernel", "/usr/lib", os.path.dirname(os.__file__)):
    attempt(f"it writes to {folder}", lambda: open(folder + "/canary", "w"))
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines())
wanted = dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0) | {"NoNewPrivs": 1, "Seccomp": 2}
for name, value in wanted.items():
    if int(status[name], 16) != value:
        breaches.append(f"{name} is {status[name]}")
if any(line.split()[1] == "0" for line in open("/proc/self/uid_map") if line.split()[0] == str(os.getuid())):
    breaches.append("it runs as root of this machine")
if sum(name.isdigit() for name in os.listdir("/proc")) > 3:
    breaches.append("it sees processes of this machine")
for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE"):
    if resource.getrlimit(getattr(resource, name))[1] == resource.RLIM_INFINITY:
        breaches.append(f"{name} is not set")
unreadable = []
for path in sys.path + [os.path.dirname(sys.modules["PIL"].__file__)]:
    try:
        os.path.isdir(path) and os.listdir(path)
    except OSError:
        unreadable.append(path)
print(json.dumps([breaches, unreadable]))
"""
"""Prints what should not have worked, and folders of packages that it cannot read."""


class Findings(NamedTuple):
    """What the canary found."""

    breaches: list[str]
    """What code in a session can do and must not; empty if the isolation holds."""
    unreadable: list[str]
    """Folders of packages that a session's user may not read."""


async def release(open_session: Callable[[], Awaitable[CodeSession]]) -> Findings:
    """Let a session try.

    Raises:
        SandboxError: No session could be started.
    """
    session = await open_session()
    try:
        with tempfile.NamedTemporaryFile("w", prefix="foveal-canary-") as secret, socket.socket() as listener:
            secret.write("canary")
            secret.flush()
            Path(secret.name).chmod(0o644)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            known = f"secret, port, host = {secret.name!r}, {listener.getsockname()[1]}, {os.getpid()}\n"
            cell = await session.run(known + ATTEMPTS, timeout=30)
    finally:
        await session.close()
    if cell.status != "ok":
        return Findings([f"the canary failed: {(cell.stderr or cell.status).strip().splitlines()[-1]}"], [])
    return Findings(*json.loads(cell.stdout))


def fix() -> str:
    """What most likely mends a machine without isolation."""
    if platform.machine() != "x86_64":
        return f"run on x86-64: the system-call filter is not written for {platform.machine()} yet"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    if _setting("kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl kernel.unprivileged_userns_clone=1"
    if _setting("user/max_user_namespaces") == "0":
        return "sudo sysctl user.max_user_namespaces=10000"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return (
            "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined"
        )
    return "use Linux 5.12 or newer where user namespaces are allowed (try: unshare --user --mount --pid --fork true)"


def _setting(name: str) -> str | None:
    try:
        return Path(f"/proc/sys/{name}").read_text().strip()
    except OSError:  # this kernel does not have it
        return None
