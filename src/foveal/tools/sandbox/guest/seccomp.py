"""A deny-list of system calls, as raw BPF. x86-64 only.

Denied calls fail with EPERM, as they would for any process without rights, so that code meets an ordinary error.
"""

import ctypes
import errno
import platform
import struct
from collections.abc import Mapping

from .linux import PR_SET_SECCOMP, prctl

ARCHITECTURE = "x86_64"

DENIED = {
    "shmget": 29,  # memory that no rlimit counts
    "socket": 41,
    "connect": 42,
    "bind": 49,
    "setsockopt": 54,  # a socket pair keeps up to `wmem_max`, megabytes, that nothing counts
    "semget": 64,
    "msgget": 68,
    "ptrace": 101,
    "syslog": 103,
    "uselib": 134,
    "modify_ldt": 154,
    "pivot_root": 155,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "io_setup": 206,  # takes from a number that the whole machine shares
    "mq_open": 240,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "inotify_init": 253,  # each takes from the few that the host's user has
    "migrate_pages": 256,
    "unshare": 272,
    "vmsplice": 278,  # a byte in a pipe holds 2 MB of memory that nothing counts
    "move_pages": 279,
    "inotify_init1": 294,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "memfd_create": 319,  # memory that no rlimit counts
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
}
LAST_KNOWN = 456
"""Newer calls than this (futex_requeue, Linux 6.7) do not exist for the session: ENOSYS."""
SOCKETPAIR, CLONE, CLONE3 = 53, 56, 435
X32_BIT = 0x4000_0000
NAMESPACE_FLAGS = 0x7E02_0080
"""CLONE_NEWUSER, NEWPID, NEWNET, NEWIPC, NEWUTS, NEWCGROUP, NEWNS and NEWTIME."""

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_AUDIT_ARCH_X86_64 = 0xC000_003E


def program(denied: Mapping[str, int] = DENIED, last: int = LAST_KNOWN) -> bytes:
    """The filter as BPF instructions.

    Args:
        denied: Numbers of the calls that fail with EPERM.
        last: Calls with greater numbers do not exist.
    """
    deny, missing = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_GREATER_EQUAL, 0, 1, X32_BIT),  # the x32 interface
        (_RETURN, 0, 0, _KILL),
        (_JUMP_GREATER, 0, 1, last),
        (_RETURN, 0, 0, missing),
        (_JUMP_EQUAL, 0, 1, CLONE3),  # its flags are behind a pointer: absent, so that libc falls back to clone
        (_RETURN, 0, 0, missing),
    ]
    for number in denied.values():
        code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, deny)]
    code += [
        (_JUMP_EQUAL, 0, 4, CLONE),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_ANY_BIT, 0, 1, NAMESPACE_FLAGS),
        (_RETURN, 0, 0, deny),
        (_RETURN, 0, 0, _ALLOW),
        (_JUMP_EQUAL, 0, 3, SOCKETPAIR),  # asyncio and multiprocessing need it; AF_UNIX (1) only
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, 1),
        (_RETURN, 0, 0, deny),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def install(filter_program: bytes) -> None:
    """Filter this process and its children for good. Needs `no_new_privs`.

    Raises:
        OSError: The kernel refused, or this is not an x86-64 machine.
    """
    if platform.machine() != ARCHITECTURE:
        raise OSError(errno.ENOSYS, f"seccomp: the filter is written for {ARCHITECTURE}, this is {platform.machine()}")
    buffer = ctypes.create_string_buffer(filter_program, len(filter_program))
    header = _Program(len(filter_program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl(PR_SET_SECCOMP, 2, ctypes.addressof(header))


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))
