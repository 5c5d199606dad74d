"""A storm: three provider calls in ten fail, in every way that providers fail, while an agent answers questions."""

import asyncio
import json
import random
import re
from collections import defaultdict

import pytest

from foveal.agent import Agent
from foveal.policy.scripted import ScriptedPolicy
from foveal.tools.search.manners import Manners, PoliteText
from foveal.tools.search.providers.brave import BraveText
from foveal.tools.search.providers.http import Access
from foveal.tools.search.settings import SearchSettings
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Question, StopReason

KEY = "s3cret"
RETRIES = 3


def sent(status, body, *headers, length=None):
    body = body if isinstance(body, bytes) else body.encode()
    lines = (f"HTTP/1.1 {status} x", f"Content-Length: {len(body) if length is None else length}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GOOD = json.dumps({"web": {"results": [{"title": "answer %s", "url": "https://e.org", "description": "é 字"}]}})

FAULTS = {
    "key": (sent(401, f'{{"error": "no such key {KEY}"}}'), "answered HTTP 401: no such key ***"),
    "quota": (sent(402, '{"message": "quota used up"}'), "answered HTTP 402: quota used up"),
    "busy": (sent(429, "slow down", "Retry-After: 1"), "answered HTTP 429: slow down"),
    "long wait": (sent(429, "", "Retry-After: 9999"), "it asks to wait 9999 s"),
    "broken": (sent(500, "oops"), "answered HTTP 500: oops"),
    "gateway": (sent(503, "<html>down</html>"), "answered HTTP 503: <html>down</html>"),
    "page": (sent(200, "<!doctype html><html>"), "answered something that is no JSON"),
    "cut": (sent(200, '{"web": {"res', length=5000), "cannot be reached: RemoteProtocolError"),
    "half": (sent(200, '{"web": {"res'), "answered something that is no JSON"),
    "stall": (b"hang", "did not answer within"),
    "reset": (b"reset", "cannot be reached"),
    "elsewhere": (sent(302, "", "Location: http://169.254.169.254/"), "answered HTTP 302"),
    "other form": (sent(200, '{"answers": []}'), "answered in another form than it documents"),
    "wrong type": (sent(200, '{"web": {"results": 7}}'), "answered in another form than it documents"),
    "not zipped": (sent(200, "{}", "Content-Encoding: gzip"), "cannot be reached: DecodingError"),
    "latin": (sent(200, b'{"web": {"results": [{"title": "\xe9"}]}}'), "answered something that is no JSON"),
}
"""What is sent, and what the model is told of it."""

PASSING = {"busy", "broken", "gateway", "page", "cut", "half", "stall", "reset", "not zipped", "latin"}

ODD = {
    "nothing found": sent(200, '{"type": "search"}'),
    "fields missing": sent(200, '{"web": {"results": [{}, null, {"title": null}]}}'),
}
"""Answers without hits, which are no failures."""


class Storm:
    """Answers each call by lot."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.served = defaultdict(list)

    def __call__(self, head):
        query = re.search(r"[?&]q=(\w+)", head)[1]
        lot = self.rng.random()
        kind = "good"
        if lot < 0.3:
            kind = self.rng.choice(list(FAULTS))
        elif lot < 0.35:
            kind = self.rng.choice(list(ODD))
        self.served[query].append(kind)
        if kind == "good":
            body = (GOOD % query).encode("utf-16" if lot > 0.9 else "utf-8")
            return sent(200, body)
        return FAULTS[kind][0] if kind in FAULTS else ODD[kind]


def turn(messages):
    """Search once for what is asked, then answer what was found."""
    if len(messages) == 2:
        query = messages[1].text.split()[-1]
        return f'<think>x</think><tool_call>{{"name": "search", "arguments": {{"query": "{query}"}}}}</tool_call>'
    found = re.search(r"\[answer (\w+)\]", messages[-1].text)
    return f"<think>x</think><answer>{found[1] if found else 'unknown'}</answer>"


def weather(raw_server, questions, seed, **limits):
    """Trajectories of all questions, the storm and the manners."""
    storm, waits = Storm(seed), []

    async def wait(seconds):
        waits.append(seconds)
        await asyncio.sleep(0)

    settings = SearchSettings(
        provider="brave", timeout=10.0, max_retries=RETRIES, failures_in_a_row=1000, cost_per_call=0.01, **limits
    )
    manners = Manners("brave", settings, sleep=wait)

    async def client(url):
        text = PoliteText(BraveText(Access(KEY, url, timeout=settings.timeout)), manners)
        agent, store, free = Agent(ScriptedPolicy(turn), Tools(text=text)), ImageStore(), asyncio.Semaphore(12)

        async def one(number):
            async with free:
                return await agent.run(Question(id=f"{number}", text=f"What is q{number}"), store)

        return await asyncio.gather(*(one(number) for number in range(questions)))

    server = raw_server(storm)
    return server.play(client), storm, manners, waits, server


SIZES = [60, pytest.param(300, marks=pytest.mark.slow)]


@pytest.mark.parametrize("questions", SIZES)
def test_no_question_is_lost_and_every_failure_is_told(raw_server, questions):
    ended, storm, manners, waits, server = weather(raw_server, questions, seed=questions)
    assert [one.question.id for one in ended] == [f"{number}" for number in range(questions)]
    assert {one.stop_reason for one in ended} == {StopReason.ANSWERED}
    failed = retried = 0
    for one in ended:
        query = f"q{one.question.id}"
        served, observation = storm.served[query], one.turns[0].observation
        shown = "".join(part.text for part in one.turns[0].observation_parts)
        retried += len(served) - 1
        assert all(kind in PASSING for kind in served[:-1]), served  # nothing else is tried again
        if served[-1] in FAULTS:
            failed += 1
            assert len(served) == RETRIES + 1 or served[-1] not in PASSING
            assert observation.error.kind == "search" and one.answer == "unknown"
            assert FAULTS[served[-1]][1] in shown and shown.endswith("Try again, or go on without it.")
        else:
            assert observation.error is None
            assert one.answer == (query if served[-1] == "good" else "unknown")
        assert KEY not in one.model_dump_json()
    assert failed and retried
    assert manners.calls == server.requests == sum(map(len, storm.served.values())) == questions + retried
    assert len(waits) == retried


@pytest.mark.parametrize("questions", SIZES)
@pytest.mark.parametrize("limit", [{"max_calls": 40}, {"max_cost": 0.4}])
def test_a_ceiling_holds_in_the_storm_too(raw_server, questions, limit):
    ended, storm, manners, _, server = weather(raw_server, questions, seed=1, **limit)
    assert manners.calls == server.requests == 40
    assert {one.stop_reason for one in ended} == {StopReason.ANSWERED}
    refused = [one for one in ended if "ceiling" in one.turns[0].observation_parts[0].text]
    assert len(refused) >= questions - 40
    found = [one for one in ended if one.answer != "unknown"]
    assert found and all(storm.served[one.answer][-1] == "good" for one in found)


def test_every_kind_of_trouble_blows_in_the_long_storm():
    storm = Storm(300)
    for number in range(400):
        storm(f"GET /?q=q{number} HTTP/1.1")
    assert set(FAULTS) | set(ODD) | {"good"} == {kind for kinds in storm.served.values() for kind in kinds}
