"""Files that a kill may interrupt, and folders that other processes may write to as well."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from foveal.errors import InputError


@contextlib.contextmanager
def alone(folder: Path, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing to a folder at the same time, which is made if it is not there.

    Args:
        folder: Where; not what lies deeper.
        wait: Wait for another process instead of giving up: for what takes no time.

    Raises:
        InputError: Another process is writing to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise InputError(f"another process is writing to {folder}", "wait for it, or name another folder") from None
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of another when it is whole on the disk; for who is `alone` in the folder."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="\n") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is the old one until the new one is whole on the disk; several may do so at once.

    Raises:
        InputError: It cannot be written.
    """
    try:
        with alone(path.parent, wait=True), replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}", "make room on the disk") from error


def write_content(path: Path, content: bytes) -> None:
    """Write a file that is named by what it holds, whole or not at all; several may do so at once, without waiting."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o644)
        file.write(content)
        file.flush()
        os.fsync(handle)
    Path(part).replace(path)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
