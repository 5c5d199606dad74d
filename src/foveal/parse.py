"""Taking a model turn apart. `foveal.protocol` says which action counts; use `foveal.protocol.parse_turn`.

Nothing here raises, whatever the text, and everything takes linear time: every scan only moves forward.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue


@dataclass(frozen=True)
class Code:
    """Run this Python code."""

    code: str


@dataclass(frozen=True)
class Call:
    """Call a search tool."""

    tool: str
    arguments: dict[str, JsonValue]


@dataclass(frozen=True)
class Answer:
    """The final answer, stripped."""

    text: str


@dataclass(frozen=True)
class Malformed:
    """No action could be read. `message` tells the model what to do instead."""

    kind: Literal["format", "unknown_tool", "arguments"]
    message: str


@dataclass(frozen=True)
class ParsedTurn:
    """A model turn taken apart."""

    think: str | None
    action: Code | Call | Answer | Malformed
    closed: bool
    """False if the closing tag of the action is missing, as when an endpoint cuts the stop string, or if malformed."""


_TAG = re.compile(r"<think>|</think>|<code>|<tool_call>|<answer>")
_OPEN_FENCE = re.compile(r"\s*```(?:python|py)?[ \t]*\r?\n", re.IGNORECASE)
_CLOSE_FENCE = re.compile(r"```\s*</code>")
_SPACE = re.compile(r"\s*")
_FENCE_LINE = re.compile(r"\s*\n")
_MAX_ECHO = 2000
"""Characters of its own text that a model is shown in an error."""
_MAX_DEPTH = 16
"""Nesting of the arguments of a tool call."""

_NO_ACTION = (
    "There was no action. After </think> write exactly one of: a <code></code> block with a ```python fence, "
    '<tool_call>{"name": ..., "arguments": {...}}</tool_call>, or <answer></answer>.'
)
_OPEN_THINK = "Your thinking was not closed. Write </think>, and after it the action."
_NO_FENCE = "There was no fenced code in <code>. Write <code>, a line ```python, the code, a line ``` and </code>."
_OPEN_CODE = (
    "The <code> block was not closed. End it with a line ``` and </code>. If the code itself needs the text </code>, "
    "write it in two pieces: '</' + 'code>'."
)
_EMPTY_CODE = "The code was empty. Write the Python code that you want to run."
_EMPTY_ANSWER = "The answer was empty. Write it between <answer> and </answer>."
_CODE_BY_NAME = "Python code is not called by name. Write it in <code></code> with a ```python fence."
_NOT_PLAIN = "The arguments of the tool call were nested too deeply, or held broken characters or numbers."
_CALL_FORM = 'Write <tool_call>{"name": "search", "arguments": {"query": "..."}}</tool_call>.'


def parse_foveal(text: str) -> ParsedTurn:
    """The first action after the thinking."""
    first = _TAG.search(text)
    if first is None or first[0] not in ("<think>", "</think>"):
        return _first_action(text, 0, None)
    # A chat template may have written the opening <think> itself; then the turn begins inside the thinking.
    start = first.end() if first[0] == "<think>" else 0
    end = text.find("</think>", start)
    if end < 0:
        return ParsedTurn(text[start:].strip(), Malformed("format", _OPEN_THINK), False)
    return _first_action(text, end + len("</think>"), text[start:end].strip())


def _first_action(text: str, start: int, think: str | None) -> ParsedTurn:
    """The first action of `text[start:]`. A tag that nothing follows up is prose, and skipped."""

    def wrong(message: str) -> ParsedTurn:
        return ParsedTurn(think, Malformed("format", message), False)

    closings = {name: _Closing(text, f"</{name}>", start) for name in ("code", "tool_call", "answer")}
    position = start
    while tag := _TAG.search(text, position):
        position = tag.end()
        name = tag[0].strip("</>")
        if name == "think":
            continue
        closing = closings[name].after(position)
        # `<code> ... <code> ... </code>`: the first tag was a mention, the second one may be the action.
        alone = closing >= 0 and text.find(tag[0], position, closing) < 0
        if name == "code":
            if fence := _OPEN_FENCE.match(text, position):
                return _fenced_code(text, fence.end(), think)
            if alone:
                return wrong(_NO_FENCE)
        elif name == "tool_call":
            begin = _end_of_space(text, position)
            if text.startswith("{", begin):
                return _tool_call(text, begin, think)
            if alone:
                return wrong(f"The tool call was not a JSON object. {_CALL_FORM}")
        elif alone or (closing < 0 and not _TAG.search(text, position)):
            answer = text[position : closing if alone else len(text)].strip()
            return ParsedTurn(think, Answer(answer), alone) if answer else wrong(_EMPTY_ANSWER)
    return wrong(_NO_ACTION)


class _Closing:
    """Where a closing tag comes next, asked at growing positions: one scan of the text in all."""

    def __init__(self, text: str, tag: str, start: int):
        self.text, self.tag = text, tag
        self.at = text.find(tag, start)

    def after(self, position: int) -> int:
        """Index of the next closing tag, or -1."""
        if 0 <= self.at < position:
            self.at = self.text.find(self.tag, position)
        return self.at


def _fenced_code(text: str, start: int, think: str | None) -> ParsedTurn:
    """The code that starts at `start`. A closing tag counts only behind the closing fence: strings may hold tags."""
    close = _CLOSE_FENCE.search(text, start)
    if close is None and not text.rstrip().endswith("```"):
        return ParsedTurn(think, Malformed("format", _OPEN_CODE), False)
    end = close.start() if close else max(text.rindex("```"), start)
    code = _newlines(text[start:end]).rstrip()
    return ParsedTurn(think, Code(code) if code else Malformed("format", _EMPTY_CODE), bool(close and code))


def _tool_call(text: str, begin: int, think: str | None) -> ParsedTurn:
    """The call whose JSON object starts at `begin`. The JSON decides where it ends, so a string may hold any tag."""

    def wrong(message: str, kind: Literal["format", "arguments"] = "format") -> ParsedTurn:
        return ParsedTurn(think, Malformed(kind, message), False)

    try:
        value, end = _DECODER.raw_decode(text, begin)
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at character {error.pos - begin}"
        return wrong(f"The tool call was not valid JSON: {reason}. {_CALL_FORM}")
    except (ValueError, RecursionError) as error:
        return wrong(f"The tool call was not valid JSON: {error}. {_CALL_FORM}")
    rest = _end_of_space(text, end)
    closed = text.startswith("</tool_call>", rest)
    if not closed and rest != len(text):
        return wrong(f"There was more than one JSON object in <tool_call>. {_CALL_FORM}")
    name, arguments = value.get("name"), value.get("arguments")
    if not isinstance(name, str) or not name or not _is_plain(name):
        return wrong(f'The tool call had no "name". {_CALL_FORM}')
    if name == "code":
        return wrong(_CODE_BY_NAME)
    if arguments is not None and not isinstance(arguments, dict):
        return wrong(f'"arguments" of the tool call was not a JSON object. {_CALL_FORM}', "arguments")
    if not _is_plain(arguments):
        return wrong(f"{_NOT_PLAIN} {_CALL_FORM}", "arguments")
    return ParsedTurn(think, Call(name, arguments or {}), closed)


def _is_plain(value: JsonValue, depth: int = 0) -> bool:
    """Whether a record can hold the value: no deep nesting, no halves of a UTF-16 pair, no infinite numbers."""
    if isinstance(value, str):
        return value.isprintable() or not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return depth < _MAX_DEPTH and all(_is_plain(key) and _is_plain(item, depth + 1) for key, item in value.items())
    return not isinstance(value, list) or (depth < _MAX_DEPTH and all(_is_plain(item, depth + 1) for item in value))


def parse_deepeyes(text: str) -> ParsedTurn:
    """The last answer; else the last code block; else the last tool call."""
    start = len("<think>") if text.lstrip().startswith("<think>") else 0
    before, closing, _ = text.lstrip().partition("</think>")
    think = before[start:].strip() if closing else None
    answer = _last_block(text, "<answer>", "</answer>")
    if answer and answer.strip():
        return ParsedTurn(think, Answer(answer.strip()), True)
    if "<code>" in text:
        block = _last_block(text, "<code>", "</code>")
        closed = block is not None
        code = _last_fence(text.rpartition("<code>")[2] if block is None else block)
        return ParsedTurn(think, Code(code) if code else Malformed("format", _NO_FENCE), closed)
    if "<tool_call>" not in text:
        return ParsedTurn(think, Malformed("format", _NO_ACTION), False)
    block = _last_block(text, "<tool_call>", "</tool_call>")
    raw = (text.rpartition("<tool_call>")[2] if block is None else block).strip()
    return ParsedTurn(think, _deepeyes_call(raw), block is not None)


def _deepeyes_call(raw: str) -> Call | Malformed:
    """The call in `raw`, or the official environment's own words for what is wrong with it."""
    echo = raw[:_MAX_ECHO]
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return Malformed("format", f"Invalid tool call format: {echo}. Error: {error}")
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return Malformed("format", f"Invalid tool call format: {echo}. Error: 'name'")
    arguments = value.get("arguments")
    if value["name"] not in ("search", "image_search"):
        return Malformed("unknown_tool", f"Invalid tool call name: {echo}.")
    if value["name"] == "image_search" and arguments is not None:
        return Malformed("arguments", f"Invalid tool call parameters for image search: {echo}.")
    if value["name"] == "search" and not isinstance(arguments, dict):
        return Malformed("arguments", f"Invalid tool call format: {echo}. Error: 'query'")
    if not _is_plain(arguments):
        return Malformed("arguments", f"Invalid tool call format: {echo}. Error: {_NOT_PLAIN}")
    return Call(value["name"], arguments or {})


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _end_of_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n")


def _last_block(text: str, opening_tag: str, closing_tag: str) -> str | None:
    """The last of the blocks that a left-to-right scan finds, or None."""
    block, position = None, 0
    while (start := text.find(opening_tag, position)) >= 0:
        start += len(opening_tag)
        end = text.find(closing_tag, start)
        if end < 0:
            break
        block, position = text[start:end], end + len(closing_tag)
    return block


def _last_fence(block: str) -> str | None:
    code, position = None, 0
    while (start := block.find("```python", position)) >= 0:
        position = start + len("```python")
        if line := _FENCE_LINE.match(block, position):
            end = block.find("\n```", line.end() - 1)
            if end < 0:
                break
            code, position = block[line.end() : end], end + len("\n```")
    return _newlines(code).strip("\n") if code and code.strip() else None
