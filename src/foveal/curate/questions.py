r"""A question set: a JSONL file, one question a line, with its pictures as files.

    {"id": "q1", "text": "What number is on the red board?\nA. 41\nB. 42", "images": ["pictures/q1.png"],
     "gold": ["42"], "family": "perception", "meta": {"options": {"A": "41", "B": "42"}}}

`id` and `text` are needed. Paths of pictures start at the folder of the file. `gold` may be one string instead of a
list. `meta` is kept as it is: rules of accuracy read `options` there, but a model is shown `text` alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, ValidationError, field_validator

from foveal.agent import load_picture
from foveal.errors import InputError
from foveal.trajectory import ImageStore, Question, Record

MOST_PROBLEMS = 5
"""Wrong lines that an error tells of; of more it gives the number."""


class QuestionRow(Record):
    """A line of a question set."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    images: tuple[str, ...] = ()
    gold: tuple[str, ...] = ()
    family: str | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("gold", mode="before")
    @classmethod
    def _one_answer(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


@dataclass(frozen=True)
class StoredQuestion:
    """A question whose pictures are still files."""

    row: QuestionRow
    file: Path
    line: int

    @property
    def where(self) -> str:
        """For messages: file and line."""
        return f"{self.file} line {self.line}"

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The files of its pictures."""
        return tuple(self.file.parent / name for name in self.row.images)

    def open(self, images: ImageStore) -> Question:
        """The question that an agent is asked; its pictures are read and put into the store.

        Raises:
            InputError: A picture cannot be read.
        """
        refs = tuple(images.put(load_picture(path)) for path in self.pictures)
        return Question.model_validate({**self.row.model_dump(), "images": refs})


def read_questions(files: Sequence[Path]) -> list[StoredQuestion]:
    """All questions of the files, in order. Pictures are looked for, but not opened.

    Raises:
        InputError: A file cannot be read or holds no question, or lines are wrong: no JSON, other fields, a picture
            that is not there, an id twice.
    """
    found = [question for file in files for question in _read(file)]
    seen: dict[str, StoredQuestion] = {}
    for question in found:
        first = seen.setdefault(question.row.id, question)
        if first is not question:
            raise InputError(
                f"{question.where}: the id {question.row.id!r} is that of {first.where}", "give it an id of its own"
            )
    return found


def stream_questions(file: Path) -> Iterator[StoredQuestion]:
    """The questions of a file that foveal has written and that may be too large to be held.

    Raises:
        InputError: A line is no question.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield StoredQuestion(QuestionRow.model_validate_json(line), file, number)
            except ValidationError as error:
                why = error.errors()[0]["msg"]
                raise InputError(f"{file} line {number} is no question: {why}", "add the sources again") from None


def _read(file: Path) -> Iterator[StoredQuestion]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"question set {file} cannot be read: {error}", "name a JSONL file in UTF-8") from error
    questions: list[StoredQuestion] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            question = StoredQuestion(QuestionRow.model_validate_json(line), file, number)
        except ValidationError as error:
            issue = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in issue["loc"])
            problems.append(f"line {number}: {key} {issue['msg']}".replace(":  ", ": "))
            continue
        problems += [f"line {number}: there is no picture {path}" for path in question.pictures if not path.is_file()]
        questions.append(question)
    if problems:
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise InputError(
            f"question set {file}: {'; '.join(problems[:MOST_PROBLEMS])}{more}",
            'a line is {"id": ..., "text": ..., "images": [...], "gold": [...], "family": ..., "meta": {...}}',
        )
    if not questions:
        raise InputError(f"question set {file} holds no question", "write one question a line")
    yield from questions
