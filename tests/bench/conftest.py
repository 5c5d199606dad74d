import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.bench.rows import Row
from foveal.trajectory import Question


@pytest.fixture
def png() -> Callable[..., bytes]:
    """The bytes of a PNG of one colour."""

    def make(colour: str = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def base64_png(png) -> str:
    """A picture as a TSV has it: more than 255 characters of base64."""
    return base64.b64encode(png(size=(64, 64)) + b"\0" * 300).decode()


@pytest.fixture
def ask() -> Callable[..., Question]:
    def make(*gold: str, text: str = "?", family: str | None = None, **meta: Any) -> Question:
        return Question(id="q", text=text, gold=gold, family=family, meta=meta)

    return make


@pytest.fixture
def row() -> Callable[..., Row]:
    def make(values: dict[str, Any], folder: Path | None = None, number: int = 0) -> Row:
        return Row(values, number, folder)

    return make
