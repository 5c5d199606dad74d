"""Trajectories as conversations, and back.

Pieces of text that follow each other are joined, and empty ones beside pictures are gone. Token ids, times, settings
and the insides of observations (only what was shown of them stays) are not carried over.
"""

from collections.abc import Callable, Iterator, Sequence

from foveal.integrations.formats.dialogue import Dialogue, Label, Line, Picture, Unfit, Where
from foveal.parse import Answer, Call, Code, Malformed, ParsedTurn
from foveal.protocol import DEEPEYES_V2, FOVEAL, PROFILES, Profile, parse_turn
from foveal.trajectory import (
    ImagePart,
    ImageRef,
    Message,
    Part,
    Question,
    StopReason,
    TextPart,
    ToolCall,
    Trajectory,
    Turn,
)


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
