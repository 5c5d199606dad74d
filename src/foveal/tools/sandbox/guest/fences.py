"""Everything that takes rights away from a session's processes, in the order in which it is applied."""

import errno
import os
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

from . import linux
from .linux import prctl, syscall

_READ = 0b1101
"""LANDLOCK_ACCESS_FS_EXECUTE, READ_FILE and READ_DIR."""
_LIST = 0b1000
_ON_FILES = 0b111 | 1 << 14 | 1 << 15
"""The rights that a rule on a file (not a folder) may name: EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE, IOCTL_DEV."""


def drop_rights(uid: int | None) -> None:
    """Give up every capability and every way to get one back. Needs all of them in the user namespace.

    Args:
        uid: User and group id (inside) to become for good; None stays who one is.
    """
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        prctl(linux.PR_CAPBSET_DROP, number)
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    header, empty_sets = struct.pack("Ii", 0x2008_0522, 0), bytes(24)
    syscall("capset", linux.SYS_CAPSET, header, empty_sets)
    prctl(linux.PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL
    gain_nothing()


def gain_nothing() -> None:
    """No program that this process or its children start gains rights by it."""
    prctl(linux.PR_SET_NO_NEW_PRIVS, 1)


def limit_resources(memory: int, processes: int | None, file_bytes: int, files: int) -> None:
    """Set the resource limits of this process and its children.

    Args:
        memory: Bytes of address space on top of what the process has now.
        processes: Processes and threads of the session; None sets no limit.
        file_bytes: Largest file.
        files: Open files of one process.
    """
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: now + memory,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    if processes is not None:
        limits[resource.RLIMIT_NPROC] = processes
    for which, value in limits.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def landlock(readable: Sequence[str], writable: Sequence[str]) -> int:
    """A second fence around the file tree, TCP, abstract sockets and signals, as far as the kernel knows Landlock.

    The namespaces already hide all of this. The fence is there for the day when one of them has a hole.

    Args:
        readable: Folders that may be read and executed.
        writable: Folders and devices that may be written, too.

    Returns:
        The kernel's Landlock version; 0 if it has none, and then nothing was done.
    """
    try:
        version = syscall("landlock", linux.SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise
    every = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    network, scopes = 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0
    attributes = struct.pack("QQQ", every, network, scopes)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = syscall("landlock", linux.SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    _allow(rules, "/", _LIST)
    for path in readable:
        _allow(rules, path, _READ)
    for path in writable:
        _allow(rules, path, every)
    syscall("landlock", linux.SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not Path(path).is_dir():
        rights &= _ON_FILES
    syscall(f"landlock {path}", linux.SYS_LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", rights, folder), 0)
    os.close(folder)


def show_in_proc(visible: bool) -> None:
    """Whether processes of the same user may look into this one. Changing the user id turns it off."""
    prctl(linux.PR_SET_DUMPABLE, int(visible))
