"""What a trajectory must be to be learned from: rules, each with a name, each telling what is wrong.

The paper keeps trajectories with a right answer and error-free code. The other rules keep out what a student would copy
along with the good: code that does nothing, results that nobody reads, talk of pictures that are not there.
"""

import re
import unicodedata
from collections.abc import Iterator

from foveal.curate.roundings import rounded
from foveal.curate.settings import VerifySettings
from foveal.parse import Malformed
from foveal.protocol import PROFILES, parse_turn
from foveal.reward.cells import call_key, cells_of, placeholders
from foveal.reward.parts import response_tokens
from foveal.trajectory import Observation, StopReason, Trajectory

UNSCORED = "unscored"
"""The rule for a trajectory that waits for a judge."""
CHARACTERS_PER_TOKEN = 4
"""Of text whose tokens nobody counted."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ACTION = re.compile(r"<(code|tool_call|answer)>")
_IMAGE = re.compile(r"\bimage_\d+\b")
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]{{2,}}")
"""A word; a letter alone in scripts that put no space between words (Thai, Lao, Japanese, Chinese)."""

_COMMON = frozenset(
    _WORD.findall(
        """
    about after all also an and any are as at be because been before but by can could did do does for from had
    has have he her here him his how if in into is it its just may me more most my no not now of on one only
    or other our out over she should so some such than that the their them then there these they this those to
    too under up us was we were what when where which while who whom whose why will with would you your
    """
    )
)
"""English words that stand in any text: to have one in common says nothing."""


def failures(trajectory: Trajectory, settings: VerifySettings) -> list[str]:
    """What is wrong with a trajectory, as `rule: what`; empty if it may be learned from."""
    return [f"{rule}: {what}" for rule, what in _failures(trajectory, settings)]


def _failures(trajectory: Trajectory, settings: VerifySettings) -> Iterator[tuple[str, str]]:
    accuracy = trajectory.reward.get("accuracy")
    if accuracy is None:
        yield UNSCORED, trajectory.unscored or "nobody has scored it"
    elif accuracy < 1:
        yield "wrong", f"the answer is {trajectory.answer!r}, not {' or '.join(trajectory.question.gold)}"
    if trajectory.stop_reason is not StopReason.ANSWERED:
        yield "unfinished", f"it ended by {trajectory.stop_reason}"
    for number, turn in enumerate(trajectory.turns, start=1):
        observation = turn.observation
        if observation is not None and observation.error is not None:
            yield "error", f"turn {number}: {observation.error.message}"
        elif observation is not None and observation.cell is not None and observation.cell.status != "ok":
            yield "error", f"turn {number}: the code ended with {observation.cell.status}"
        elif observation is not None and observation.hits == ():
            yield "error", f"turn {number}: the search found nothing"
        if problem := _actions(turn.text, trajectory):
            yield "actions", f"turn {number}: {problem}"
    yield from _habits(trajectory, settings)


def _actions(text: str, trajectory: Trajectory) -> str | None:
    """What is wrong with the actions of a turn: there must be one, and only one, with its closing tag."""
    parsed = parse_turn(text, PROFILES[trajectory.profile])
    if isinstance(parsed.action, Malformed):
        return "it holds no action that can be read"
    if not parsed.closed:
        return "its action is not closed"
    # Behind the first thinking: an action between two of them counts.
    found = _ACTION.findall(text[text.find("</think>") + 1 :])
    return None if len(found) <= 1 else f"it holds {len(found)} actions"


def _habits(trajectory: Trajectory, settings: VerifySettings) -> Iterator[tuple[str, str]]:
    calls = [(number, turn.call) for number, turn in enumerate(trajectory.turns, start=1) if turn.call is not None]
    if settings.needs_call and not calls:
        yield "no_call", "it calls no tool"
    if not settings.placeholders and (idle := placeholders(list(cells_of(trajectory)))):
        yield "placeholder", f"code cell {idle[0] + 1} does nothing"
    if not settings.repeated_calls:
        seen: set[str] = set()
        for number, call in calls:
            if (key := call_key(call)) in seen:
                yield "repeated", f"turn {number} makes the call of an earlier turn again"
            seen.add(key)
    if not settings.unused_results and (unused := _unused(trajectory)):
        yield "unused", f"nothing refers to the result of turn {unused}"
    if (missing := _missing_picture(trajectory)) is not None:
        yield "reference", missing
    tokens = length(trajectory)
    if settings.most_tokens is not None and tokens > settings.most_tokens:
        yield "long", f"{tokens} tokens, {settings.most_tokens} at most"


def _unused(trajectory: Trajectory) -> int | None:
    """The first turn whose result brought new words of which no later turn has any; None if there is none.

    A number that was rounded is the same word, and words that stand in any text do not count. A result that is all
    pictures cannot be told to be unused by its words, nor one that says nothing new.
    """
    texts = [_plain(turn.text) for turn in trajectory.turns]
    known, answer = _plain(trajectory.question.text), _plain(trajectory.answer or "")
    for number, turn in enumerate(trajectory.turns, start=1):
        known = f"{known} {texts[number - 1]}"
        found, later = _plain(_said(turn.observation)), " ".join(texts[number:])
        new = _words(found) - _words(known) - _COMMON
        if new and not new & _words(later) and not rounded(found, known, later, answer):
            return number
    return None


def _plain(text: str) -> str:
    """A text without regard to case, to how letters are composed, and to commas within numbers."""
    return _THOUSANDS.sub("", unicodedata.normalize("NFKC", text).casefold())


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text))


def _said(observation: Observation | None) -> str:
    if observation is None:
        return ""
    if observation.cell is not None:
        return f"{observation.cell.stdout} {observation.cell.result or ''}"
    return " ".join(f"{hit.title} {hit.snippet or ''}" for hit in observation.hits or ())


def _missing_picture(trajectory: Trajectory) -> str | None:
    """A picture that is named before there is one of that name; pictures of the question count from 1.

    A name that the model's own code gave to something is no picture of the question.
    """
    count = len(trajectory.question.images)
    there = {f"image_{number}" for number in range(1, count + 1)}  # as text: a model may write any number of digits
    own = set(re.findall(r"\b(image_\d+)\s*=[^=]", " ".join(turn.text for turn in trajectory.turns)))
    for turn in trajectory.turns:
        for match in _IMAGE.finditer(turn.text):
            if match[0] not in there | own:
                return f"it names {match[0][:20]}, and the question has {count} pictures"
    return None


def length(trajectory: Trajectory) -> int:
    """Tokens that the model wrote, or a guess where nobody counted them."""
    counted = response_tokens(trajectory)
    if counted is not None:
        return counted
    return sum(len(turn.text) for turn in trajectory.turns) // CHARACTERS_PER_TOKEN
