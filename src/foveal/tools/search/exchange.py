"""Recorded answers in and out: JSON lines of foveal, and the image search cache of MMSearch-R1 and DeepEyesV2."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from foveal.errors import InputError, SearchError
from foveal.tools.search.cache import VERSION, Answer, Answers, Request
from foveal.tools.search.providers.http import MAX_TITLE, text
from foveal.tools.search.providers.lens import small_picture
from foveal.tools.search.replay import packed, unpack
from foveal.tools.search.settings import Provider
from foveal.trajectory import ImageStore, SearchHit, image_ref, to_rgb

TITLES = ("tool_returned_web_title", "tool_returned_web_title_list")
THUMBNAILS = ("cached_images_path", "tool_returned_images_urls")
"""What the lists are called in the caches of different ports."""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: int
    tool: str
    provider: str
    sought: str
    k: int
    options: dict[str, JsonValue]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")
    request: _Asked
    hits: tuple[SearchHit, ...]
    fetched_at: str
    pictures: dict[str, str]
    refused: str | None = None


class Imported(NamedTuple):
    """What came out of a cache of MMSearch-R1."""

    answers: int
    unknown: int
    """Entries whose picture nobody has: they cannot be found again."""
    thumbnails_missing: int
    """Thumbnails that are not there or no pictures; their titles are kept."""


def export_answers(answers: Answers, path: Path) -> int:
    """Write all answers to a JSONL file, pictures inside.

    Returns:
        Number of lines.

    Raises:
        SearchError: The answers are damaged.
        InputError: The file cannot be written.
    """
    count = 0
    try:
        with path.open("w", encoding="utf-8") as file:
            for request, answer, fetched_at in answers.rows():
                line = {
                    "request": request,
                    "hits": [hit.model_dump(mode="json") for hit in answer.hits],
                    "fetched_at": fetched_at,
                    "pictures": {name: base64.b64encode(png).decode() for name, png in answer.pictures.items()},
                    **({} if answer.refused is None else {"refused": answer.refused}),
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror}", "name a file in a folder that exists"
        ) from error
    return count


def import_answers(answers: Answers, path: Path) -> int:
    """Add the answers of a JSONL file, all or none; later ones replace earlier ones to the same request.

    Returns:
        Number of lines.

    Raises:
        InputError: The file cannot be read, or a line is not as `export_answers` writes it.
        SearchError: The answers cannot be written.
    """
    count = 0

    def rows() -> Iterator[tuple[Request, Answer, str]]:
        nonlocal count
        with path.open("rb") as file:
            for count, raw in enumerate(file, 1):
                try:
                    yield _row(raw)
                except (ValueError, SearchError) as error:
                    said = _first(error) if isinstance(error, ValidationError) else error
                    raise InputError(f"{path}, line {count} is no recorded answer: {said}", "export it anew") from error

    try:
        answers.put_all(rows())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", "name a file of export_answers") from error
    return count


def import_mmsearch(
    answers: Answers,
    file: Path,
    thumbnails: Path,
    picture_of: Callable[[str], Image.Image | None],
    provider: Provider,
    k: int = 5,
) -> Imported:
    """Add the image search cache of MMSearch-R1 or DeepEyesV2, so that replay finds it by the question's picture.

    Args:
        answers: Where to.
        file: `fvqa_train_image_search_results_cache.json` or one like it: data id -> two parallel lists.
        thumbnails: Folder of the unpacked thumbnails; paths that lead out of it count as missing.
        picture_of: The question's picture for a data id, exactly the pixels that are searched for later.
        provider: In whose name the answers are kept: that of the settings they are replayed with.
        k: Number of hits that is asked for later; longer entries are cut.

    Raises:
        InputError: The file is no such cache.
        SearchError: The answers cannot be written.
    """
    try:
        entries = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", "name the JSON file of the cache") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no JSON: {error}", "name the JSON file of the cache") from error
    if not isinstance(entries, dict):
        raise InputError(f"{file} is no JSON object of data ids", "name the JSON file of the cache")
    kept = unknown = missing = 0

    def rows() -> Iterator[tuple[Request, Answer, str]]:
        nonlocal kept, unknown, missing
        for data_id, entry in entries.items():
            titles = _list(entry, TITLES, file, data_id)
            paths = _list(entry, THUMBNAILS, file, data_id)
            picture = picture_of(data_id)
            if picture is None:
                unknown += 1
                continue
            images, hits = ImageStore(), []
            for position, title in enumerate(titles[:k]):
                path = paths[position] if position < len(paths) else None
                small = _thumbnail(path, thumbnails)
                missing += path is not None and small is None
                shown = images.put(small) if small is not None else None
                hits.append(SearchHit(title=text(title, MAX_TITLE) or "", thumbnail=shown))
            kept += 1
            sought = image_ref(to_rgb(picture)).sha256
            yield Request("image_search", provider, sought, k, {}), packed(hits, images), ""

    answers.put_all(rows())
    return Imported(kept, unknown, missing)


def _row(raw: bytes) -> tuple[Request, Answer, str]:
    line = _Line.model_validate_json(raw)
    asked = line.request
    if asked.version != VERSION:
        raise ValueError(f"version {asked.version}, and this foveal reads version {VERSION}")
    if line.refused is not None and line.hits:
        raise ValueError("it has hits and is refused, too")
    named = {hit.thumbnail.sha256 for hit in line.hits if hit.thumbnail is not None}
    pictures = {name: base64.b64decode(png, validate=True) for name, png in line.pictures.items() if name in named}
    answer = Answer(line.hits, pictures, line.refused)
    unpack(answer, ImageStore())
    return Request(asked.tool, asked.provider, asked.sought, asked.k, asked.options), answer, line.fetched_at


def _first(error: ValidationError) -> str:
    issue = error.errors(include_url=False)[0]
    return f"{'.'.join(str(part) for part in issue['loc'])}: {issue['msg']}"


def _list(entry: Any, names: tuple[str, ...], file: Path, data_id: str) -> list[Any]:
    found = next((entry[name] for name in names if name in entry), None) if isinstance(entry, dict) else None
    if not isinstance(found, list):
        raise InputError(f"{file}: {data_id} has no list {names[0]}", "name the JSON file of an image search cache")
    return found


def _thumbnail(path: Any, folder: Path) -> Image.Image | None:
    if not isinstance(path, str):
        return None
    try:
        found = (folder / path).resolve()
        if not found.is_relative_to(folder.resolve()):
            return None
        return small_picture(found.read_bytes())
    except (OSError, ValueError):
        return None  # counted by the caller
