"""Which column of a raw table is what: from a row to the fields of a question."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from pydantic import Field

from foveal.config import Settings
from foveal.curate.choices import by_letter, lettered, with_choices
from foveal.curate.rejects import Refused
from foveal.reward.choice import read_choice
from foveal.reward.text import normalise

MARK = "<image>"
"""Where a picture stands in a text."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?", re.ASCII)
"""No larger exponents: an `id` of 1e9999999 is not to be written out."""


class Columns(Settings):
    """Names of columns. A dotted name reaches into structs and lists: `extra_info.answer`, `prompt.0.content`."""

    question: str = "question"
    images: str | tuple[str, ...] = ()
    """One column or several: a path, a list of paths, bytes, `{bytes, path}`, base64 or a data URL."""
    answer: str | None = None
    """A text, a number, or a list of accepted answers. Not named: nobody knows the answers."""
    alternatives: str | None = None
    """More accepted answers."""
    choices: str | None = None
    """A list, a JSON list as text, or letter to text: lines `A. cat` behind the question, and `meta.options`."""
    reasoning: str | None = None
    """A worked solution, kept as `meta.reasoning`."""
    domain: str | None = None
    tags: str | None = None
    """A text or a list of them."""
    id: str | None = None
    family: str | None = None

    @property
    def pictures(self) -> tuple[str, ...]:
        """The columns of pictures."""
        return (self.images,) if isinstance(self.images, str) else self.images

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that is named."""
        others = (
            *(self.answer, self.alternatives, self.choices, self.reasoning),
            *(self.domain, self.tags, self.id, self.family),
        )
        return (self.question, *self.pictures, *(name for name in others if name is not None))


class Reading(Settings):
    """How the fields of a source are to be understood."""

    answer_separator: str | None = Field(None, min_length=1)
    """Splits a text of answers, `" or "`: each part is accepted."""
    choices_separator: str | None = Field(None, min_length=1)
    """Splits a text of choices."""
    answer_index: bool = False
    """The answer is the place of the right choice, counted from 0: `1`, `1.0` or `"1"`."""


class Fields(NamedTuple):
    """What a row says of a question; pictures are not opened."""

    text: str
    pictures: tuple[Any, ...]
    answers: tuple[str, ...]
    options: dict[str, str] | None
    """Letter to text; the text lists them, too."""
    reasoning: str | None
    id: str | None
    family: str | None
    domain: str | None
    tags: tuple[str, ...]


def value_at(values: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or None if the row has none; NaN is none."""
    found = values[path] if path in values else _reached(values, path)
    return None if _absent(found) else found


def _reached(values: Mapping[str, Any], path: str) -> Any:
    found: Any = values
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, Sequence) and not isinstance(found, str | bytes) and re.fullmatch(r"-?\d{1,6}", part):
            place = int(part)
            found = found[place] if -len(found) <= place < len(found) else None
        else:
            return None
    return found


def is_among(path: str, names: Iterable[str]) -> bool:
    """Whether a column of this name can be there, as far as the names of columns tell: they end at lists."""
    known = set(names)
    outside = re.split(r"\.-?\d+(?:\.|$)", path, maxsplit=1)[0]
    return path in known or outside in known


def read_fields(values: Mapping[str, Any], columns: Columns, reading: Reading) -> Fields:
    """The fields of a question.

    Raises:
        Refused: There is no question, no answer where one is named, or a field is not what it should be.
    """

    def at(path: str | None) -> Any:
        return None if path is None else value_at(values, path)

    question = at(columns.question)
    if question is not None and not isinstance(question, str):
        raise Refused("bad_field", f"{columns.question} is {_kind(question)} instead of text")
    if not question or not question.replace(MARK, "").strip():
        raise Refused("no_question", f"{columns.question} is empty")
    pictures = tuple(item for path in columns.pictures for item in picture_values(at(path)))
    try:
        choices = _choices(at(columns.choices), columns.choices, reading.choices_separator)
    except ValueError as error:
        raise Refused("bad_field", f"{columns.choices} holds {error}") from None
    answers = _answers(at(columns.answer), at(columns.alternatives), choices, columns, reading)

    def single(path: str | None) -> str | None:
        value = at(path)
        number = _whole(value) if isinstance(value, float | Decimal) else None
        if number is not None:
            return f"{number:.0f}"  # a column of whole numbers with gaps is often one of floats
        return None if value is None else _text(value, path).strip() or None

    return Fields(
        text=with_choices(place_marks(question, len(pictures)), choices.options),
        pictures=pictures,
        answers=answers,
        options=choices.options or None,
        reasoning=single(columns.reasoning),
        id=single(columns.id),
        family=single(columns.family),
        domain=single(columns.domain),
        tags=read_texts(at(columns.tags), columns.tags),
    )


def place_marks(text: str, pictures: int) -> str:
    """The text without `<image>` marks before and behind it; those within become `image_1`, `image_2`, ...

    Raises:
        Refused: There are marks, but not as many as pictures; or the text is no Unicode.
    """
    marks = text.count(MARK)
    if marks and marks != pictures:
        raise Refused("image_marks", f"{marks} {MARK} in the text for {pictures} pictures")
    parts = re.split(f"({MARK})", text)
    number = 0
    for place, part in enumerate(parts):
        if part == MARK:
            number += 1
            # A picture that stands before or behind all words needs no name.
            inside = "".join(parts[:place]).strip() and "".join(parts[place + 1 :]).replace(MARK, "").strip()
            parts[place] = f"image_{number}" if inside else ""
    return _unicode("".join(parts).strip(), "the question")


def picture_values(value: Any) -> list[Any]:
    """Single pictures of a column: those of a list, also of a JSON list in a text; none if the column is empty."""
    if value is None or value == "":
        return []
    if isinstance(value, str) and (inner := _json_list(value)) is not None:
        value = inner
    if isinstance(value, list | tuple):
        # A null in a list is a picture that got lost; a row must not become a question about fewer.
        return [item for inner in value for item in ([None] if _absent(inner) else picture_values(inner))]
    return [value]


class _Choices(NamedTuple):
    """The choices of a row: as they are shown, and as the row speaks of them, in the same order."""

    options: dict[str, str]
    """Letter to text."""
    names: tuple[str, ...]
    """Letters, or names that made room for letters and that nobody is shown."""
    texts: tuple[str, ...]
    """With letters in front, if there were any."""


def _answers(answer: Any, alternatives: Any, choices: _Choices, columns: Columns, reading: Reading) -> tuple[str, ...]:
    more = read_texts(alternatives, columns.alternatives, reading.answer_separator)
    if reading.answer_index:
        found = (_chosen(answer, choices.options), *_as_choices(more, choices))
    else:
        found = _as_choices((*read_texts(answer, columns.answer, reading.answer_separator), *more), choices)
    if not found and (columns.answer or columns.alternatives):
        raise Refused("no_answer", f"{columns.answer or columns.alternatives} is empty")
    return tuple(dict.fromkeys(found))


def _chosen(answer: Any, options: Mapping[str, str]) -> str:
    """The choice at a place."""
    place = None if isinstance(answer, bool) else _whole(answer)
    if place is None:
        raise Refused("wrong_answer", f"the answer {answer!r} is no place among the choices")
    if not 0 <= place < len(options):
        raise Refused("wrong_answer", f"the answer is choice {answer}, counted from 0, of {len(options)}")
    return _told([*options][int(place)], options)


def _as_choices(answers: tuple[str, ...], choices: _Choices) -> tuple[str, ...]:
    """Answers that name choices, told so that who is shown the choices can say the same; as they are without choices.

    Raises:
        Refused: One names none, or several that are not the same.
    """
    if not choices.options:
        return answers
    found: list[str] = []
    for answer in answers:
        letters = _letters(answer, choices)
        if not letters:
            place = "; if it is a place, set answer_index" if _whole(answer) is not None else ""
            raise Refused("wrong_answer", f"the answer {answer!r} is none of the choices{place}")
        if len({choices.options[letter] for letter in letters}) > 1:
            raise Refused("wrong_answer", f"the answer {answer!r} may be any of the choices {', '.join(letters)}")
        found += [_told(letter, choices.options, answer) for letter in letters]
    return tuple(found)


def _letters(answer: str, choices: _Choices) -> list[str]:
    """The letters of all choices that an answer may mean: by name, by text, or `B. cat`."""

    def saying(said: Sequence[str]) -> set[str]:
        spoken = dict(zip(choices.options, said, strict=True))
        exact = {letter for letter, one in spoken.items() if one == answer}
        return exact or {letter for letter, one in spoken.items() if _same(one, answer)}

    found = saying(choices.names) | saying(choices.texts) | saying([*choices.options.values()])
    if not found:
        # A letter that the row itself does not speak of is none in the answer.
        own = [*choices.options] == [name.upper() for name in choices.names]
        found = {
            letter for letter, text in choices.options.items() if read_choice(answer, {letter if own else "": text})
        }
    return sorted(found)


def _same(one: str, other: str) -> bool:
    number = _whole(one)
    return normalise(one) == normalise(other) or (number is not None and number == _whole(other))  # 2.0 is the choice 2


def _told(letter: str, options: Mapping[str, str], answer: str = "") -> str:
    """A choice in the row's words, else its text, else its letter: the first that means this choice and no other."""
    told = (text for text in (answer, options[letter]) if text and read_choice(text, options) == letter)
    return next(told, letter)


def _whole(value: Any) -> Decimal | None:
    """The whole number that a number is or a text says, `2`, `2.0` and `"2"` alike; None if there is none."""
    if isinstance(value, int):
        return Decimal(value)
    if not isinstance(value, str | float | Decimal) or not _NUMBER.fullmatch(text := str(value).strip()):
        return None
    number = Decimal(text)
    return number if number == number.to_integral_value() else None


def _choices(value: Any, column: str | None, separator: str | None) -> _Choices:
    """The choices of a row; none if all are blank.

    Raises:
        ValueError: There are more than letters.
    """
    if isinstance(value, str):
        inner = _json_list(value) if separator is None else None
        value = inner if inner is not None else value.split(separator) if separator and value.strip() else [value]
    if isinstance(value, dict):
        named = {
            _unicode(name, "a choice").strip(): _text(item, column).strip()
            for name, item in value.items()
            if not _absent(item)
        }
        options, names, texts = by_letter(named), tuple(named), tuple(named.values())
    elif value is None or isinstance(value, list | tuple):
        texts = tuple(_text(item, column).strip() for item in value or ())
        options = lettered(texts)  # not without repeats: letters count places
        names = tuple(options)
    else:
        raise Refused("bad_field", f"{column} is {_kind(value)} instead of a list")
    if any(MARK in text for text in texts):
        raise Refused("image_marks", f"{MARK} in {column}: a choice can only be text")
    return _Choices(options, names, texts) if any(options.values()) else _Choices({}, (), ())


def read_texts(value: Any, column: str | None, separator: str | None = None) -> tuple[str, ...]:
    """The texts of a field that is a text, a number, a list of them, or a JSON list as text; none if all are blank.

    Args:
        value: What the row has there.
        column: Its name, for messages.
        separator: Splits a text.

    Raises:
        Refused: There is something else in it.
    """
    if isinstance(value, str):
        inner = _json_list(value)
        value = inner if inner is not None else value.split(separator) if separator else [value]
    elif value is None:
        return ()
    elif not isinstance(value, list | tuple):
        value = [value]
    texts = [_text(item, column).strip() for item in value if not _absent(item)]
    return tuple(dict.fromkeys(text for text in texts if text))


def _text(value: Any, column: str | None) -> str:
    if isinstance(value, str):
        return _unicode(value, str(column))
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal) and not _absent(value):
        return str(value)
    raise Refused("bad_field", f"{column} holds {_kind(value)} instead of text")


def _absent(value: Any) -> bool:
    """Whether there is no value: tables of numbers write NaN where JSON has null."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _json_list(text: str) -> list[Any] | None:
    """The texts of a JSON list such as `["a", "b"]` or `[]`; None if the text is none, as `[1, 2)` is not."""
    if not (text.lstrip().startswith("[") and text.rstrip().endswith("]")):
        return None
    try:
        found = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    # [3, 4] is an answer, a point or an interval; a list of answers is one of texts.
    return found if all(isinstance(item, str) for item in found) else None


def _unicode(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("bad_field", f"{what} holds half of a UTF-16 pair") from None
    return text


def _kind(value: Any) -> str:
    if _absent(value):
        return "nothing"
    names = {dict: "an object", list: "a list", bytes: "bytes", bool: "true or false"}
    return names.get(type(value), "a number" if isinstance(value, int | float | Decimal) else type(value).__name__)
