"""Which questions of a curation folder are nearly the same as others, or as those of a benchmark.

`check` writes down distances, not decisions: `CheckVerdict.reason` applies thresholds afterwards, so that these can be
changed without hashing a picture again. Memory grows by some hundred bytes a question; time in proportion to their
number, except where very many pictures look alike.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from foveal.config import Settings
from foveal.curate.folder import QUESTIONS, VERDICTS, Folder, Verdict
from foveal.curate.questions import QuestionRow, StoredQuestion, read_questions
from foveal.errors import InputError
from foveal.trajectory import Record

FARTHEST = 48
"""Bits of 256; pictures that differ in more are not told of."""
PICTURES = "pictures"
MOST_TEXTS = 3
"""Texts of benchmarks that a verdict tells of."""
CHUNK = 1024
"""Questions that are compared at a time."""


class CheckSettings(Settings):
    """From where on two questions count as the same. Thresholds can be changed after the check."""

    duplicate_distance: int = Field(24, ge=-1, le=FARTHEST)
    """Bits of 256 in which the pictures of two rows with the same question may differ; -1 keeps near duplicates."""
    picture_distance: int = Field(40, ge=-1, le=FARTHEST)
    """Bits of 256 in which a picture may differ from that of a benchmark."""
    text_overlap: float = Field(0.75, ge=0.5)
    """Share of a benchmark question's n-grams; above 1 nothing leaks by its text."""
    min_words: int = Field(8, ge=5)
    """Benchmark questions of fewer words leak only together with their picture."""
    alone: tuple[Literal["picture", "text"], ...] = ("picture", "text")
    """What is a leak without the other."""


class NearRow(Record):
    """An earlier row with the same question and near pictures."""

    id: str
    distance: int = Field(ge=0)
    """Bits of 256 in which the pictures differ; of several, those of the pair that differs most."""


class Match(Record):
    """A question of a benchmark."""

    benchmark: str
    item: str
    """Its id there."""
    distance: int | None = None
    """Bits of 256 in which the nearest two pictures differ."""
    overlap: float | None = None
    """Share of its n-grams that are in the question."""
    words: int
    """Of its question."""

    def looks(self, settings: CheckSettings) -> bool:
        """Whether the pictures count as the same."""
        return self.distance is not None and self.distance <= settings.picture_distance

    def reads(self, settings: CheckSettings) -> bool:
        """Whether the texts count as the same."""
        return self.overlap is not None and self.overlap >= settings.text_overlap


class CheckVerdict(Verdict):
    """What a question is near to."""

    duplicate: NearRow | None = None
    """The nearest earlier row; the first of them."""
    picture: Match | None = None
    """The nearest picture of a benchmark, whatever is asked of it."""
    texts: tuple[Match, ...] = ()
    """The nearest texts of benchmarks, whatever their pictures; most overlap first."""
    both: Match | None = None
    """The nearest item in picture among those that are near in text, too."""

    def reason(self, settings: CheckSettings) -> str | None:
        """Why the question is not to be used, or None."""
        if self.both and self.both.looks(settings) and self.both.reads(settings):
            return "leak of picture and text"
        if "picture" in settings.alone and self.picture and self.picture.looks(settings):
            return "leak of picture"
        long = [match for match in self.texts if match.words >= settings.min_words]
        if "text" in settings.alone and any(match.reads(settings) for match in long):
            return "leak of text"
        if self.duplicate is not None and self.duplicate.distance <= settings.duplicate_distance:
            return "near duplicate"
        return None


def check(folder: Path, against: Sequence[Path], on_row: Callable[[int], None] = lambda done: None) -> int:
    """Compare the questions of a curation folder with one another and with benchmarks; writes `verdicts/check.jsonl`.

    Args:
        folder: The curation folder.
        against: Question sets that nothing may leak from: JSONL files, or folders with `questions.jsonl`.
        on_row: Told how many questions have been looked at; most of the time goes into their pictures.

    Returns:
        How many verdicts were written: one for each question, in order.

    Raises:
        InputError: A question set or a picture cannot be read.
    """
    from foveal.curate.hashing import KeptHashes
    from foveal.curate.nearness import Benchmarks, Rows
    from foveal.curate.texts import KnownText, words_of

    file = folder / QUESTIONS
    if not file.is_file():
        raise InputError(f"{folder} holds no questions yet", "take some in first: foveal curate add")
    kept = KeptHashes(folder / VERDICTS, folder / PICTURES)
    items = [_Item(_name(path), stored) for path in against for stored in read_questions([_set_file(path)])]
    texts = [KnownText(item.stored.row.text) for item in items]
    benchmarks = Benchmarks(texts, list(kept.of(item.stored.pictures for item in items)))

    ids, keys, hashes = [], [], []
    for stored, hashed in zip(_stream(file), kept.of(stored.pictures for stored in _stream(file)), strict=True):
        ids.append(stored.row.id)
        keys.append(" ".join(words_of(stored.row.text)))
        hashes.append(tuple(hashed))
        on_row(len(ids))
    rows = Rows(keys, hashes)

    def match(place: int, distance: int | None = None, overlap: float | None = None) -> Match:
        item = items[place]
        rounded = None if overlap is None else round(overlap, 4)
        return Match(
            benchmark=item.benchmark,
            item=item.stored.row.id,
            distance=distance,
            overlap=rounded,
            words=texts[place].words,
        )

    def verdicts() -> Iterator[CheckVerdict]:
        for start in range(0, len(ids), CHUNK):
            part = range(start, min(start + CHUNK, len(ids)))
            earlier = rows.near(part, FARTHEST)
            pictures = benchmarks.near_pictures([hashes[place] for place in part], FARTHEST)
            for place in part:
                near = pictures.get(place - start, [])
                words = keys[place].split(" ")
                found = benchmarks.near_texts(words)[:MOST_TEXTS]
                both = benchmarks.near_both(near, words)
                first = earlier.get(place)
                yield CheckVerdict(
                    id=ids[place],
                    duplicate=NearRow(id=ids[first.place], distance=first.distance) if first else None,
                    picture=match(near[0].place, near[0].distance) if near else None,
                    texts=tuple(match(text, overlap=overlap) for text, overlap in found),
                    both=match(*both) if both else None,
                )

    Folder(folder).write_verdicts("check", verdicts())
    return len(ids)


class _Item(NamedTuple):
    benchmark: str
    stored: StoredQuestion


def _set_file(path: Path) -> Path:
    return path / QUESTIONS if path.is_dir() else path


def _name(path: Path) -> str:
    """The name of a benchmark: of its file, or of its folder if all such files have one name."""
    file = _set_file(path).absolute()
    return file.parent.name if file.name == QUESTIONS else file.stem


def _stream(file: Path) -> Iterator[StoredQuestion]:
    """The questions of a file that may be too large to be held."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield StoredQuestion(QuestionRow.model_validate_json(line), file, number)
            except ValidationError as error:
                raise InputError(f"{file} line {number} is no question: {error}", "add the sources again") from None
