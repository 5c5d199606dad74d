"""Trajectories by hand, and a judge on this machine."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from foveal.trajectory import CellResult, Observation, Question, SearchHit, StopReason, ToolCall, Trajectory, Turn


@pytest.fixture
def trajectory() -> Callable[..., Trajectory]:
    """`trajectory(answer, *gold, turns=..., ...)`: a trajectory; by default of one well-formed turn."""

    def make(answer: str | None, *gold: str, turns: Sequence[Turn] | None = None, **fields: Any) -> Trajectory:
        about = {name: fields.pop(name) for name in ("text", "meta", "family") if name in fields}
        question = Question(**{"id": "q", "text": "?", "gold": gold, **about})
        if turns is None:
            turns = [Turn(text=f"<think>so</think><answer>{answer}</answer>")]
        return Trajectory(
            **{
                "id": "t", "question": question, "policy": "p", "profile": "foveal", "answer": answer,
                "turns": tuple(turns), "stop_reason": StopReason.ANSWERED, **fields,
            }
        )  # fmt: skip

    return make


@pytest.fixture
def cell() -> Callable[..., Turn]:
    """`cell(status)`: a turn that ran code."""

    def make(status: str = "ok", code: str = "print(1)") -> Turn:
        call = ToolCall(tool="code", arguments={"code": code})
        text = f"<think>run</think><code>\n```python\n{code}\n```\n</code>"
        return Turn(text=text, call=call, observation=Observation(tool="code", cell=CellResult(status=status)))

    return make


@pytest.fixture
def search() -> Turn:
    """A turn that searched."""
    call = ToolCall(tool="search", arguments={"query": "x"})
    text = '<think>look</think><tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
    return Turn(text=text, call=call, observation=Observation(tool="search", hits=(SearchHit(title="a"),), query="x"))


@pytest.fixture
def judge_server(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Starts judges that may misbehave: `judge_server(*replies)`, the last one for good."""
    return lambda *replies: endpoint(replies, for_good=True)
