"""What formats have in common: a conversation or a question whose pictures are still files or bytes.

    Trajectory -> Dialogue -> row of a format        row of a format -> Dialogue -> Trajectory

A dialogue holds what the model saw and wrote, and a `Label` with what is known beside that. Pieces of text that follow
each other are joined, and empty ones beside pictures are gone. Token ids, times, settings and the insides of
observations (only what was shown of them stays) have no place in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue, ValidationError

from foveal.parse import Answer, Call, Code, Malformed, ParsedTurn
from foveal.protocol import DEEPEYES_V2, FOVEAL, PROFILES, Profile, parse_turn
from foveal.trajectory import (
    ImagePart,
    ImageRef,
    Message,
    Part,
    Question,
    Record,
    StopReason,
    TextPart,
    ToolCall,
    Trajectory,
    Turn,
)

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


def from_trajectory(trajectory: Trajectory, where: Where, picture: Callable[[ImageRef], bytes]) -> Dialogue:
    """The conversation of a trajectory.

    Args:
        trajectory: The record.
        where: Where it stands.
        picture: Gives the PNG file of a picture.

    Raises:
        Unfit: The model said nothing.
    """
    if not trajectory.turns:
        raise Unfit(f"trajectory {trajectory.id} has no turn ({trajectory.stop_reason}): there is nothing to learn")
    lines = [Line(message.role, _pieces(message.parts, picture)) for message in trajectory.prompt]
    for turn in trajectory.turns:
        lines.append(Line("assistant", (turn.text,)))
        if turn.observation_parts:
            lines.append(Line("user", _pieces(turn.observation_parts, picture)))
    label = Label(
        question=trajectory.question.id,
        text=trajectory.question.text,
        gold=trajectory.question.gold,
        family=trajectory.question.family,
        meta=trajectory.question.meta,
        policy=trajectory.policy,
        profile=trajectory.profile,
        prompt=len(trajectory.prompt),
        cut=tuple(number for number, turn in enumerate(trajectory.turns) if turn.finish == "length"),
        answer=trajectory.answer,
        stop_reason=trajectory.stop_reason,
        error=trajectory.error,
        reward=trajectory.reward,
        unscored=trajectory.unscored,
    )
    return Dialogue(where, trajectory.id, tuple(lines), label)


def to_trajectory(dialogue: Dialogue, put: Callable[[Picture], ImageRef]) -> Trajectory:
    """The trajectory of a conversation. Tool calls, and without a label the answer, are read from the turns.

    Args:
        dialogue: The conversation.
        put: Stores a picture.

    Raises:
        Unfit: The messages do not alternate as turns and observations do, or there is no turn.
    """
    split = _prompt_length(dialogue)
    prompt = tuple(Message(role=line.role, parts=_parts(line, put)) for line in dialogue.lines[:split])
    pairs = list(_pairs(dialogue.lines[split:], split))
    texts = [turn.text for turn, _ in pairs]
    shown = [line.text for _, line in pairs if line is not None]
    label = dialogue.label or _guessed(dialogue, prompt, texts, shown)
    profile = PROFILES.get(label.profile, FOVEAL)
    turns = tuple(
        _turn(turn.text, number in label.cut, profile, _parts(back, put) if back else ())
        for number, (turn, back) in enumerate(pairs)
    )
    return Trajectory(
        id=dialogue.id,
        question=Question(
            id=label.question,
            text=label.text,
            images=tuple(ref for message in prompt for ref in message.images),
            gold=label.gold,
            family=label.family,
            meta=label.meta,
        ),
        policy=label.policy,
        profile=label.profile,
        prompt=prompt,
        turns=turns,
        answer=label.answer,
        stop_reason=label.stop_reason,
        error=label.error,
        reward=label.reward,
        unscored=label.unscored,
    )


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


def _pieces(parts: Sequence[Part], picture: Callable[[ImageRef], bytes]) -> tuple[str | Picture, ...]:
    pieces: list[str | Picture] = []
    for part in parts:
        if isinstance(part, ImagePart):
            pieces.append(picture(part.image))
        elif pieces and isinstance(pieces[-1], str):
            pieces[-1] += part.text
        elif part.text:
            pieces.append(part.text)
    return tuple(pieces) or ("",)


def _parts(line: Line, put: Callable[[Picture], ImageRef]) -> tuple[Part, ...]:
    return tuple(
        TextPart(text=piece) if isinstance(piece, str) else ImagePart(image=put(piece)) for piece in line.pieces
    )


def _prompt_length(dialogue: Dialogue) -> int:
    first = next((number for number, line in enumerate(dialogue.lines) if line.role == "assistant"), None)
    if first is None:
        raise Unfit("there is no message of the assistant")
    if dialogue.label is None:
        return first
    if dialogue.label.prompt >= len(dialogue.lines):
        raise Unfit(f"its label tells of {dialogue.label.prompt} messages before the first turn: there is no turn")
    return dialogue.label.prompt


def _pairs(lines: Sequence[Line], offset: int) -> Iterator[tuple[Line, Line | None]]:
    """Turns, each with what came back."""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else None
        if line.role == "assistant":
            if line.pictures:
                raise Unfit(f"message {offset + number + 1} is of the assistant and holds a picture")
            yield line, following if following is not None and following.role == "user" else None
        elif line.role == "system" or number == 0 or lines[number - 1].role != "assistant":
            raise Unfit(f"message {offset + number + 1} ({line.role}) does not follow a turn of the assistant")


def _turn(text: str, cut: bool, profile: Profile, shown: tuple[Part, ...]) -> Turn:
    parsed = parse_turn(text, profile)
    return Turn(
        text=text,
        finish="length" if cut else "stop",
        call=None if cut and not parsed.closed else _call(parsed),
        observation_parts=shown,
    )


def _call(parsed: ParsedTurn) -> ToolCall | None:
    match parsed.action:
        case Code(code):
            return ToolCall(tool="code", arguments={"code": code})
        case Call(tool, arguments):
            return ToolCall(tool=tool, arguments=arguments)
    return None


def _guessed(dialogue: Dialogue, prompt: Sequence[Message], texts: Sequence[str], shown: Sequence[str]) -> Label:
    """What the messages themselves tell."""
    profile = _fitting(texts, shown)
    action = parse_turn(texts[-1], profile).action
    answer = action.text if isinstance(action, Answer) else None
    asked = [message.text for message in prompt if message.role == "user"]
    return Label(
        question=dialogue.id,
        text=asked[-1].strip() if asked else "",
        policy=f"from {dialogue.where.file.name}",
        profile=profile.name,
        prompt=len(prompt),
        answer=answer,
        stop_reason=StopReason.MAX_TURNS if answer is None else StopReason.ANSWERED,
    )


def _fitting(texts: Sequence[str], shown: Sequence[str]) -> Profile:
    """The profile under which fewer turns are malformed; of two equals, the one that observations look like."""
    broken = {
        profile.name: sum(isinstance(parse_turn(text, profile).action, Malformed) for text in texts)
        for profile in (FOVEAL, DEEPEYES_V2)
    }
    if broken[FOVEAL.name] == broken[DEEPEYES_V2.name]:
        return DEEPEYES_V2 if any(_is_official(text) for text in shown) else FOVEAL
    return FOVEAL if broken[FOVEAL.name] < broken[DEEPEYES_V2.name] else DEEPEYES_V2


def _is_official(observation: str) -> bool:
    """Whether an observation is worded as the released checkpoints know it; foveal's own leaves empty parts out."""
    text = observation.strip()
    google = text.startswith(("<tool_response>\nA Google search for ", "<tool_response>\nA Google image search for "))
    code = text.startswith("Code execution result:\nstdout:\n```\n") and "\n```\n\nstderr:\n```\n" in text
    return google or code
