"""What a run writes down about where its tools looked: a fingerprint of the index, the settings of live search."""

import hashlib
import json
from pathlib import Path

from pydantic import JsonValue

from foveal.tools.search import image, text
from foveal.tools.search.database import reading
from foveal.tools.search.settings import SearchSettings
from foveal.tools.search.stamps import read_stamps
from foveal.tools.settings import ToolSettings

_HOLDS = {
    text.FILE: "select title, body, link, date, source from documents",
    image.FILE: "select title, link, source, layout from pictures",
}
"""What a search can find in each file of an index."""


def describe_searched(settings: ToolSettings) -> dict[str, JsonValue]:
    """What is searched, as far as another one would be another experiment. It holds no key.

    Of the mode of live search it says whether answers are kept: a run that replays what another one recorded is the
    same experiment.

    Args:
        settings: Of tools that can be opened.

    Raises:
        InputError: The index folder cannot be used.
        SearchError: The index is damaged.
    """
    about: dict[str, JsonValue] = {}
    if settings.search is not None:
        about["index"] = index_fingerprint(settings.search)
    if settings.live is not None:
        about["live"] = _live(settings.live)
    if settings.visit is not None:
        about["pages"] = {"max_chars": settings.visit.max_chars, "kept": settings.visit.mode != "live"}
    return about


def index_fingerprint(folder: Path) -> str:
    """SHA-256 of what an index folder was built from: of its files, and of all that it holds of no file.

    A copy of the folder has the same, and so has one that was built from a copy of the files.

    Raises:
        InputError: The folder cannot be used.
        SearchError: The index is damaged.
    """
    digest, origins = hashlib.sha256(), list[str]()
    if (stamps := read_stamps(folder)) is not None:
        folders = [stamps.files, *(stamps.added[name] for name in sorted(stamps.added))]
        digest.update(json.dumps([sorted((origin, one.stamp) for origin, one in files.items())
                                  for files in folders]).encode())  # fmt: skip
        origins = [origin for files in folders for origin in files]
    for file, held in _HOLDS.items():
        if stamps is None:
            digest.update(f"{file}\n".encode())
        if (folder / file).exists():
            with reading(folder / file) as connection:
                of_none = f"{held} where origin is null or origin not in (select value from json_each(?)) order by id"
                for row in connection.execute(of_none, (json.dumps(origins),)):
                    digest.update(repr(row).encode())
    return digest.hexdigest()


def _live(settings: SearchSettings) -> JsonValue:
    """Another address of the same provider is no other search; a program may have a key among its arguments."""
    about: dict[str, JsonValue] = {
        "provider": settings.provider, "options": {**settings.options}, "kept": settings.mode != "live",
    }  # fmt: skip
    if settings.command:
        about["command"] = hashlib.sha256(json.dumps(settings.command).encode()).hexdigest()
    return about
