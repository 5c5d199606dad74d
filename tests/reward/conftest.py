"""Trajectories by hand, and a judge on this machine that may misbehave."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


class JudgeServer:
    """An OpenAI-compatible endpoint on a thread. It gives its replies in order, the last one for good.

    A reply is the text of the judge, an HTTP status, or a number of seconds to sleep before hanging up.

    Attributes:
        url: Its base URL.
        requests: The bodies of the requests, in order.
    """

    def __init__(self, replies: Sequence[str | int | float]):
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                judge.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                reply = judge.replies[min(len(judge.requests), len(judge.replies)) - 1]
                if isinstance(reply, float):
                    time.sleep(reply)
                    self.close_connection = True
                    return
                status = reply if isinstance(reply, int) else 200
                message = {"role": "assistant", "content": reply}
                body: dict[str, Any] = {"choices": [{"message": message, "finish_reason": "stop"}]}
                content = json.dumps(body if status == 200 else {"error": {"message": "not today"}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """From now on nothing listens at its address."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def judge_server() -> Iterator[Callable[..., JudgeServer]]:
    """Starts judges: `judge_server(*replies)`."""
    started: list[JudgeServer] = []

    def start(*replies: str | int | float) -> JudgeServer:
        started.append(JudgeServer(replies))
        return started[-1]

    yield start
    for server in started:
        server.close()
