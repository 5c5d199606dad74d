"""Makes a curation folder of raw question sets. The layout is in `foveal.curate.sources`."""

import hashlib
import json
import shutil
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from foveal.curate.added import AddedFigures, FileFigures, SourceFigures, read_added, write_added
from foveal.curate.licences import line_of, name_licences, without_licences
from foveal.curate.pictures import PictureLimits
from foveal.curate.questions import QuestionRow, stream_questions
from foveal.curate.reading import ColumnWatch, Kept, no_columns, read_file
from foveal.curate.rejects import Reason, Reject, in_short
from foveal.curate.sources import SourceFile, SourceSettings, source_files
from foveal.errors import ConfigError, InputError
from foveal.files import alone, replacing, sync
from foveal.trajectory import Record

QUESTIONS = "questions.jsonl"
PICTURES = "pictures"
REJECTS = "rejects.jsonl"
PARTS = ".parts"


class Progress(NamedTuple):
    """Told after every row that was read."""

    source: str
    file: str
    rows: int
    """Of this file."""
    rejected: int
    """Of these; duplicates are found at the end."""


class _Line(Record):
    """A line of a part: a row or a reject; the last line is the file itself."""

    kept: Kept | None = None
    reject: Reject | None = None
    file: FileFigures | None = None
    unseen: tuple[str, ...] = ()
    """With `file`: columns that no row has."""
    names: tuple[str, ...] = ()
    """With `file`: columns that there are."""


def add_sources(
    folder: Path,
    sources: Sequence[SourceSettings],
    limits: PictureLimits | None = None,
    on_row: Callable[[Progress], None] = lambda progress: None,
    otherwise: str = "name another folder",
) -> AddedFigures:
    """Make a curation folder of raw question sets, or go on with one.

    A folder that is done is only looked at, but for licences and addresses that were named since. One that was begun
    with other settings and never done, as by a command with a wrong column, is begun anew.

    Args:
        folder: Made if it is not there.
        sources: What it is made of, in this order.
        limits: What pictures may be kept.
        on_row: Told of every row; not of rows that an earlier try has read.
        otherwise: How to come to a folder of other sources, for errors.

    Raises:
        ConfigError: The folder was made from other sources, settings or files; a source has no files, not the columns
            that are named, or no such folder of pictures; or its formats cannot be told.
        InputError: Of a source no row can be kept; another process is writing to the folder, or the disk is full.
        RecordError: sources.json cannot be read.
        MissingDependency: The package that reads a format is not installed.
    """
    limits = limits or PictureLimits()
    settings: dict[str, JsonValue] = {
        "sources": [source.model_dump(mode="json") for source in sources],
        "pictures": limits.model_dump(mode="json"),
    }
    files = source_files(sources)
    for source in sources:
        if folder.absolute().is_relative_to(Path(source.path).absolute()):
            raise ConfigError(f"{folder} is within the source {source.name}", "name a folder outside of it")
    try:
        with alone(folder):
            done = read_added(folder)
            if done is None:
                _check_image_folders(sources)
                _begin(folder, settings)
                with warnings.catch_warnings():
                    # Pillow's words on odd files; not in the threads, where filters are shared.
                    warnings.filterwarnings("ignore", module=r"PIL\.")
                    parts = [_part(folder, number, file, limits, on_row) for number, file in enumerate(files)]
                _check_columns(files, parts)
                _check_kept(files, parts)
                done = _put_together(folder, settings, files, parts)
            else:
                _check_unchanged(folder, done, settings, files, otherwise)
                # Parts that are still there tell of a time that did not come to its end: rows may have its licences.
                if done.settings != settings or (folder / PARTS).exists():
                    (folder / PARTS).mkdir(exist_ok=True)
                    done = name_licences(folder, done, settings, sources)
            if (folder / PARTS).exists():
                _remove_unused(folder)
                shutil.rmtree(folder / PARTS, ignore_errors=True)
            return done
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}", "make room, or name another folder") from error


def _check_image_folders(sources: Sequence[SourceSettings]) -> None:
    for source in sources:
        if source.image_folder is not None and not source.image_folder.is_dir():
            raise ConfigError(
                f"source {source.name}: image_folder {source.image_folder} is no folder",
                "name it from the working folder, or leave it out: paths of pictures then begin beside each file",
            )


def _begin(folder: Path, settings: dict[str, JsonValue]) -> None:
    """Make the folder ready for parts; those that were made with other settings go."""
    begun, content = folder / PARTS / "settings.json", f"{json.dumps(without_licences(settings))}\n"
    if not begun.exists() and (folder / QUESTIONS).exists():
        raise ConfigError(f"{folder} holds a question set that was not made from sources", "name another folder")
    (folder / PARTS).mkdir(exist_ok=True)
    (folder / PICTURES).mkdir(exist_ok=True)
    if not begun.exists() or begun.read_text(encoding="utf-8", errors="replace") != content:
        for part in (folder / PARTS).glob("*.jsonl"):
            part.unlink()
        with replacing(begun) as file:
            file.write(content)


def _check_unchanged(
    folder: Path, done: AddedFigures, settings: dict[str, JsonValue], files: Sequence[SourceFile], otherwise: str
) -> None:
    if without_licences(done.settings) != without_licences(settings):
        raise ConfigError(f"{folder} was made from other sources or settings", f"set them back, or {otherwise}")
    known = [(source.name, file.name, file.sha256) for source in done.sources for file in source.files]
    if known != [(file.source.name, file.name, file.sha256()) for file in files]:
        raise ConfigError("the files of the sources have changed since they were added", otherwise)


def _part(
    folder: Path, number: int, file: SourceFile, limits: PictureLimits, on_row: Callable[[Progress], None]
) -> Path:
    """The part of a raw file; written now if it is not there."""
    digest = file.sha256()
    path = folder / PARTS / f"{number:05}-{digest}.jsonl"
    if not path.exists():
        with replacing(path) as part:
            for line in _lines(folder, file, limits, digest, on_row):
                part.write(line.model_dump_json(exclude_defaults=True) + "\n")
            sync(folder / PICTURES)  # the part promises them
    return path


def _lines(
    folder: Path, file: SourceFile, limits: PictureLimits, digest: str, on_row: Callable[[Progress], None]
) -> Iterator[_Line]:
    columns = ColumnWatch(file)
    count = rejected = 0
    for outcome in read_file(folder / PICTURES, file, limits, columns):
        count += 1
        rejected += isinstance(outcome, Reject)
        yield _Line(reject=outcome) if isinstance(outcome, Reject) else _Line(kept=outcome)
        on_row(Progress(file.source.name, file.name, count, rejected))
    figures = FileFigures(name=file.name, sha256=digest, size=file.path.stat().st_size, rows=count)
    yield _Line(file=figures, unseen=tuple(sorted(columns.unseen)), names=tuple(sorted(columns.names)))


def _check_columns(files: Sequence[SourceFile], parts: Sequence[Path]) -> None:
    """Refuse columns that no file of a source has; a JSON file may lack what others have."""
    unseen: dict[str, set[str]] = {}
    names: dict[str, set[str]] = {}
    for file, part in zip(files, parts, strict=True):
        last = _last_line(part)
        if last.names:  # of a file without rows nothing is known
            unseen[file.source.name] = unseen.get(file.source.name, set(last.unseen)) & set(last.unseen)
            names.setdefault(file.source.name, set()).update(last.names)
    for file, part in zip(files, parts, strict=True):
        if unseen.get(file.source.name):
            part.unlink()
            raise no_columns(file, unseen[file.source.name], names[file.source.name])


def _check_kept(files: Sequence[SourceFile], parts: Sequence[Path]) -> None:
    """Refuse a source of which no row can be kept: it is hardly the one that was meant, or not read as it should be."""
    of_source: dict[str, list[Path]] = {}
    for file, part in zip(files, parts, strict=True):
        of_source.setdefault(file.source.name, []).append(part)
    for name, its in of_source.items():
        if (rejects := _nothing_but(its)) is None:
            continue
        for part in its:
            part.unlink()  # pictures that were missing may be there the next time
        if not rejects:
            path = next(file.source.path for file in files if file.source.name == name)
            raise InputError(
                f"source {name}: there is no row in {path}", "name files that have rows, or leave the source out"
            )
        most = sorted(rejects.values(), key=lambda one: -one[1])
        first, counts = most[0][0], ", ".join(f"{count} for {reject.reason}" for reject, count in most)
        place = f"{first.file} row {first.row}" if first.row is not None else first.file
        raise InputError(
            f"source {name}: no row of it can be kept; set aside were {counts}: {place}: {first.message}",
            f"mend the files, or what the settings say of {name}, and add again; nothing was added",
        )


def _nothing_but(parts: Sequence[Path]) -> dict[Reason, tuple[Reject, int]] | None:
    """By reason the first reject and how many there are; None if there is a row that was kept."""
    found: dict[Reason, tuple[Reject, int]] = {}
    for part in parts:
        for line in _read_part(part):
            if line.kept is not None:
                return None
            if line.reject is not None:
                first, count = found.get(line.reject.reason, (line.reject, 0))
                found[line.reject.reason] = first, count + 1
    return found


def _last_line(part: Path) -> _Line:
    with part.open("rb") as file:
        return _Line.model_validate_json(deque(file, maxlen=1).pop())


def _put_together(
    folder: Path, settings: dict[str, JsonValue], files: Sequence[SourceFile], parts: Sequence[Path]
) -> AddedFigures:
    firsts: dict[bytes, tuple[str, bytes]] = {}
    answered = _answered(files, parts)
    ids: set[str] = set()
    figures: dict[str, list[FileFigures]] = {file.source.name: [] for file in files}
    kept: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {file.source.name: Counter() for file in files}
    with replacing(folder / QUESTIONS) as questions, replacing(folder / REJECTS) as rejects:
        for file, part in zip(files, parts, strict=True):
            name = file.source.name
            for line in _read_part(part):
                reject = line.reject
                if line.kept is not None:
                    row = line.kept.row.model_copy(update={"id": _free(line.kept.row.id, ids)})
                    reject = _duplicate(file, row, _key(line.kept), firsts, answered)
                    if reject is None:
                        ids.add(row.id)
                        kept[name] += 1
                        questions.write(line_of(row, file.source.licence))
                if reject is not None:
                    rejected[name][reject.reason] += 1
                    rejects.write(reject.model_dump_json() + "\n")
                if line.file is not None:
                    figures[name].append(line.file)
    unique = {file.source.name: file.source for file in files}
    added = AddedFigures(
        settings=settings,
        sources=tuple(
            SourceFigures(
                name=name,
                licence=source.licence,
                url=source.url,
                files=tuple(figures[name]),
                rows=sum(file.rows for file in figures[name]),
                kept=kept[name],
                rejected=dict(sorted(rejected[name].items())),
            )
            for name, source in unique.items()
        ),
    )
    write_added(folder, added)
    return added


def _remove_unused(folder: Path) -> None:
    """Remove the pictures of duplicates, and torn ones. Until sources.json is there they stay: parts name them."""
    used = {name for one in stream_questions(folder / QUESTIONS) for name in one.row.images}
    for path in (folder / PICTURES).iterdir():
        if f"{PICTURES}/{path.name}" not in used:
            path.unlink()


def _answered(files: Sequence[SourceFile], parts: Sequence[Path]) -> dict[bytes, str]:
    """Where the first row with an answer is, by what it asks."""
    found: dict[bytes, str] = {}
    for file, part in zip(files, parts, strict=True):
        for line in _read_part(part):
            if line.kept is not None and line.kept.row.gold:
                place = f"{file.source.name} {file.name} row {line.kept.row.meta['row']}, which has an answer"
                found.setdefault(_key(line.kept), place)
    return found


def _read_part(part: Path) -> Iterator[_Line]:
    with part.open("rb") as file:
        for line in file:
            yield _Line.model_validate_json(line)


def _free(wanted: str, taken: set[str]) -> str:
    """The id, or with a number behind it the first that is free."""
    number, free = 1, wanted
    while free in taken:
        number += 1
        free = f"{wanted}.{number}"
    return free


def _key(kept: Kept) -> bytes:
    """The same for rows that ask the same of the same pixels."""
    return _digest(kept.row.text, *kept.pixels)


def _duplicate(
    file: SourceFile,
    row: QuestionRow,
    key: bytes,
    firsts: dict[bytes, tuple[str, bytes]],
    answered: Mapping[bytes, str],
) -> Reject | None:
    """A reject if an earlier row has this key, or any row with an answer, which this one lacks."""
    if not row.gold and key in answered:
        first, other = answered[key], ""
    else:
        answers = _digest(*sorted(row.gold))
        first, its_answers = firsts.setdefault(key, (row.id, answers))
        if first == row.id:
            return None
        other = "" if its_answers == answers else ", but with another answer"
    number = row.meta["row"]
    return Reject(
        source=file.source.name,
        file=file.name,
        row=number if isinstance(number, int) else None,
        reason="duplicate",
        message=f"the same question about the same pictures as {first}{other}",
        said=in_short({"text": row.text, "gold": row.gold}),
    )


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\0".join(texts).encode()).digest()[:16]
