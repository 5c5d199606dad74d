"""What formats have in common: a conversation or a question whose pictures are still files or bytes.

    Trajectory -> Dialogue -> row of a format        row of a format -> Dialogue -> Trajectory

A dialogue holds what the model saw and wrote, and a `Label` with what is known beside that; a task is a question.
`conversation` turns trajectories into dialogues and back.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from foveal.trajectory import Record, StopReason

Role = Literal["system", "user", "assistant"]
Picture = bytes | Path
"""A picture as the content of its file, or as that file."""


class Unfit(Exception):
    """A row that cannot be carried over; the message says why."""


class Where(NamedTuple):
    """Place of a row: file, and line or row counted from 1."""

    file: Path
    row: int | None
    """None if it is the whole file."""

    @property
    def name(self) -> str:
        """An identifier for a row that has none."""
        return f"{self.file.stem}-{self.row}"


class Reject(NamedTuple):
    """A row that was left out, and why."""

    where: Where
    reason: str


class Line(NamedTuple):
    """One message: text (`str`) and pictures in order, at least one of them."""

    role: Role
    pieces: tuple[str | Picture, ...]

    @property
    def text(self) -> str:
        """The text, joined."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, in order."""
        return tuple(piece for piece in self.pieces if not isinstance(piece, str))


class Label(Record):
    """What is known about a conversation beside its messages. Formats keep it as JSON text under the name `foveal`."""

    question: str
    """Identifier of the question."""
    text: str
    gold: tuple[str, ...] = ()
    family: str | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)
    policy: str
    profile: str
    prompt: int = Field(ge=0)
    """How many messages come before the first turn."""
    cut: tuple[int, ...] = ()
    """Turns, counted from 0, that were cut at their token limit."""
    answer: str | None = None
    stop_reason: StopReason
    error: str | None = None
    reward: dict[str, float] = Field(default_factory=dict)
    unscored: str | None = None


@dataclass(frozen=True)
class Dialogue:
    """A conversation."""

    where: Where
    id: str
    lines: tuple[Line, ...]
    label: Label | None
    """None for a conversation that foveal did not write."""

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures of all messages, in order."""
        return tuple(picture for line in self.lines for picture in line.pictures)


@dataclass(frozen=True)
class Task:
    """A question of a question set."""

    where: Where
    id: str
    text: str
    pictures: tuple[Picture, ...]
    gold: tuple[str, ...]
    family: str | None
    meta: dict[str, JsonValue]

    def lines(self, system: str | None, suffix: str) -> tuple[Line, ...]:
        """The messages that ask it: the system prompt, if there is one, then all pictures and the text."""
        user = Line("user", (*self.pictures, self.text + suffix))
        return (user,) if system is None else (Line("system", (system,)), user)


class About(Record):
    """What is known about a question beside pictures, as formats keep it under the name `foveal`."""

    text: str
    gold: tuple[str, ...] = ()
    family: str | None = None
    meta: dict[str, JsonValue] = Field(default_factory=dict)


def about(task: Task) -> About:
    """What is known about a question beside its pictures."""
    return About(text=task.text, gold=task.gold, family=task.family, meta=task.meta)


def first_answer(task: Task) -> str:
    """The answer for formats that hold one.

    Raises:
        Unfit: No answer is known.
    """
    if not task.gold:
        raise Unfit("the question has no accepted answer, and this format needs one")
    return task.gold[0]


def read_label(text: object) -> Label | None:
    """The label from its JSON text; None if there is none.

    Raises:
        Unfit: It is no label.
    """
    if text is None:
        return None
    try:
        return Label.model_validate_json(str(text))
    except ValidationError as error:
        raise Unfit(f"`foveal` is no label of a conversation: {first_issue(error)}") from None


def read_about(text: object) -> About | None:
    """What is known about a question, from its JSON text; None if there is none.

    Raises:
        Unfit: It is something else.
    """
    if text is None:
        return None
    try:
        return About.model_validate_json(str(text))
    except ValidationError as error:
        raise Unfit(f"`foveal` does not describe a question: {first_issue(error)}") from None


def first_issue(error: ValidationError) -> str:
    """The first thing that a record refused, with its place."""
    issue = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(key) for key in issue['loc'])} {issue['msg']}".strip()
