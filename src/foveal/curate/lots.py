"""What is left to chance in curation, and follows from seed and names alone: whatever else there is changes nothing."""

import hashlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Literal

from foveal.curate.questions import StoredQuestion
from foveal.errors import ConfigError

Part = Literal["train", "held_out"]

ROUNDING = 1e-9
"""Shares that come so near to 1 come to 1: 0.7 + 0.2 + 0.1 is less in floating point."""


def lot(seed: int, what: str, name: str) -> float:
    """A number from 0 to 1 that follows from seed, purpose and name: the same whatever else there is."""
    digest = hashlib.sha256(f"{seed}\0{what}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def by_lot(questions: Sequence[StoredQuestion], most: int | None, seed: int, what: str) -> list[StoredQuestion]:
    """At most so many of them, drawn by lot, in the order that they had."""
    if most is None or len(questions) <= most:
        return list(questions)
    drawn = sorted(questions, key=lambda one: lot(seed, what, one.row.id))[:most]
    names = {one.row.id for one in drawn}
    return [one for one in questions if one.row.id in names]


def within_shares(counts: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """The most that can be kept of each value, so that none is a whole row or more over its share of all that is kept.

    Whole rows seldom meet shares to the digit: thirds of 100 rows would leave nothing at all. So as many are kept as
    fractions of rows would allow, and those that are cut off most by rounding down are rounded up.

    Raises:
        ConfigError: Every value has a share, and together they come to less than everything.
    """
    capped = sum(shares.get(value, 1.0) for value, count in counts.items() if count)
    if sum(counts.values()) and capped < 1 - ROUNDING:
        raise ConfigError(
            f"the shares of balance come to {capped:.9g} of 1, and there is nothing else to fill up with",
            "raise one of them",
        )

    def allowed(total: int) -> dict[str, float]:
        return {value: min(count, shares.get(value, 1.0) * total) for value, count in counts.items()}

    # Where a total is too large for the shares, every larger one is.
    totals = range(1, sum(counts.values()) + 1)
    total = bisect_left(totals, True, key=lambda total: sum(allowed(total).values()) < total * (1 - ROUNDING))
    exact = allowed(total)
    kept = {value: int(rows + ROUNDING) for value, rows in exact.items()}
    cut_off = sorted(exact, key=lambda value: (round(kept[value] - exact[value], 9), value))
    for value in cut_off[: total - sum(kept.values())]:
        kept[value] += 1
    return kept


def parts_of(
    questions: Sequence[StoredQuestion], held_out: float, seed: int, alike: Mapping[str, str] | None = None
) -> dict[str, Part]:
    """The part of every question; questions that share a picture, over however many others, share the part.

    Args:
        questions: All of them.
        held_out: Share of the part of that name.
        seed: Of the lots.
        alike: For pictures that look the same one name; by default every picture looks like itself alone.
    """
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while (above := leader.setdefault(name, name)) != name:
            leader[name] = name = leader[above]  # half the way for whoever asks next: chains may be long
        return name

    def names(question: StoredQuestion) -> list[str]:
        shown = [alike.get(image, image) if alike else image for image in question.row.images]
        return [f"picture {image}" for image in shown] or [f"question {question.row.id}"]

    for question in questions:
        first, *others = names(question)
        for other in others:
            one, two = sorted((find(first), find(other)))
            leader[two] = one
    parts: dict[str, Part] = {}
    for question in questions:
        leading = find(names(question)[0])
        parts[question.row.id] = "held_out" if lot(seed, "held_out", leading) < held_out else "train"
    return parts
