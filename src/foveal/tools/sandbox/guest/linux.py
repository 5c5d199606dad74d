"""The system calls that Python's standard library lacks, through ctypes."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.unshare.argtypes = [ctypes.c_int]
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.syscall.restype = ctypes.c_long

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

SYS_CAPSET = 126
SYS_PIVOT_ROOT = 155
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446


class MountAttributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def syscall(what: str, number: int, *arguments: "int | bytes | ctypes.Structure | None") -> int:
    """A raw system call. `what` names it in the error.

    Raises:
        OSError: The call failed.
    """
    return _checked(_libc.syscall(ctypes.c_long(number), *map(_argument, arguments)), what)


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mount a file system, or change a mount."""
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _checked(_libc.mount(encoded[0], encoded[1], encoded[2], flags, encoded[3]), f"mount {target}")


def bind(source: str, target: str) -> None:
    """Bind a folder or file with everything mounted under it."""
    mount(source, target, None, MS_BIND | MS_REC)


def restrict_mount(target: str, recursive: bool) -> None:
    """Make a mount read-only, without set-uid programs and devices. Only ever adds flags, so locked mounts allow it."""
    attributes = MountAttributes(set=MS_RDONLY | MS_NOSUID | MS_NODEV)
    at_fdcwd, at_recursive = -100, 0x8000 if recursive else 0
    size = ctypes.sizeof(attributes)
    what = f"mount_setattr {target} (needs Linux 5.12)"
    syscall(what, SYS_MOUNT_SETATTR, at_fdcwd, target.encode(), at_recursive, attributes, size)


def unmount(target: str) -> None:
    """Detach a mount."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root; the old root is then at `old`, a folder under `new`."""
    syscall("pivot_root", SYS_PIVOT_ROOT, new.encode(), old.encode())


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for fresh ones."""
    _checked(_libc.unshare(flags), "unshare")


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """Set an attribute of this process."""
    return _checked(_libc.prctl(option, value, third, 0, 0), f"prctl {option}")


def _argument(value: "int | bytes | ctypes.Structure | None") -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    return ctypes.c_char_p(value)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
