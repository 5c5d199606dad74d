"""A session's own file tree: an empty root with read-only binds of an allow-list, and a private work folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from . import linux
from .linux import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, mount

WORK = "/box"
WRITABLE = (WORK, "/tmp", "/dev/shm")
"""Folders that a session may write to. They share one size limit."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def build(binds: Sequence[tuple[str, str]], scratch_bytes: int, scratch_files: int, owner: int) -> None:
    """Make the file tree and move into it. Needs capabilities in a fresh user, mount and pid namespace.

    Args:
        binds: Pairs of real path outside and path inside, read-only. A relative first path is the text of a symlink.
        scratch_bytes: Size limit of everything that the session writes.
        scratch_files: Limit of the number of files that the session writes.
        owner: User and group id (inside) that the writable folders belong to.

    Raises:
        OSError: The kernel refused a step; the text names it.
    """
    mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    # The new root is mounted over a folder that every machine has. The old tree stays whole at /old until the end.
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=2k,mode=755")
    os.chdir("/tmp")
    Path("old").mkdir()
    linux.pivot_root(".", "old")
    os.chdir("/")
    _writable_folders(scratch_bytes, scratch_files, owner)  # first: an interpreter may live under /tmp
    for source, target in binds:
        _place(source, target)
    Path("/proc").mkdir()
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    for device in DEVICES:
        _place(device, device, read_only=False)
    Path("/etc").mkdir(exist_ok=True)
    Path("/etc/passwd").write_text(f"user:x:{owner}:{owner}::{WORK}:/bin/sh\n")
    Path("/etc/group").write_text(f"user:x:{owner}:\n")
    linux.unmount("/old")
    Path("/old").rmdir()
    linux.restrict_mount("/", recursive=False)
    os.chdir(WORK)


def _place(source: str, target: str, read_only: bool = True) -> None:
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    if not source.startswith("/"):
        Path(target).symlink_to(source)
        return
    source = "/old" + source
    if Path(source).is_dir():
        Path(target).mkdir(exist_ok=True)
    else:
        Path(target).touch()
    linux.bind(source, target)
    if read_only:
        linux.restrict_mount(target, recursive=True)


def _writable_folders(size: int, files: int, owner: int) -> None:
    Path("/scratch").mkdir()
    mount("tmpfs", "/scratch", "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},nr_inodes={files},mode=755")
    for number, target in enumerate(WRITABLE):
        source = Path(f"/scratch/{number}")
        source.mkdir()
        os.chown(source, owner, owner)
        source.chmod(0o700)
        Path(target).mkdir(parents=True)
        linux.bind(str(source), target)
    linux.unmount("/scratch")
    Path("/scratch").rmdir()
