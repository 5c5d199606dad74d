"""A server on a loopback port in the event loop of the test, pictures as clients send them, and a model that waits."""

import asyncio
import base64
import contextlib
import io

import httpx
import pytest
from PIL import Image

from foveal.config import Limits
from foveal.policy.base import Generation
from foveal.policy.scripted import ScriptedConversation, ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.serve.app import Served, application
from foveal.serve.server import listen, serve
from foveal.tools.session import Tools
from foveal.trajectory import SearchHit

CHAT = "/v1/chat/completions"


class Running:
    def __init__(self, client, url, stopping, task):
        self.client, self.url, self.stopping, self.task = client, url, stopping, task

    async def ask(self, question="How many?", **fields):
        messages = [{"role": "user", "content": question}]
        return await self.client.post(CHAT, json={"model": "agent", "messages": messages, **fields})

    async def health(self):
        return (await self.client.get("/health")).json()


@pytest.fixture
def running():
    """Starts a server: `async with running(policy, tools=..., limits=..., **options of application) as server`."""

    @contextlib.asynccontextmanager
    async def start(policy, tools=None, limits=None, profile=FOVEAL, check=lambda asked: None, **options):
        listening, stopping = listen("127.0.0.1", 0), asyncio.Event()
        served = Served("agent", policy, tools or Tools(), profile, limits or Limits(), check=check)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        task = asyncio.create_task(serve(application(served, stopping, **options), listening, stopping))
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
                yield Running(client, url, stopping, task)
        finally:
            stopping.set()
            await task
            listening.close()

    return start


@pytest.fixture
def data_url():
    """A picture as clients send it."""

    def make(image, kind="PNG"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"

    return make


@pytest.fixture
def red():
    return Image.new("RGB", (60, 40), (200, 30, 30))


class Library:
    """A text search that knows one thing."""

    name = "library"

    async def search(self, query, k):
        return [SearchHit(title="Height", snippet=f"{query}: 4 m")]


@pytest.fixture
def library():
    return Tools(text=Library())


class HeldPolicy(ScriptedPolicy):
    """Answers when it is let go.

    Attributes:
        begun: Questions that it was asked.
        most: Most that it had at a time.
        closed: Those that were ended, answered or not.
    """

    def __init__(self):
        super().__init__(["<answer>held</answer>"])
        self.free = asyncio.Event()
        self.begun = self.closed = self.most = 0
        self._changed = asyncio.Condition()

    def open(self, images, sampling):
        return HeldConversation(self)

    async def changed(self):
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition):
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(condition)


class HeldConversation(ScriptedConversation):
    def __init__(self, policy):
        super().__init__(policy.turns)
        self._policy, self._closed = policy, False

    async def generate(self, max_tokens, stop):
        policy = self._policy
        policy.begun += 1
        policy.most = max(policy.most, policy.begun - policy.closed)
        await policy.changed()
        await policy.free.wait()
        generation = await super().generate(max_tokens, stop)
        return Generation(generation.text, "stop", 10, 2)

    async def close(self):
        if not self._closed:
            self._closed = True
            self._policy.closed += 1
            await self._policy.changed()


@pytest.fixture
def held():
    return HeldPolicy
