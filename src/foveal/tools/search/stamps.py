"""What an index folder knows about the files that it was built from, so that only what changed is read again.

A stamp is the hash of what is indexed of a file: its bytes and its caption. A look is what the file system says of it
(size, times, number): as long as that and the caption are the same, the file is not even opened.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from foveal.errors import InputError
from foveal.files import replacing
from foveal.tools.search.database import INDEX_VERSION
from foveal.tools.search.walk import File

FILES = "files.json"

SETTLED = 2.0
"""Seconds that a file has to be old for its look to be trusted: clocks of file systems can be that coarse."""


class Stamp(NamedTuple):
    """Of one file."""

    stamp: str
    """Empty while a build is under way that will read the file, or was killed."""
    look: str = ""
    """Empty if it is not known, or not to be trusted."""
    faults: tuple[str, ...] = ()
    """What of the file could not be read, though the rest is indexed: told again at every build."""


class Stamps(NamedTuple):
    """All files of an index folder."""

    folder: str
    """Name of the folder that it was built from."""
    files: dict[str, Stamp]
    """Path within the folder -> stamp."""
    added: dict[str, dict[str, Stamp]]
    """The same of each further folder, by its name; paths are behind `prefix(name)`."""

    def of(self, name: str) -> dict[str, Stamp]:
        """The files of the folder of this name; none if there is no such folder."""
        return self.files if name == self.folder else self.added.get(name, {})

    def with_files(self, name: str, files: dict[str, Stamp]) -> "Stamps":
        """The same with other files of one folder."""
        if name == self.folder:
            return self._replace(files=files)
        return self._replace(added={**self.added, name: files})


def prefix(name: str) -> str:
    """What stands before the paths of an added folder, as seen from the first one; no path of that begins so."""
    return f"../{name}/"


def make_stamp(file: File, known: Stamp | None, now: float) -> Stamp:
    """The stamp of a file, taken from `known` if the file looks as it did then.

    Args:
        file: The file.
        known: Its stamp of an earlier build.
        now: Time in seconds, by the clock of the files.

    Raises:
        ValueError: The file cannot be indexed; the message says why.
    """
    try:
        file.origin.encode()
    except UnicodeEncodeError:
        raise ValueError("file name is not UTF-8") from None
    caption = json.dumps(file.caption).encode()
    try:
        about = file.path.stat()
        times = f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"
        look = hashlib.sha256(times.encode() + caption).hexdigest()[:32]
        if known is not None and known.stamp and known.look == look:
            return known
        with file.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    digest.update(caption)
    fresh = max(about.st_mtime, about.st_ctime) > now - SETTLED
    stamp = digest.hexdigest()
    return Stamp(stamp, "" if fresh else look, known.faults if known is not None and known.stamp == stamp else ())


def read_stamps(out: Path) -> Stamps | None:
    """The stamps of an index folder; None if there is none yet.

    Raises:
        InputError: `out` is something else, damaged, or of another version.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "name a folder with --out")
    try:
        held = json.loads((out / FILES).read_text(encoding="utf-8"))
        version = held["version"]
        if version == INDEX_VERSION:
            added = {str(name): _joined(one) for name, one in dict(held.get("added", {})).items()}
            return Stamps(str(held["folder"]), _joined(held), added)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{out / FILES} cannot be read: {error}", f"delete {out} and build it again") from error
    raise InputError(f"{out} is of index version {version}, not {INDEX_VERSION}", f"delete {out} and build it again")


def write_stamps(out: Path, stamps: Stamps) -> None:
    """Write the stamps, whole or not at all; the folder is made if need be.

    Raises:
        InputError: The folder cannot be written.
    """
    held = {"version": INDEX_VERSION, "folder": stamps.folder, **_parted(stamps.files)}
    if stamps.added:
        held["added"] = {name: _parted(files) for name, files in stamps.added.items()}
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / FILES) as file:
            file.write(json.dumps(held, indent=0) + "\n")
    except OSError as error:
        raise InputError(f"index folder {out} cannot be written: {error}", "name another folder with --out") from error


def _joined(held: dict[str, Any]) -> dict[str, Stamp]:
    looks, faults = dict(held.get("looks", {})), dict(held.get("faults", {}))
    return {
        str(origin): Stamp(str(stamp), str(looks.get(origin, "")), tuple(map(str, faults.get(origin, ()))))
        for origin, stamp in held["files"].items()
    }


def _parted(files: dict[str, Stamp]) -> dict[str, Any]:
    parted: dict[str, Any] = {
        "files": {origin: one.stamp for origin, one in files.items()},
        "looks": {origin: one.look for origin, one in files.items() if one.look},
    }
    if faults := {origin: one.faults for origin, one in files.items() if one.faults}:
        parted["faults"] = faults
    return parted
