"""Raw question sets become one checked question set, in which every row tells where it came from.

A curation folder holds `questions.jsonl` (the set), `pictures/` (the files as they came, each once), `rejects.jsonl`
(every row that was set aside, and why) and `sources.json` (what was read). While it is made, each raw file leaves one
part in `.parts/`, whole or not at all; the end result is put together from the parts. So an addition that was killed
goes on with the first file that was not done, and its result is the same to the byte.
"""

import glob
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from foveal.config import Settings
from foveal.curate.mapping import Columns, Fields, Reading, read_fields
from foveal.curate.published import published
from foveal.curate.released import ANSWER, RL_WANTED, rl_fields
from foveal.curate.rows import SUFFIXES, FileFormat
from foveal.errors import ConfigError

NO_DATA = frozenset({"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"})
"""JSON files beside a saved dataset that describe it."""


class SourceSettings(Settings):
    """One raw question set."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Begins the id of each of its questions."""
    path: str = Field(min_length=1)
    """A file, several by a pattern (`raw/*.parquet`), or a folder; from the working folder."""
    format: Literal["auto", "json", "jsonl", "csv", "parquet", "hub-folder", "deepeyes-rl"] = "auto"
    """`auto`: by the suffix of each file. `hub-folder`: parquet and arrow files of a saved or downloaded dataset."""
    licence: str | None = None
    url: str | None = None
    """Where it is from; published with the set."""
    columns: Columns = Columns()
    """Which column is what; `deepeyes-rl` knows its own."""
    reading: Reading = Reading()
    """How their values are to be understood."""
    items: str | None = None
    """Dotted key of the list of rows, in JSON files that hold an object."""
    image_folder: Path | None = None
    """Where paths of pictures begin, and what they may not leave; the folder of each file by default."""
    family: str | None = None
    """Kind of question, for rows whose column does not tell."""
    domain: str | None = None
    """Domain, for rows whose column does not tell."""

    @field_validator("url")
    @classmethod
    def _may_be_published(cls, url: str | None) -> str | None:
        if url is not None and published(url) != url:
            raise ValueError("it is published with the set: leave out the name, password or key that it holds")
        return url

    @model_validator(mode="after")
    def _own_columns(self) -> "SourceSettings":
        if self.format == "deepeyes-rl" and (self.columns != Columns() or self.reading != Reading()):
            raise ValueError("deepeyes-rl knows its own columns; use parquet to name others")
        if self.reading.answer_index and not (self.columns.choices and self.columns.answer):
            raise ValueError("answer_index needs columns.answer and columns.choices")
        return self

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that are read."""
        return RL_WANTED if self.format == "deepeyes-rl" else self.columns.named

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of them that have to be there."""
        if self.format == "deepeyes-rl":
            return ("images", ANSWER, "prompt")
        return self.columns.named


class SourceFile(NamedTuple):
    """A file of a source."""

    source: SourceSettings
    path: Path
    name: str
    """Path within the source, the same on every machine."""
    kind: FileFormat
    split: str | None
    """Split of a saved dataset."""
    prefix: str
    """Begins the ids of questions that have none of their own."""

    @property
    def pictures(self) -> Path:
        """Where paths of pictures begin."""
        return self.source.image_folder or self.path.parent

    def fields(self, values: dict[str, object]) -> Fields:
        """What a row of this file says.

        Raises:
            Refused: It is not as it should be.
        """
        if self.source.format == "deepeyes-rl":
            return rl_fields(values, self.path.stem)
        return read_fields(values, self.source.columns, self.source.reading)

    def sha256(self) -> str:
        """Hash of its bytes.

        Raises:
            ConfigError: It cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}", "mend it, or leave it out") from error


def source_files(sources: Sequence[SourceSettings]) -> list[SourceFile]:
    """All files of the sources, in order: by source, then by name.

    Raises:
        ConfigError: Two sources have one name; a source has no file, or one whose format cannot be told, or whose name
            is not UTF-8.
    """
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two sources are named {twice}", "give each a name of its own")
    return [file for source in sources for file in _files(source)]


def _files(source: SourceSettings) -> Iterator[SourceFile]:
    path = Path(source.path)
    if path.is_dir():
        base, found = path, list(_in_folder(path, source))
    elif path.is_file():
        base, found = path.parent, [path]
    else:
        found = _once(Path(name) for name in glob.glob(source.path, recursive=True))  # noqa: PTH207
        base = Path(os.path.commonpath([file.parent for file in found])) if found else path
    if not found:
        raise ConfigError(
            f"source {source.name}: {source.path} is no file, no pattern of files, and no folder with files to read",
            f"name files that end in {', '.join(SUFFIXES)}",
        )
    for file in found:
        _check_name(file, source)
    named = sorted((file.relative_to(base).as_posix(), file) for file in found)
    for name, file in named:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name.removesuffix(file.suffix))
        prefix = f"{source.name}-{stem}" if len(named) > 1 else source.name
        yield SourceFile(source, file, name, _kind(file, source), _split(file), prefix)


def _check_name(file: Path, source: SourceSettings) -> None:
    """Refuse a name that cannot be kept with the rows, which are UTF-8."""
    try:
        str(file).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"source {source.name}: the name of {str(file)!r} is not UTF-8", "rename the file or folder"
        ) from None


def _in_folder(folder: Path, source: SourceSettings) -> Iterator[Path]:
    seen = set[tuple[int, int]]()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if (place := _place(Path(parent))) in seen:
            folders.clear()  # a link has led here again
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            kind = SUFFIXES.get(Path(name).suffix.lower())
            # `datasets` keeps results of its own work as cache-*.arrow beside the data.
            own = name in NO_DATA or name.startswith((".", "cache-"))
            if kind is not None and not own and kind in _kinds(source):
                yield Path(parent, name)


def _once(found: Iterable[Path]) -> list[Path]:
    """The files of a pattern, each on its shortest way: `**` follows links, also those to a folder above."""
    ways = sorted(filter(Path.is_file, found), key=lambda path: (len(path.parts), path), reverse=True)
    return list({(_place(path.parent), path.name): path for path in ways}.values())


def _place(folder: Path) -> tuple[int, int]:
    """The same for all ways to a folder."""
    about = folder.stat()
    return about.st_dev, about.st_ino


def _kinds(source: SourceSettings) -> tuple[FileFormat, ...]:
    """The formats that files of a source may have."""
    if source.format == "auto":
        return tuple(SUFFIXES.values())
    if source.format == "hub-folder":
        return ("parquet", "arrow")
    return ("parquet",) if source.format == "deepeyes-rl" else (source.format,)


def _kind(file: Path, source: SourceSettings) -> FileFormat:
    kinds = _kinds(source)
    kind = SUFFIXES.get(file.suffix.lower())
    if kind in kinds:
        return kind
    if kind is None and len(kinds) == 1:
        return kinds[0]
    if source.format in ("json", "jsonl", "csv"):
        return source.format  # the user knows better than the suffix
    raise ConfigError(
        f"source {source.name}: {file} is not one of {', '.join(sorted(set(kinds)))}", "set its format, or rename it"
    )


def _split(file: Path) -> str | None:
    """The split of a saved dataset that a file belongs to."""
    if (file.parent / "state.json").is_file():
        return file.parent.name if (file.parent.parent / "dataset_dict.json").is_file() else None
    match = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?", file.stem)
    return match[1] if match and file.suffix.lower() in (".parquet", ".arrow") else None
