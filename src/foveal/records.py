"""A run folder: `trajectories.jsonl`, one trajectory a line, and `images/`, one PNG for every picture they name.

Crash safety: pictures are on the disk before the line that names them; a line is written in one piece and flushed to
the disk before `write` returns. A killed writer loses at most the line that it was writing; the reader says so, and
a resumed writer moves the torn line aside. One process writes to a folder at a time (a lock held by the kernel).
"""

import contextlib
import fcntl
import itertools
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pydantic import ValidationError

from foveal.errors import RecordError
from foveal.files import sync
from foveal.trajectory import FORMAT_VERSION, ImageRef, ImageStore, Trajectory

FILE = "trajectories.jsonl"
IMAGES = "images"
TAIL = 2**20
"""Bytes that are read at a time to find the last line of a run."""
BATCH = 64
"""Trajectories that are held at a time while a run is written anew."""

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


Change = Callable[[Sequence[Trajectory]], Awaitable[Sequence[Trajectory]]]
"""Gives the trajectories that take the places of those of a batch; one that stays is given back itself."""


class RunEditor:
    """A run that is written anew a batch at a time, for it may be too large to be held. Made by `edit_run`.

    Attributes:
        unreadable: Lines that the last draft has found to be no trajectory; they stay as they are.
    """

    def __init__(self, path: Path):
        self._path, self._part = path, path.with_name(f".{path.name}.part")
        self.unreadable = 0

    async def draft(self, change: Change) -> None:
        """Write the run anew beside the old one, in the same order. A kill meanwhile leaves the old one as it was.

        Args:
            change: Called with one batch after the other.

        Raises:
            RecordError: The folder cannot be written, or the run was written in a format version that this reader does
                not know; the run is as it was.
        """
        self.unreadable = 0
        try:
            with self._path.open("rb") as old, self._part.open("wb") as new:
                os.fchmod(new.fileno(), os.fstat(old.fileno()).st_mode & 0o777)
                lines = enumerate(old, start=1)
                while batch := list(itertools.islice(lines, BATCH)):
                    new.writelines(await self._changed(batch, change))
                new.flush()
                os.fsync(new.fileno())
        except OSError as error:
            raise RecordError(f"{self._part} cannot be written: {error}", "make room on the disk") from error

    async def _changed(self, batch: Sequence[tuple[int, bytes]], change: Change) -> list[bytes]:
        lines, found = [line for _, line in batch], dict[int, Trajectory]()
        for place, (number, line) in enumerate(batch):
            try:
                found[place] = _parse_line(line.rstrip(b"\n"), self._path, number)
            except _Broken:
                self.unreadable += 1
        try:
            given = await change(tuple(found.values()))
        except OSError as error:  # `draft` would tell it as one of the disk
            raise RuntimeError(f"trajectories of {self._path} could not be changed: {error!r}") from error
        for (place, old), new in zip(found.items(), given, strict=True):
            if new is not old:
                lines[place] = new.model_dump_json().encode() + b"\n"
        return lines

    def commit(self) -> None:
        """Put the draft in the place of the run; without it the run stays as it was.

        Raises:
            RecordError: The folder cannot be written.
        """
        try:
            self._part.replace(self._path)
            sync(self._path.parent)
        except OSError as error:
            raise RecordError(f"{self._path} cannot be written: {error}", "make room on the disk") from error

    def discard(self) -> None:
        """Take away a draft that was not put in the place of the run."""
        self._part.unlink(missing_ok=True)


@contextlib.contextmanager
def edit_run(folder: Path) -> Iterator[RunEditor]:
    """Change what is written in a run; nobody else can write to it meanwhile.

    Raises:
        RecordError: There is no run in `folder`, or another process is writing to it.
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
        editor = RunEditor(path)
        try:
            yield editor
        finally:
            editor.discard()
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
