"""Reads and scores rows of a benchmark by its name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.rows import BadRow, Item, Row
from foveal.trajectory import ImageStore


@pytest.fixture
def hub(png) -> dict[str, Any]:
    """A picture as the hub has it, undecoded."""
    return {"bytes": png(), "path": "1.png"}


@pytest.fixture
def read() -> Callable[..., list[Item]]:
    """The items of a row."""

    def items(name: str, values: dict[str, Any], folder: Path | None = None, number: int = 0) -> list[Item]:
        return list(BENCHMARKS[name].read(Row(values, number, folder)))

    return items


@pytest.fixture
def score() -> Callable[[str, Item, str], float | None]:
    """The score of an answer by rule."""

    def rule(name: str, item: Item, answer: str) -> float | None:
        question = item.question(ImageStore(), BENCHMARKS[name].suffix)
        return BENCHMARKS[name].rule(answer, question)

    return rule


@pytest.fixture
def bad(read) -> Callable[[str, dict[str, Any], str], None]:
    """Asserts that a row is refused for a reason."""

    def refused(name: str, values: dict[str, Any], reason: str) -> None:
        with pytest.raises(BadRow, match=reason):
            read(name, values)

    return refused
