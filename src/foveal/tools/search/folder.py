"""An index folder over a user's own files: built, brought up to date, opened, told about."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from foveal.errors import InputError
from foveal.tools.search import image, loaders, text
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.stamps import FILES, Stamp, Stamps, make_stamp, prefix, read_stamps, write_stamps
from foveal.tools.search.text import Document, TextIndex
from foveal.tools.search.walk import File, Skipped, Walk


class Built(NamedTuple):
    """What `build_index` or `add_folder` did."""

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


class Stats(NamedTuple):
    """What an index folder holds."""

    documents: int
    pictures: int
    bytes: int
    """Size of its files."""
    folders: dict[str, int]
    """Files indexed of each folder, by its name; empty for an index that was made without one, in Python."""
    pending: int
    """Files that the next build reads whatever they look like: nothing could be read of them, or a build was killed."""


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


def index_stats(folder: Path) -> Stats:
    """What an index folder holds.

    Raises:
        InputError: The folder is missing, holds no index, or one of another version.
        SearchError: A file of it is damaged.
    """
    found = open_index(folder)
    stamps = read_stamps(folder)
    folders = {} if stamps is None else {stamps.folder: stamps.files, **stamps.added}
    done = {name: sum(bool(one.stamp) for one in files.values()) for name, files in folders.items()}
    return Stats(
        documents=0 if found.text is None else len(found.text),
        pictures=0 if found.images is None else len(found.images),
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        folders=done,
        pending=sum(map(len, folders.values())) - sum(done.values()),
    )


def build_index(source: Path, out: Path, now: Callable[[], float] = time.time) -> Built:
    """Index the documents and pictures of a folder and all folders in it, or bring its index up to date.

    Documents are `.md`, `.txt`, `.html`, `.pdf` and `.jsonl` (one `{"text", "title", "link", "date"}` a line); pictures
    are titled by a line of `metadata.jsonl`, else by a short text file of the same name, else by the description in
    their EXIF, else by their file name. A file that has not changed since the last build is not read again, and one
    that is gone leaves the index. Hidden files and symbolic links are skipped, so nothing outside the folder is ever
    read. A build that is killed is mended by the next one.

    Args:
        source: The folder.
        out: The index folder.
        now: Time in seconds, by the clock of the files.

    Raises:
        InputError: `source` is no folder or holds nothing to index; `out` is something else than its index.
        MissingDependency: This Python's SQLite has no full-text search.
        SearchError: An existing index is damaged.
    """
    source = _folder(source, out)
    before = read_stamps(out)
    if before is None and out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and was not made by index build", "name another folder with --out")
    if before is not None and before.folder != source.name:
        raise InputError(
            f"{out} is the index of a folder named {before.folder!r}",
            f"name another folder with --out, or put both into one: foveal index add {out} {source}",
        )
    return _update(Walk(source, out), source, out, before or Stamps(source.name, {}, {}), now())


def add_folder(source: Path, out: Path, now: Callable[[], float] = time.time) -> Built:
    """Index one more folder into an index that is there, or bring the part of one of its folders up to date.

    Folders are told apart by their names. Hits of a further folder carry links as seen from the first one:
    `../NAME/path`.

    Args:
        source: The folder.
        out: The index folder.
        now: Time in seconds, by the clock of the files.

    Raises:
        InputError: As `build_index`; there is no index yet; or the index knows another folder of this name.
        SearchError: The index is damaged.
    """
    source = _folder(source, out)
    before = read_stamps(out)
    if before is None:
        raise InputError(
            f"{out} holds no index of a folder", f"build one first: foveal index build {source} --out {out}"
        )
    if source.name == before.folder:
        return build_index(source, out, now)
    return _update(Walk(source, out, prefix(source.name)), source, out, before, now())


def _folder(source: Path, out: Path) -> Path:
    if not source.is_dir():
        raise InputError(f"there is no folder {source}", "name the folder that holds your documents and pictures")
    if out.resolve() == source.resolve():
        raise InputError(f"the index cannot be the folder {source.resolve()} itself", "name another folder with --out")
    return source.resolve()


def _update(walk: Walk, source: Path, out: Path, stamps: Stamps, now: float) -> Built:
    """Bring the part of one folder up to date."""
    before = stamps.of(source.name)
    files = list(walk)
    after: dict[str, Stamp] = {}
    for file in files:
        try:
            after[file.origin] = make_stamp(file, before.get(file.origin), now)
        except ValueError as error:
            walk.skipped.append(Skipped(_printable(file.origin), str(error)))
    if not after:
        raise _nothing(source, walk.skipped)
    if source.name in stamps.added and before.keys().isdisjoint(after):
        raise InputError(
            f"{source} holds none of the files that {out} knows of a folder named {source.name!r}",
            "rename one of the two folders",
        )
    known = {origin: one.stamp for origin, one in before.items()}
    changed = [file for file in files if file.origin in after and after[file.origin].stamp != known.get(file.origin)]
    gone = before.keys() - after.keys()

    # Until it is done, the files of this build have no stamp, so that the next one takes up a build that was killed.
    stale = {*gone, *(file.origin for file in changed)}
    write_stamps(out, stamps.with_files(source.name, {**before, **dict.fromkeys(sorted(stale), Stamp(""))}))
    found = len(walk.skipped)
    documents = _update_text(out, [file for file in changed if file.caption is None], stale, walk.skipped)
    pictures = _update_pictures(out, [file for file in changed if file.caption is not None], stale, walk.skipped)
    if not documents and not pictures:
        (out / FILES).unlink()
        if not any(out.iterdir()):
            out.rmdir()
        raise _nothing(source, walk.skipped)
    taken = TextIndex.open(out).origins() if documents else set()
    faults: dict[str, list[str]] = {}
    for path, reason in walk.skipped[found:]:
        faults.setdefault(path, []).append(reason)
    for path, reasons in faults.items():
        # Nothing was taken: it may be readable the next time, as a PDF is once pypdf is installed. Else it stays as it
        # is until it changes: to take it out and in again would lose its vectors.
        after[path] = after[path]._replace(faults=tuple(reasons)) if path in taken else Stamp("")
    for file in files:
        if file.origin in after and file.origin not in stale:
            walk.skipped += [Skipped(file.origin, reason) for reason in after[file.origin].faults]
    write_stamps(out, stamps.with_files(source.name, after))
    return Built(documents, pictures, len(changed), len(after) - len(changed), len(gone), tuple(walk.skipped))


def _nothing(source: Path, skipped: list[Skipped]) -> InputError:
    reasons = "".join(f"; {path}: {reason}" for path, reason in skipped[:3])
    return InputError(
        f"nothing to index in {source}{reasons}",
        f"put documents ({_kinds(loaders.DOCUMENTS)}) or pictures ({_kinds(loaders.PICTURES)}) into it",
    )


def _update_text(out: Path, files: list[File], stale: set[str], skipped: list[Skipped]) -> int:
    """Returns the number of documents then in the index. An index that would be empty is not kept."""
    path = out / text.FILE
    if not path.exists() and not files:
        return 0
    index = TextIndex.open(out) if path.exists() else TextIndex.create(out)
    if stale:
        index.remove(stale)
        index.add(document for file in files for document in _documents(file, skipped))
    if not len(index):
        path.unlink()
        return 0
    return len(index)


def _documents(file: File, skipped: list[Skipped]) -> Iterator[Document]:
    return loaders.read_documents(file.path, file.origin, lambda reason: skipped.append(Skipped(file.origin, reason)))


def _update_pictures(out: Path, files: list[File], stale: set[str], skipped: list[Skipped]) -> int:
    """Returns the number of pictures then in the index. An index that would be empty is not kept."""
    path = out / image.FILE
    if not path.exists() and not files:
        return 0
    index = ImageIndex.open(out) if path.exists() else ImageIndex.create(out)
    if stale:
        index.remove(stale)
        index.add(_pictures(files, skipped))
    if not len(index):
        path.unlink()
        return 0
    return len(index)


def _pictures(files: list[File], skipped: list[Skipped]) -> Iterator[Picture]:
    for path, origin, caption, told in files:
        assert caption is not None
        try:
            pixels = loaders.read_picture(path)
        except ValueError as error:
            skipped.append(Skipped(origin, str(error)))
            continue
        title = caption.title if told else loaders.exif_title(path) or caption.title
        yield Picture(title, pixels, link=caption.link or origin, source=origin, origin=origin)


def _printable(origin: str) -> str:
    """A path that is not UTF-8 cannot be kept as it is."""
    try:
        origin.encode()
    except UnicodeEncodeError:
        return ascii(origin)
    return origin


def _kinds(suffixes: frozenset[str]) -> str:
    return " ".join(sorted(suffixes))
