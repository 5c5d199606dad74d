"""The oracle of the decode engine, and an endpoint for the policy behind one that can send anything."""

import asyncio
import json
import selectors
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from foveal.config import Sampling
from foveal.policy.base import Generation
from foveal.policy.openai import OpenAIPolicy
from foveal.policy.sampling import suppress
from foveal.trajectory import ImageStore, Message, TextPart

Reply = bytes | tuple[int, Any] | tuple[int, Any, dict[str, str]]


@pytest.fixture
def gap() -> Callable[[Any, Any], float]:
    """`gap(policy, conversation)`: largest difference between the recorded log-probs of a conversation and those of one
    unpadded forward in which transformers itself merges pictures and positions."""

    def largest(policy: Any, conversation: Any) -> float:
        tokens = conversation.tokens()
        ids = torch.tensor([tokens.ids])
        patches = [picture.patches for picture in conversation._pictures]
        with torch.inference_mode():
            logits = policy.model(
                input_ids=ids,
                mm_token_type_ids=(ids == policy.encoder.image_pad).int(),
                pixel_values=torch.from_numpy(np.concatenate([one.values for one in patches])) if patches else None,
                image_grid_thw=torch.tensor([one.grid for one in patches]) if patches else None,
            ).logits[0, :-1]
        expected = suppress(logits, policy.encoder).log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].numpy()
        mask = np.array(tokens.loss_mask, dtype=bool)
        assert mask.any()
        return float(np.abs(np.array(tokens.logprobs)[mask] - expected[mask[1:]]).max())

    return largest


@dataclass
class RawEndpoint:
    """A loopback HTTP server that gives its replies in order; the last one for good.

    A reply is (status, body) or (status, body, headers), or bytes as they are to be sent; b"hang" and b"reset" are what
    they say, and b"drip" begins a reply that goes on for a minute, a blank at a time.
    """

    replies: Sequence[Reply]
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    slow: float = 0.0
    url: str = ""
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    int(line.split(":")[1]) for line in head.split("\r\n") if "content-length" in line.lower()
                )
                self.requests.append(json.loads(await reader.readexactly(length)))
                self.headers.append(head)
                self.times.append(time.monotonic())
                reply = _bytes(self.replies[min(len(self.requests), len(self.replies)) - 1])
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await asyncio.sleep(60 if reply == b"hang" else self.slow)
                self.at_once -= 1
                if reply == b"reset":
                    writer.transport.abort()
                    return
                if reply == b"drip":
                    writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 9999\r\n\r\n")
                    for _ in range(600):
                        writer.write(b" ")
                        await writer.drain()
                        await asyncio.sleep(0.1)
                writer.write(reply)
                await writer.drain()
                if b"Connection: close" in reply:
                    return
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return  # the client hung up, or the test is over
        finally:
            writer.close()

    def play(self, client: Callable[[str], Awaitable[Any]]) -> Any:
        """Serve while `client(base_url)` runs."""

        async def run() -> Any:
            server = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=2**26)
            port = server.sockets[0].getsockname()[1]
            try:
                return await client(f"http://127.0.0.1:{port}/v1")
            finally:
                server.close()
                for task in (tasks := asyncio.all_tasks() - {asyncio.current_task()}):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        return asyncio.run(run())


def _bytes(reply: Reply) -> bytes:
    if isinstance(reply, bytes):
        return reply
    status, body, headers = reply if len(reply) == 3 else (*reply, {})
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(content)}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


@pytest.fixture
def raw_endpoint() -> type[RawEndpoint]:
    """`raw_endpoint(replies).play(client)`."""
    return RawEndpoint


class _Jumping(selectors.SelectSelector):
    """Waits for no timer: its clock jumps to it. For loops without sockets and threads."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(timeout and 0)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@pytest.fixture
def on_a_clock() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """`on_a_clock(coroutine)` runs it in an event loop whose `time()` is that of its timers, with no real waiting."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=_JumpingLoop) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def said() -> Callable[..., Reply]:
    """The reply that holds a turn: `said(text, finish, stop_reason, **message)`."""

    def make(content: str | None, finish: str = "stop", stop_reason: str | None = None, **message: str) -> Reply:
        choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
        return 200, {"choices": [{**choice, "stop_reason": stop_reason}], "usage": usage}

    return make


@pytest.fixture
def connect() -> Callable[..., OpenAIPolicy]:
    """A policy at a URL that does not wait long: `connect(url, **settings)`."""

    def make(url: str, **settings: Any) -> OpenAIPolicy:
        return OpenAIPolicy(url, "m", **{"backoff": 0.01, "transport": httpx.AsyncHTTPTransport(), **settings})

    return make


@pytest.fixture
def user() -> Callable[[str], Message]:
    """A message of a user."""
    return lambda text: Message(role="user", parts=(TextPart(text=text),))


@pytest.fixture
def generate(connect: Callable[..., OpenAIPolicy], user: Callable[[str], Message]) -> Callable[..., Generation]:
    """A turn after `hi`, from an endpoint: `generate(endpoint, sampling, **settings)`."""

    def run(endpoint: RawEndpoint, sampling: Sampling | None = None, **settings: Any) -> Generation:
        async def client(url: str) -> Generation:
            conversation = connect(url, **settings).open(ImageStore(), sampling or Sampling())
            await conversation.append(user("hi"))
            try:
                return await conversation.generate(50, ("</code>", "</tool_call>", "</answer>"))
            finally:
                await conversation.close()
                await conversation.close()

        return endpoint.play(client)

    return run
