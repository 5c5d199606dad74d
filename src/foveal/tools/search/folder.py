"""An index folder over a user's own files: built, brought up to date, opened."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from foveal.errors import InputError
from foveal.tools.search import image, loaders, text
from foveal.tools.search.database import INDEX_VERSION
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.loaders import Caption
from foveal.tools.search.text import Document, TextIndex

FILES = "files.json"
"""Which files an index was built from, each with the hash of what was indexed."""


class Skipped(NamedTuple):
    """A file that is not in the index, or not all of it."""

    path: str
    """Within the folder."""
    reason: str


class Built(NamedTuple):
    """What `build_index` did."""

    documents: int
    """Documents in the index now."""
    pictures: int
    """Pictures in the index now."""
    read: int
    """Files that are new or changed."""
    unchanged: int
    gone: int
    """Files whose documents or pictures were removed because the file is no longer there."""
    skipped: tuple[Skipped, ...]


class Indexes(NamedTuple):
    """The two halves of an index folder; None where it has no documents or no pictures."""

    text: TextIndex | None
    images: ImageIndex | None


class _File(NamedTuple):
    path: Path
    origin: str
    """Path within the folder, with forward slashes."""
    caption: Caption | None
    """Of a picture; None for a document."""


def open_index(folder: Path) -> Indexes:
    """Open an index folder.

    Raises:
        InputError: The folder is missing, holds no index, or one of another version.
        SearchError: A file of it is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"there is no index folder {folder}", "build one with: foveal index build DIR")
    found = Indexes(
        text=TextIndex.open(folder) if (folder / text.FILE).exists() else None,
        images=ImageIndex.open(folder) if (folder / image.FILE).exists() else None,
    )
    if found == (None, None):
        raise InputError(f"{folder} holds no index", "build one with: foveal index build DIR")
    return found


def build_index(source: Path, out: Path) -> Built:
    """Index the documents and pictures of a folder and all folders in it, or bring its index up to date.

    Documents are `.md`, `.txt`, `.html` and `.jsonl` (one `{"text", "title", "link", "date"}` a line); pictures are
    titled by a line of `metadata.jsonl`, else by a short text file of the same name, else by their file name. A file
    that has not changed since the last build is not read into the index again, and one that is gone leaves it. Hidden
    files and symbolic links are skipped, so nothing outside the folder is ever read. A build that is killed is mended
    by the next one.

    Raises:
        InputError: `source` is no folder or holds nothing to index; `out` is something else than its index.
        MissingDependency: This Python's SQLite has no full-text search.
        SearchError: An existing index is damaged.
    """
    if not source.is_dir():
        raise InputError(f"there is no folder {source}", "name the folder that holds your documents and pictures")
    source = source.resolve()
    before = _read_stamps(source, out)
    skipped: list[Skipped] = []
    files = list(_walk(source, out.resolve(), skipped))
    stamps = {file.origin: stamp for file in files if (stamp := _stamp(file, skipped))}
    changed = [file for file in files if file.origin in stamps and stamps[file.origin] != before.get(file.origin)]
    gone = before.keys() - stamps.keys()
    if not stamps:
        raise _nothing(source, skipped)

    # Until it is done, the files of this build have no hash, so that the next one takes up a build that was killed.
    stale = {*gone, *(file.origin for file in changed)}
    _write_stamps(source, out, {**before, **dict.fromkeys(sorted(stale), "")})
    known = len(skipped)
    documents = _update_text(out, [file for file in changed if file.caption is None], stale, skipped)
    pictures = _update_pictures(out, [file for file in changed if file.caption is not None], stale, skipped)
    if not documents and not pictures:
        (out / FILES).unlink()
        if not any(out.iterdir()):
            out.rmdir()
        raise _nothing(source, skipped)
    faulty = {path for path, _ in skipped[known:]}
    _write_stamps(source, out, {origin: stamp for origin, stamp in stamps.items() if origin not in faulty})
    return Built(documents, pictures, len(changed), len(stamps) - len(changed), len(gone), tuple(skipped))


def _nothing(source: Path, skipped: list[Skipped]) -> InputError:
    reasons = "".join(f"; {path}: {reason}" for path, reason in skipped[:3])
    return InputError(
        f"nothing to index in {source}{reasons}",
        f"put documents ({_kinds(loaders.DOCUMENTS)}) or pictures ({_kinds(loaders.PICTURES)}) into it",
    )


def _walk(source: Path, out: Path, skipped: list[Skipped]) -> Iterator[_File]:
    """The files to index, in order of their names."""

    def unreadable(error: OSError) -> None:
        skipped.append(Skipped(_within(Path(error.filename), source), f"folder cannot be read: {error.strerror}"))

    for name, folders, names in os.walk(source, onerror=unreadable):
        folder = Path(name)
        links = [folder / entry for entry in folders if (folder / entry).is_symlink()]
        skipped += [Skipped(_within(link, source), "symbolic link") for link in sorted(links)]
        folders[:] = sorted(
            entry for entry in folders if not entry.startswith(".") and folder / entry not in (out, *links)
        )
        yield from _files_of(folder, sorted(names), source, skipped)


def _files_of(folder: Path, names: list[str], source: Path, skipped: list[Skipped]) -> Iterator[_File]:
    paths = []
    for path in (folder / name for name in names if not name.startswith(".")):
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            skipped.append(Skipped(_within(path, source), f"cannot be read: {error.strerror}"))
            continue
        if stat.S_ISLNK(mode):
            skipped.append(Skipped(_within(path, source), "symbolic link"))
        elif not stat.S_ISREG(mode):
            skipped.append(Skipped(_within(path, source), "not a regular file"))
        else:
            paths.append(path)
    captions: dict[str, Caption] = {}
    if folder / loaders.CAPTIONS in paths:
        paths.remove(folder / loaders.CAPTIONS)
        origin = _within(folder / loaders.CAPTIONS, source)
        captions = loaders.read_captions(
            folder / loaders.CAPTIONS, lambda reason: skipped.append(Skipped(origin, reason))
        )
    pictures = [path for path in paths if path.suffix.lower() in loaders.PICTURES]
    sidecars = {path: loaders.read_sidecar(path) for path in pictures}
    used = {sidecar.path for sidecar in sidecars.values() if sidecar}
    for path in paths:
        origin, kind = _within(path, source), path.suffix.lower()
        if path in sidecars:
            sidecar = sidecars[path]
            own = Caption(sidecar.text if sidecar else loaders.name_title(path))
            yield _File(path, origin, captions.get(path.name, own))
        elif kind in loaders.DOCUMENTS and path not in used:
            yield _File(path, origin, None)
        elif kind not in loaders.DOCUMENTS:
            skipped.append(Skipped(origin, f"kind {kind} is not indexed" if kind else "file without a kind"))


def _update_text(out: Path, files: list[_File], stale: set[str], skipped: list[Skipped]) -> int:
    """Returns the number of documents then in the index. An index that would be empty is not kept."""
    path = out / text.FILE
    if not path.exists() and not files:
        return 0
    index = TextIndex.open(out) if path.exists() else TextIndex.create(out)
    index.remove(stale)
    index.add(document for file in files for document in _documents(file, skipped))
    if not len(index):
        path.unlink()
        return 0
    return len(index)


def _documents(file: _File, skipped: list[Skipped]) -> Iterator[Document]:
    return loaders.read_documents(file.path, file.origin, lambda reason: skipped.append(Skipped(file.origin, reason)))


def _update_pictures(out: Path, files: list[_File], stale: set[str], skipped: list[Skipped]) -> int:
    """Returns the number of pictures then in the index. An index that would be empty is not kept."""
    path = out / image.FILE
    if not path.exists() and not files:
        return 0
    index = ImageIndex.open(out) if path.exists() else ImageIndex.create(out)
    index.remove(stale)
    index.add(_pictures(files, skipped))
    if not len(index):
        path.unlink()
        return 0
    return len(index)


def _pictures(files: list[_File], skipped: list[Skipped]) -> Iterator[Picture]:
    for path, origin, caption in files:
        assert caption is not None
        try:
            pixels = loaders.read_picture(path)
        except ValueError as error:
            skipped.append(Skipped(origin, str(error)))
            continue
        yield Picture(caption.title, pixels, link=caption.link or origin, source=origin, origin=origin)


def _stamp(file: _File, skipped: list[Skipped]) -> str | None:
    """Hash of what is indexed of a file: its bytes and its caption. None if it cannot be read."""
    try:
        file.origin.encode()
        with file.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
    except UnicodeEncodeError:
        skipped.append(Skipped(ascii(file.origin), "file name is not UTF-8"))
        return None
    except OSError as error:
        skipped.append(Skipped(file.origin, f"cannot be read: {error.strerror}"))
        return None
    digest.update(json.dumps(file.caption).encode())
    return digest.hexdigest()


def _read_stamps(source: Path, out: Path) -> dict[str, str]:
    """The files of an existing index of this folder with their hashes; empty if there is none yet."""
    if out.resolve() == source:
        raise InputError(f"the index cannot be the folder {source} itself", "name another folder with --out")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "name a folder with --out")
    try:
        held = json.loads((out / FILES).read_text(encoding="utf-8"))
        version, of, files = held["version"], held["folder"], dict[str, str](held["files"])
    except FileNotFoundError:
        if out.is_dir() and any(out.iterdir()):
            raise InputError(
                f"{out} is not empty and was not made by index build", "name another folder with --out"
            ) from None
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out / FILES} cannot be read: {error}", f"delete {out} and build it again") from error
    if version != INDEX_VERSION:
        raise InputError(
            f"{out} is of index version {version}, not {INDEX_VERSION}", f"delete {out} and build it again"
        )
    if of != source.name:
        raise InputError(f"{out} is the index of a folder named {of!r}", "name another folder with --out")
    return files


def _write_stamps(source: Path, out: Path, files: dict[str, str]) -> None:
    held = {"version": INDEX_VERSION, "folder": source.name, "files": files}
    try:
        out.mkdir(parents=True, exist_ok=True)
        part = out / f"{FILES}.part"
        part.write_text(json.dumps(held, indent=0) + "\n", encoding="utf-8")
        part.replace(out / FILES)
    except OSError as error:
        raise InputError(f"index folder {out} cannot be written: {error}", "name another folder with --out") from error


def _within(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()


def _kinds(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))
