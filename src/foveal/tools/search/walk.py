"""The files of a user's folder that can be indexed, each with the caption it has if it is a picture."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from foveal.tools.search import loaders
from foveal.tools.search.loaders import Caption


class Skipped(NamedTuple):
    """A file that is not in the index, or not all of it."""

    path: str
    """Within the folder."""
    reason: str


class File(NamedTuple):
    """A file to index."""

    path: Path
    origin: str
    """Path within the folder, with forward slashes; behind the prefix of the folder, if it has one."""
    caption: Caption | None
    """Of a picture; None for a document."""
    told: bool = False
    """Whether somebody wrote the caption; else it is the file's name."""


class Walk:
    """The files of a folder and all folders in it, in order of their names.

    Args:
        source: The folder, resolved.
        out: The index folder, which is never indexed.
        prefix: Put before every path within the folder.
    """

    def __init__(self, source: Path, out: Path, prefix: str = ""):
        self._source, self._out, self._prefix = source, out.resolve(), prefix
        self.skipped: list[Skipped] = []
        """What was left out, with reasons: whole after the walk."""

    def __iter__(self) -> Iterator[File]:
        """Hidden files, symbolic links and what is no regular file are left out."""
        for name, folders, names in os.walk(self._source, onerror=self._unreadable):
            folder = Path(name)
            links = [folder / entry for entry in folders if (folder / entry).is_symlink()]
            for link in sorted(links):
                self.skip(link, "symbolic link")
            folders[:] = sorted(
                entry for entry in folders if not entry.startswith(".") and folder / entry not in (self._out, *links)
            )
            yield from self._files_of(folder, sorted(names))

    def skip(self, path: Path, reason: str) -> None:
        """Tell that a file is left out."""
        self.skipped.append(Skipped(self._origin(path), reason))

    def _unreadable(self, error: OSError) -> None:
        self.skip(Path(error.filename), f"folder cannot be read: {error.strerror}")

    def _files_of(self, folder: Path, names: list[str]) -> Iterator[File]:
        paths = [path for name in names if not name.startswith(".") and self._is_regular(path := folder / name)]
        captions: dict[str, Caption] = {}
        listed = folder / loaders.CAPTIONS
        if listed in paths:
            paths.remove(listed)
            captions = loaders.read_captions(listed, lambda reason: self.skip(listed, reason))
        pictures = [path for path in paths if path.suffix.lower() in loaders.PICTURES]
        sidecars = {path: loaders.read_sidecar(path) for path in pictures}
        used = {sidecar.path for sidecar in sidecars.values() if sidecar}
        for path in paths:
            kind = path.suffix.lower()
            if path in sidecars:
                sidecar, listing = sidecars[path], captions.get(path.name)
                own = Caption(sidecar.text if sidecar else loaders.name_title(path))
                yield File(path, self._origin(path), listing or own, told=bool(listing or sidecar))
            elif kind in loaders.DOCUMENTS and path not in used:
                yield File(path, self._origin(path), None)
            elif kind not in loaders.DOCUMENTS:
                self.skip(path, f"kind {kind} is not indexed" if kind else "file without a kind")

    def _is_regular(self, path: Path) -> bool:
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            self.skip(path, f"cannot be read: {error.strerror}")
            return False
        if stat.S_ISREG(mode):
            return True
        self.skip(path, "symbolic link" if stat.S_ISLNK(mode) else "not a regular file")
        return False

    def _origin(self, path: Path) -> str:
        return self._prefix + path.relative_to(self._source).as_posix()
