"""What a trajectory came to, in the few words and letters that index and page share."""

from typing import Literal, NamedTuple

from foveal.trajectory import StopReason, Trajectory, Turn
from foveal.view.html import Html, tag

Outcome = Literal["right", "wrong", "not scored"]


class Glyph(NamedTuple):
    """One letter for one turn."""

    letter: str
    style: str
    """Class names: kind of turn, and `failed` if what came back was an error."""
    words: str


KINDS = {"code": ("C", "code"), "search": ("S", "text search"), "image_search": ("I", "image search")}
STOPS = {
    StopReason.ANSWERED: "answered",
    StopReason.MAX_TURNS: "turn limit reached without an answer",
    StopReason.MAX_TOKENS: "a turn was cut at its token limit",
    StopReason.CONTEXT_FULL: "context full",
    StopReason.WALL_TIME: "time limit reached",
    StopReason.REPEATED_ERROR: "the same error several times in a row",
    StopReason.POLICY_ERROR: "the policy failed",
}


def outcome(trajectory: Trajectory) -> Outcome:
    """Right or wrong by the reward part `accuracy`; a trajectory without that part is not scored."""
    accuracy = trajectory.reward.get("accuracy")
    if accuracy is None:
        return "not scored"
    return "right" if accuracy >= 0.5 else "wrong"


def stop_text(reason: StopReason) -> str:
    """A stop reason in words."""
    return STOPS[reason]


def failed(turn: Turn) -> bool:
    """True if the turn's tool call gave an error, or the code raised, hung or died."""
    seen = turn.observation
    return seen is not None and (seen.error is not None or (seen.cell is not None and seen.cell.status != "ok"))


def glyph(turn: Turn) -> Glyph:
    """The letter of a turn: C code, S search, I image search, T another tool, A answer, ? no action."""
    bad = failed(turn)
    ending = (" failed", ", failed") if bad else ("", "")
    if turn.call is not None:
        letter, words = KINDS.get(turn.call.tool, ("T", turn.call.tool))
        return Glyph(letter, f"tool-{letter}{ending[0]}", words + ending[1])
    if turn.observation is None and "<answer>" in turn.text:
        return Glyph("A", "tool-A", "answer")
    return Glyph("?", "tool-none failed", "no action")


def strip(trajectory: Trajectory) -> Html:
    """The letters of all turns, in order."""
    marks = [glyph(turn) for turn in trajectory.turns]
    spoken = ", ".join(mark.words for mark in marks)
    letters = [tag("span", mark.letter, class_=f"glyph {mark.style}", title=mark.words) for mark in marks]
    return tag("span", *letters, class_="strip", role="img", aria_label=spoken or "no turn")
