"""Runs Python code as an ordinary user, or in a process that may not make namespaces (as in a default container).

python elsewhere.py user|no-namespaces CODE [ARGUMENT]...
"""

import os
import sys
from pathlib import Path

from foveal.tools.sandbox.guest import fences, linux, seccomp

USER = 12345


def become_a_user():
    """Drop root. First make the folders on the way to the interpreter passable: it may lie in root's home."""
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for needed in {sys.base_prefix, sys.prefix, str(Path(seccomp.__file__).parents[4])}:
        closed = [parent for parent in Path(needed).parents if not parent.stat().st_mode & 0o001]
        if closed:
            keep = os.open(needed, os.O_PATH)
            linux.mount("tmpfs", str(closed[-1]), "tmpfs", 0, "mode=755")
            Path(needed).mkdir(parents=True)
            linux.bind(f"/proc/self/fd/{keep}", needed)
    os.environ["HOME"] = "/nonexistent"
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)


def forbid_namespaces():
    """As the system-call filter of a default container does."""
    only = {"unshare": seccomp.DENIED["unshare"], "mount": seccomp.DENIED["mount"]}
    fences.gain_nothing()
    seccomp.install(seccomp.program(only, last=1 << 20))


if __name__ == "__main__":
    {"user": become_a_user, "no-namespaces": forbid_namespaces}[sys.argv[1]]()
    os.execv(sys.executable, [sys.executable, "-c", *sys.argv[2:]])
