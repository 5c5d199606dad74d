import asyncio
import threading

import httpx
import pytest

from foveal.agent import Agent
from foveal.errors import InputError
from foveal.micro import world
from foveal.micro.endpoint import TeacherServer
from foveal.micro.questions import FAMILIES, sample
from foveal.policy.openai import OpenAIPolicy
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore


@pytest.fixture
def server():
    with TeacherServer("train", 10, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("teacher", ["near", "far"])
def test_the_teachers_answer_every_family_through_the_agent(real_tools: Tools, server, teacher: str):
    store = ImageStore()
    agent = Agent(OpenAIPolicy(server.url, teacher), real_tools, world.profile(tools=True), world.LIMITS)

    async def ask_all():
        return [
            await agent.run(item.question(str(number), store), store)
            for number, item in enumerate(sample("train", 10, 0))
        ]

    answered = asyncio.run(ask_all())
    assert {one.question.family for one in answered} == set(FAMILIES)
    assert sum(one.answer in one.question.gold for one in answered) >= 9
    assert all(turn.prompt_tokens and turn.completion_tokens for one in answered for turn in one.turns)
    looks = sum("crop" in turn.text for one in answered for turn in one.turns)
    assert looks >= 8 if teacher == "near" else looks == 0


def ask(server, model="near", content="What?", **body):
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": content}]
    return httpx.post(f"{server.url}/chat/completions", json={"model": model, "messages": messages, **body})


def test_what_it_cannot_answer_it_refuses_and_says_why(server):
    assert [one["id"] for one in httpx.get(f"{server.url}/models").json()["data"]] == ["near", "far"]
    for reply, says in [
        (ask(server, model="gpt"), "no model 'gpt'"),
        (ask(server), "know no such question"),
        (ask(server, content=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,xx"}}]), ""),
        (httpx.post(f"{server.url}/chat/completions", content=b"{"), ""),
        (httpx.post(f"{server.url}/chat/completions", json=[1]), ""),
    ]:
        assert reply.status_code == 400 and says in reply.json()["error"]["message"]
    assert httpx.get(f"{server.url}/nothing").status_code == 404
    with pytest.raises(InputError, match="port"):
        TeacherServer("train", 1, 0, server.server_port)
