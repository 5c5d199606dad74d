"""What became of the sources of a curation folder: the records of its `sources.json`."""

from collections import Counter
from pathlib import Path

from pydantic import JsonValue, ValidationError

from foveal.errors import RecordError
from foveal.files import replacing
from foveal.trajectory import Record

SOURCES = "sources.json"


class FileFigures(Record):
    """What became of one raw file."""

    name: str
    sha256: str
    size: int
    """Bytes."""
    rows: int
    """Rows read, kept or not; what cannot be read to the end counts as one."""


class SourceFigures(Record):
    """What became of one source."""

    name: str
    licence: str | None
    url: str | None
    files: tuple[FileFigures, ...]
    rows: int
    kept: int
    rejected: dict[str, int]
    """Rows set aside, by reason."""


class AddedFigures(Record):
    """What became of all sources; this is `sources.json`."""

    settings: dict[str, JsonValue]
    """What the folder was made with."""
    sources: tuple[SourceFigures, ...]

    @property
    def kept(self) -> int:
        """Questions in the set."""
        return sum(source.kept for source in self.sources)

    @property
    def rejected(self) -> Counter[str]:
        """Rows set aside, by reason."""
        return sum((Counter(source.rejected) for source in self.sources), Counter())


def read_added(folder: Path) -> AddedFigures | None:
    """What became of the sources of a folder; None if none were added, or not to the end.

    Raises:
        RecordError: sources.json cannot be read.
    """
    file = folder / SOURCES
    if not file.is_file():
        return None
    fix = f"move {file} and the questions.jsonl beside it away, and take the same sources in again: nobody is asked"
    try:
        return AddedFigures.model_validate_json(file.read_bytes())
    except ValidationError as error:
        issue = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in issue["loc"])
        raise RecordError(f"{file} cannot be read: {key} {issue['msg']}".replace(":  ", ": "), fix) from None
    except OSError as error:
        raise RecordError(f"{file} cannot be read: {error.strerror}", fix) from error


def write_added(folder: Path, added: AddedFigures) -> None:
    """Write sources.json; for who is `alone` in the folder."""
    with replacing(folder / SOURCES) as file:
        file.write(added.model_dump_json(indent=2) + "\n")
