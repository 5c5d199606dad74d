"""A model turn taken apart for display, and numbers written for people.

This reads tags tolerantly and decides nothing: what the turn asked for is on `Turn.call`, and the page also holds the
turn as the model wrote it.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = re.compile(r"<(think|code|tool_call|answer)>(.*?)(?:</\1>|\Z)", re.DOTALL)
_FENCE = re.compile(r"\A\s*```\w*[ \t]*\n(.*?)\n?```\s*\Z", re.DOTALL)
_CODE_OPENS = re.compile(r"<code>\s*```\w*\s*\Z")
_CODE_CLOSES = re.compile(r"\A\s*```\s*(?:</code>)?")


class Piece(NamedTuple):
    """A part of a turn."""

    kind: str
    """`think`, `code`, `tool_call`, `answer`, or `text` for words outside any block."""
    text: str


def pieces(text: str, code: str | None = None) -> list[Piece]:
    """The blocks of a turn in order, tags and fences off, empty ones left out. Linear time, never raises.

    Args:
        text: What the model wrote.
        code: The code that was run, if it was; found by its text, since it may itself hold tags.
    """
    if "</think>" in text and "<think>" not in text.partition("</think>")[0]:
        text = "<think>" + text  # the chat template wrote the opening tag
    start = text.rfind(code) if code else -1
    if code and start >= 0:
        before, after = _CODE_OPENS.sub("", text[:start]), _CODE_CLOSES.sub("", text[start + len(code) :])
        found = [*_split(before), Piece("code", code), *_split(after)]
    else:
        found = list(_split(text))
    return [piece for piece in found if piece.text.strip()]


def _split(text: str) -> Iterator[Piece]:
    end = 0
    for block in _BLOCK.finditer(text):
        yield Piece("text", text[end : block.start()].strip())
        body = block[2]
        if block[1] == "code" and (fence := _FENCE.match(body)):
            body = fence[1]
        yield Piece(block[1], body if block[1] == "code" else body.strip())
        end = block.end()
    yield Piece("text", text[end:].strip())


def seconds(value: float) -> str:
    """A duration: `8 ms`, `2.4 s`, `3 min 05 s`."""
    if value < 0.1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value) // 60} min {int(value) % 60:02d} s"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 turn`, `12,345 turns`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
