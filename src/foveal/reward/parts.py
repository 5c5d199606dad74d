"""Optional parts of a reward: plain functions over a trajectory."""

from collections.abc import Sequence

from foveal.trajectory import Trajectory

SEARCHES = ("search", "image_search")
NOT_SENT = ("arguments", "unknown_tool", "limit", "sandbox")
"""Errors of a call that went nowhere; of a search, `sandbox` is that the picture could not be fetched from the code."""


def tool_bonus(trajectory: Trajectory, accuracy: float) -> float:
    """1.0 if the answer is right and a tool was used, else 0.0: accuracy * [a call was carried out].

    Carried out is a call that gave back a cell or hits, not an error of ours; code that raised counts, and so does code
    that does nothing, which is how models cheat this part.

    Source: DeepEyes (v1), `0.8 * acc + 0.2 * format + 1.2 * [tool used and correct]`.
    """
    used = any(
        turn.call is not None and turn.observation is not None and turn.observation.error is None
        for turn in trajectory.turns
    )
    return accuracy * used


def search_penalty(trajectory: Trajectory, accuracy: float, families: Sequence[str] = ()) -> float:
    """-accuracy * [something was searched for], for questions of these families; once, however many searches.

    With weight 0.08 beside 0.8 * accuracy this is `0.8 * acc * (1 - 0.1 * [searched])`.

    Source: the released DeepEyesV2 code (questions of its search set only), after MMSearch-R1. There any text in
    <tool_call> counts; here a search that was sent off, whatever came of it.

    Args:
        trajectory: What is scored.
        accuracy: Its accuracy.
        families: Families of questions that this part is for; empty for all.
    """
    if families and trajectory.question.family not in families:
        return 0.0
    told = [turn.observation for turn in trajectory.turns if turn.call is not None and turn.call.tool in SEARCHES]
    searched = any(one is not None and (one.error is None or one.error.kind not in NOT_SENT) for one in told)
    return -accuracy if searched else 0.0


def execution(trajectory: Trajectory) -> float:
    """Cells that ran without an error / all cells that ran; 0.0 without cells.

    Source: ARTIST (arXiv 2505.01441), tool execution reward. A cell that holds only a comment counts as a success.
    """
    cells = [t.observation.cell for t in trajectory.turns if t.observation is not None and t.observation.cell]
    return sum(cell.status == "ok" for cell in cells) / len(cells) if cells else 0.0


def response_tokens(trajectory: Trajectory) -> int | None:
    """Tokens that the model itself wrote; None if they were not counted."""
    if trajectory.tokens is not None:
        return sum(trajectory.tokens.loss_mask)
    counts = [turn.completion_tokens for turn in trajectory.turns]
    return None if None in counts else sum(count or 0 for count in counts)


def overlong(tokens: int, max_tokens: int, cache_tokens: int) -> float:
    """The soft overlong punishment of a response of n = `tokens` tokens, from 0 down to -1.

    0 if n <= L_max - L_cache; ((L_max - L_cache) - n) / L_cache if n <= L_max; else -1.

    Source: DAPO (arXiv 2503.14476), equation 13; there L_max = 20480 and L_cache = 4096.
    """
    start = max_tokens - cache_tokens
    if tokens <= start:
        return 0.0
    return (start - tokens) / cache_tokens if tokens <= max_tokens else -1.0
