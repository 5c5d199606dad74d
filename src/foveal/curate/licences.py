"""Licences and addresses of sources: they may be named when the questions are there already."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from foveal.curate.added import AddedFigures, read_added, write_added
from foveal.curate.folder import QUESTIONS
from foveal.curate.questions import QuestionRow, stream_questions
from foveal.curate.sources import SourceSettings
from foveal.files import replacing


def without_licences(settings: Mapping[str, JsonValue]) -> JsonValue:
    """What questions follow from: the settings of `sources.json` without licences and addresses."""
    sources = cast(list[dict[str, JsonValue]], settings.get("sources", []))
    lasting = [{key: value for key, value in one.items() if key not in ("licence", "url")} for one in sources]
    return {**settings, "sources": cast(JsonValue, lasting)}


def name_licences(
    folder: Path, done: AddedFigures, settings: dict[str, JsonValue], sources: Sequence[SourceSettings]
) -> AddedFigures:
    """Write the licences and addresses of now into a folder that is done; for who is `alone` in it.

    Args:
        folder: Where.
        done: What became of its sources.
        settings: In place of those that it was made with.
        sources: The same sources; their licences and addresses are written.
    """
    named = {source.name: source for source in sources}
    with replacing(folder / QUESTIONS) as questions:
        for one in stream_questions(folder / QUESTIONS):
            source = named.get(str(one.row.meta.get("source")))
            questions.write(line_of(one.row, source.licence if source is not None else one.row.meta.get("licence")))
    found = [one.model_copy(update=named[one.name].model_dump(include={"licence", "url"})) for one in done.sources]
    done = AddedFigures(settings=settings, sources=tuple(found))
    write_added(folder, done)
    return done


def line_of(row: QuestionRow, licence: JsonValue) -> str:
    """A line of the question set, with this licence."""
    return row.model_copy(update={"meta": licensed(row.meta, licence)}).model_dump_json(exclude_defaults=True) + "\n"


def licensed(meta: Mapping[str, JsonValue], licence: JsonValue) -> dict[str, JsonValue]:
    """`meta` of a question with this licence in place of the one that it has; None is none."""
    rest = {key: value for key, value in meta.items() if key != "licence"}
    return rest if licence is None else {**rest, "licence": licence}


def licences_of_questions(folder: Path) -> dict[str, JsonValue]:
    """The licence of every question of a folder, by id; None for those without one.

    Raises:
        InputError: A line is no question.
    """
    if not (folder / QUESTIONS).is_file():
        return {}
    return {one.row.id: one.row.meta.get("licence") for one in stream_questions(folder / QUESTIONS)}


def licences_of_sources(folder: Path) -> dict[str, str | None]:
    """The licence of every source of a folder, by name; empty if its questions were not made of sources.

    Raises:
        RecordError: sources.json cannot be read.
    """
    added = read_added(folder)
    return {} if added is None else {one.name: one.licence for one in added.sources}
