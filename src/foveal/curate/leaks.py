"""Which questions of a curation folder are nearly the same as others, or as those of a benchmark.

`check` writes down distances, not decisions: `CheckVerdict.reason` applies thresholds afterwards, so that these can be
changed without hashing a picture again. Memory grows by some hundred bytes a question; time in proportion to their
number, except where very many pictures look alike.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from foveal.config import Settings
from foveal.curate.folder import QUESTIONS, VERDICTS, Folder, Verdict
from foveal.curate.questions import StoredQuestion, read_questions, stream_questions
from foveal.errors import ConfigError, InputError
from foveal.files import write_whole
from foveal.trajectory import Record

FARTHEST = 48
"""Bits of 256; pictures that differ in more are not told of."""
PICTURES = "pictures"
AGAINST = "check-against.json"
"""Beside the verdicts: the benchmarks that were compared, and the SHA-256 of each."""
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
    """Near texts of benchmarks, whatever their pictures, most overlap first: each has more words than those before."""
    both: tuple[Match, ...] = ()
    """Items near in picture and text, nearest picture first: each has more overlap than those before."""

    def reason(self, settings: CheckSettings) -> str | None:
        """Why the question is not to be used, or None."""
        if any(match.looks(settings) and match.reads(settings) for match in self.both):
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
        How many verdicts were written: one for each question, in order. What has no answer will not be used, so
        nothing counts as its repetition.

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
    compared = {str(path): _sha256(path) for path in against}
    texts = [KnownText(item.stored.row.text) for item in items]
    benchmarks = Benchmarks(texts, list(kept.of(item.stored.pictures for item in items)))

    ids, keys, hashes, answered = [], [], [], []
    pictures = (stored.pictures for stored in stream_questions(file))
    for stored, hashed in zip(stream_questions(file), kept.of(pictures), strict=True):
        ids.append(stored.row.id)
        keys.append(" ".join(words_of(stored.row.text)))
        hashes.append(tuple(hashed))
        answered.append(bool(stored.row.gold))
        on_row(len(ids))
    rows = Rows([key if answered[place] else f"\0{place}" for place, key in enumerate(keys)], hashes)

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
                first = earlier.get(place)
                yield CheckVerdict(
                    id=ids[place],
                    duplicate=NearRow(id=ids[first.place], distance=first.distance) if first else None,
                    picture=match(near[0].place, near[0].distance) if near else None,
                    texts=tuple(match(text, overlap=overlap) for text, overlap in benchmarks.near_texts(words)),
                    both=tuple(match(*both) for both in benchmarks.near_both(near, words)),
                )

    (folder / VERDICTS / AGAINST).unlink(missing_ok=True)
    Folder(folder).write_verdicts("check", verdicts())
    write_whole(folder / VERDICTS / AGAINST, json.dumps(compared, indent=1) + "\n")
    return len(ids)


def verdicts_against(folder: Folder, benchmarks: Sequence[Path], step: str = "check") -> dict[str, CheckVerdict]:
    """What the check of a folder found out, if it was against these benchmarks.

    Args:
        folder: Of the questions.
        benchmarks: Those of the settings.
        step: The command that checks that folder.

    Raises:
        ConfigError: It was not checked, or against others; or one of them has changed since.
    """
    fix = f"run foveal curate {step}: what was hashed is not hashed again"
    if not folder.has("check"):
        raise ConfigError(f"{folder.path} was not checked", fix)
    file = folder.path / VERDICTS / AGAINST
    try:
        compared = dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", fix) from error
    if missing := [str(path) for path in benchmarks if str(path) not in compared]:
        raise ConfigError(f"{folder.path} was not checked against {', '.join(missing)}", fix)
    if more := compared.keys() - {str(path) for path in benchmarks}:
        raise ConfigError(f"{folder.path} was checked against {', '.join(sorted(more))}, too", fix)
    for path in benchmarks:
        if _set_file(path).is_file() and _sha256(path) != compared[str(path)]:  # elsewhere they may not be there
            raise ConfigError(f"{path} has changed since {folder.path} was checked against it", fix)
    return folder.verdicts("check", CheckVerdict)


def _sha256(path: Path) -> str:
    return hashlib.sha256(_set_file(path).read_bytes()).hexdigest()


class _Item(NamedTuple):
    benchmark: str
    stored: StoredQuestion


def _set_file(path: Path) -> Path:
    return path / QUESTIONS if path.is_dir() else path


def _name(path: Path) -> str:
    """The name of a benchmark: of its file, or of its folder if all such files have one name."""
    file = _set_file(path).absolute()
    return file.parent.name if file.name == QUESTIONS else file.stem
