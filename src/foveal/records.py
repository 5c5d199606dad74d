"""A run folder: `trajectories.jsonl`, one trajectory a line, and `images/`, one PNG for every picture they name.

Crash safety: pictures are on the disk before the line that names them; a line is written in one piece and flushed to
the disk before `write` returns. A killed writer loses at most the line that it was writing; the reader says so, and
a resumed writer moves the torn line aside. One process writes to a folder at a time (a lock held by the kernel).
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pydantic import ValidationError

from foveal.errors import RecordError
from foveal.trajectory import FORMAT_VERSION, ImageRef, ImageStore, Trajectory

FILE = "trajectories.jsonl"
IMAGES = "images"
TAIL = 2**20
"""Bytes that are read at a time to find the last line of a run."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A saved run."""

    trajectories: tuple[Trajectory, ...]
    images: ImageStore
    problems: tuple[str, ...]
    """What could not be read, one sentence each; empty for a whole run."""


class RunWriter:
    """Appends trajectories to a run folder.

    Args:
        folder: Made if it is not there.
        resume: Go on with a run that the folder already holds.
        pictures: Keep the pictures. Without them a run can be scored and counted, but not be drawn or learned from.

    Attributes:
        images: The pictures of the run. Put pictures here directly, or name their store in `write`.
        pictures: Whether they are kept.
        torn: Where a torn last line of the earlier writer was moved, or None.

    Raises:
        RecordError: The folder holds a run and `resume` is False, another process is writing to it, or it holds a run
            of another format version.
    """

    def __init__(self, folder: Path, resume: bool = False, pictures: bool = True):
        self.folder, self.pictures = folder, pictures
        self.images = ImageStore(folder / IMAGES)
        self.torn: Path | None = None
        path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._file, path)
            if os.fstat(self._file).st_size:
                if not resume:
                    raise RecordError(f"{path} already holds a run", "name another folder, or resume this run")
                self._mend(path)
            sync(folder)
        except BaseException:
            os.close(self._file)
            raise

    def _mend(self, path: Path) -> None:
        """Deal with what a killed writer left behind its last newline; a long run is not read for that."""
        with path.open("rb") as file:
            first = file.readline()
            rest = first if not first.endswith(b"\n") else _behind_last_newline(file)
            if rest is not first:
                with contextlib.suppress(_Broken):  # a damaged line is for the reader to tell of
                    _parse_line(first.rstrip(b"\n"), path, 1)  # refuses a run of another version
            if not rest:
                return
            file.seek(0)
            number = sum(1 for _ in file)
        try:
            _parse_line(rest, path, number)
        except _Broken:
            self.torn = _free_name(self.folder)
            with self.torn.open("wb") as part:
                part.write(rest)
                part.flush()
                os.fsync(part.fileno())
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(rest))
            log.warning("%s ended in a torn line of %d bytes; moved to %s", path, len(rest), self.torn)
        else:
            os.write(self._file, b"\n")  # only the newline was missing
        os.fsync(self._file)

    def write(self, trajectory: Trajectory, images: ImageStore | None = None) -> None:
        """Append one trajectory; it is on the disk when this returns.

        Args:
            trajectory: The record.
            images: Where its pictures are, if not in `self.images` already.

        Raises:
            RecordError: A picture of the trajectory is missing, or the disk took only a part of the line.
        """
        if not self.pictures:
            pass
        elif images is not None and images is not self.images:
            images.copy_to(self.images, sorted(trajectory.refs, key=lambda ref: ref.sha256))
        elif missing := _missing(self.folder, trajectory):
            raise RecordError(
                f"picture {missing[0].sha256[:12]}… of trajectory {trajectory.id} is not in {self.folder / IMAGES}",
                "name the store that holds it: write(trajectory, images)",
            )
        if self.pictures and trajectory.refs:
            sync(self.folder / IMAGES)
        line = trajectory.model_dump_json().encode() + b"\n"
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes written")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise RecordError(f"{self.folder / FILE} cannot be written: {error}", "make room on the disk") from error

    def close(self) -> None:
        """Let go of the folder. Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> "RunWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_run(folder: Path) -> Run:
    """Everything that can be read of a run, and a sentence for everything that cannot.

    Raises:
        RecordError: There is no run in `folder`, or it was written in a format version that this reader does not know.
    """
    path = folder / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise RecordError(f"{folder} holds no run: there is no {FILE}", "name the folder of a run") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    trajectories: list[Trajectory] = []
    problems: list[str] = []
    seen: set[str] = set()
    lines = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line:
            continue
        try:
            trajectory = _parse_line(line, path, number)
        except _Broken as broken:
            torn = number == len(lines)
            problems.append(
                f"line {number} is torn: its writer was killed ({len(line)} bytes)" if torn else str(broken)
            )
            continue
        if trajectory.id in seen:
            problems.append(f"line {number}: trajectory {trajectory.id} was already on an earlier line")
        seen.add(trajectory.id)
        problems += [
            f"line {number}: picture {ref.sha256[:12]}… of trajectory {trajectory.id} is missing"
            for ref in _missing(folder, trajectory)
        ]
        trajectories.append(trajectory)
    problems += [f"{file.name} holds a torn line of an earlier writer" for file in sorted(folder.glob("torn-*.part"))]
    return Run(tuple(trajectories), ImageStore(folder / IMAGES), tuple(problems))


def scan_run(folder: Path) -> Iterator[Trajectory]:
    """The trajectories of a run one by one, for runs too large to be held; pictures are not looked for.

    A line that cannot be read is left out and logged. Nothing comes where there is no run yet.

    Raises:
        RecordError: The run was written in a format version that this reader does not know.
    """
    path = folder / FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield _parse_line(line.rstrip(b"\n"), path, number)
            except _Broken as broken:
                log.warning("%s: %s", path, broken)


class RunEditor:
    """The trajectories of a run, to be replaced by others of the same length. Made by `edit_run`.

    Attributes:
        trajectories: Every trajectory that can be read, in order.
        unreadable: Lines that cannot; they stay as they are.
    """

    def __init__(self, path: Path):
        self._path = path
        content = path.read_bytes()
        self._lines = re.findall(rb"[^\n]*\n|[^\n]+", content)
        self._numbers: list[int] = []
        found = []
        for number, line in enumerate(self._lines):
            with contextlib.suppress(_Broken):
                found.append(_parse_line(line.rstrip(b"\n"), path, number + 1))
                self._numbers.append(number)
        self.trajectories = tuple(found)
        self.unreadable = len(self._lines) - len(found)

    def replace(self, trajectories: Sequence[Trajectory]) -> None:
        """Put others in their places: the file is the old one until the new one is whole on the disk.

        Raises:
            RecordError: The folder cannot be written; the run is as it was.
        """
        lines = list(self._lines)
        for number, trajectory in zip(self._numbers, trajectories, strict=True):
            lines[number] = trajectory.model_dump_json().encode() + b"\n"
        temporary = None
        try:
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=".part-")
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, self._path.stat().st_mode & 0o777)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
            sync(self._path.parent)
        except OSError as error:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            raise RecordError(f"{self._path} cannot be written: {error}", "make room on the disk") from error


@contextlib.contextmanager
def edit_run(folder: Path) -> Iterator[RunEditor]:
    """Change what is written in a run; nobody else can write to it meanwhile.

    Raises:
        RecordError: There is no run in `folder`, another process is writing to it, or it was written in a format
            version that this reader does not know.
    """
    path = folder / FILE
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        raise RecordError(f"{folder} holds no run: there is no {FILE}", "name the folder of a run") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error}") from error
    try:
        _lock(file, path)
        yield RunEditor(path)
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        taken = True
    else:
        # An editor may have put a new file in its place since this one was opened.
        taken = not path.exists() or not os.path.samestat(os.fstat(file), path.stat())
    if taken:
        raise RecordError(f"another process is writing to {path.parent}", "wait for it, or name another folder")


class _Broken(Exception):
    """A line that is no trajectory."""


def _parse_line(line: bytes, path: Path, number: int) -> Trajectory:
    try:
        return Trajectory.model_validate_json(line)
    except ValidationError as error:
        version = _version(line)
        if version is not None and version != FORMAT_VERSION:
            raise RecordError(
                f"{path} line {number} is of format version {version}; this foveal reads version {FORMAT_VERSION}",
                "read it with the foveal that wrote it, or with a newer one",
            ) from None
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(key) for key in first["loc"])
        raise _Broken(f"line {number} cannot be read: {where} {first['msg']}".replace("  ", " ")) from None


def _version(line: bytes) -> object:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value.get("version") if isinstance(value, dict) else None


def _missing(folder: Path, trajectory: Trajectory) -> list[ImageRef]:
    refs = sorted(trajectory.refs, key=lambda ref: ref.sha256)
    return [ref for ref in refs if not (folder / IMAGES / f"{ref.sha256}.png").exists()]


def _behind_last_newline(file: BinaryIO) -> bytes:
    """What stands behind the last newline of a file that has one."""
    end, tail = file.seek(0, os.SEEK_END), b""
    while b"\n" not in tail:
        start = max(0, end - TAIL)
        file.seek(start)
        tail, end = file.read(end - start) + tail, start
    return tail.rpartition(b"\n")[2]


def _free_name(folder: Path) -> Path:
    number = 1
    while (path := folder / f"torn-{number}.part").exists():
        number += 1
    return path


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
