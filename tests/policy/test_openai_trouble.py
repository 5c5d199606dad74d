"""Trouble with an endpoint: what is tried again, what is not, and what is let go of."""

import asyncio
import base64
import email.utils
import time
from typing import Any

import pytest
from aiolimiter import AsyncLimiter

from foveal.config import Sampling
from foveal.errors import ConfigError, InputError, PolicyError
from foveal.policy.openai import OpenAIPolicy, without_login
from foveal.policy.opening import served_models
from foveal.trajectory import ImageStore

HANG, RESET = b"hang", b"reset"


def error(status: int, message: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    return status, {"error": {"message": message, "type": "x", "code": None}}, headers


@pytest.fixture
def refusal(raw_endpoint, generate):
    """The error of a turn that these replies make impossible, and the endpoint: `refusal(*replies, **settings)`."""

    def make(*replies: Any, **settings: Any) -> tuple[PolicyError, Any]:
        endpoint = raw_endpoint(replies)
        with pytest.raises(PolicyError) as raised:
            generate(endpoint, **settings)
        return raised.value, endpoint

    return make


@pytest.mark.parametrize(
    "trouble",
    [
        error(500, "oops"),
        error(503, "overloaded"),
        error(429, "slow down"),
        error(408, "late"),
        RESET,
        (200, '{"choices": [{"mess'),
        error(200, "overloaded"),
        (200, {"error": "overloaded"}),
        (200, '{"hello": 1}'),
        (200, '{"choices": []}'),
        (200, '{"choices": [{"message": {"content": {"a": 1}}}]}'),
        (200, "[1, 2]"),
        b"HTTP/1.1 200 X\r\nContent-Length: 99\r\nConnection: close\r\n\r\n" + b"x" * 10,
        b"garbage\r\n\r\n",
    ],
    ids=[
        *("500", "503", "429", "408", "reset", "half-json"),
        *("error-in-200", "told-in-200", "other-json", "no-choices", "no-text", "list", "short-body", "no-http"),
    ],
)
def test_trouble_that_may_pass_is_tried_again(raw_endpoint, said, generate, trouble):
    endpoint = raw_endpoint([trouble, trouble, said("<answer>4")])
    assert generate(endpoint).text == "<answer>4</answer>"
    assert len(endpoint.requests) == 3


@pytest.mark.parametrize("trouble", [HANG, b"drip"])
def test_a_server_that_hangs_is_given_up_and_tried_again(raw_endpoint, said, generate, trouble):
    endpoint = raw_endpoint([trouble, said("x")])
    started = time.monotonic()
    assert generate(endpoint, timeout=0.4).text == "x"
    assert time.monotonic() - started < 50


def test_retry_after_is_honoured(raw_endpoint, said, generate):
    endpoint = raw_endpoint([error(429, "slow down", Retry_After="0.4"), said("x")])
    generate(endpoint)
    assert 0.4 <= endpoint.times[1] - endpoint.times[0] < 30
    until = int(time.time()) + 2
    date = email.utils.formatdate(until, usegmt=True)
    endpoint = raw_endpoint([error(503, "slow down", Retry_After=date), said("x")])
    generate(endpoint)
    assert until - 0.1 <= time.time() < until + 30


def test_a_wait_of_an_hour_is_a_failure(refusal):
    found, endpoint = refusal(error(429, "quota", Retry_After="3600"))
    assert "3600 s" in str(found) and len(endpoint.requests) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        error(500, "broken inside"),
        error(200, "broken inside"),
        error(503, "broken inside", Retry_After="0"),
        error(503, "broken inside", Retry_After="Sun, 06 Nov 1994 08:49:37 GMT"),
    ],
    ids=["500", "error-in-200", "at-once", "date-of-the-past"],
)
def test_retries_end_and_waits_grow(refusal, trouble):
    found, endpoint = refusal(trouble, max_retries=3, backoff=0.04)
    assert len(endpoint.requests) == 4
    assert "4 times" in found.what and "broken inside" in found.what
    waits = [b - a for a, b in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert all(0.5 * 0.04 * 2**n <= wait for n, wait in enumerate(waits))


def test_what_is_no_completion_is_told_with_what_it_says(refusal):
    found, _ = refusal(error(200, "all workers are busy"), max_retries=1)
    assert "2 times" in found.what and found.what.endswith("HTTP 200 without a completion: all workers are busy")
    found, _ = refusal((200, '{"hello": 1}'), max_retries=0)
    assert '{"hello": 1}' in found.what and "base URL" in found.fix


def test_every_post_takes_a_slot_of_the_limiter_and_takes_it_last(raw_endpoint, said, connect):
    unsupported = error(400, "Unsupported parameter: 'max_tokens' is not supported.")
    endpoint = raw_endpoint([error(500, "oops"), unsupported, RESET, error(200, "busy"), said("x")], slow=0.02)
    slots: list[tuple[int, int]] = []

    class Slots(AsyncLimiter):
        async def acquire(self, amount: float = 1) -> None:
            slots.append((len(endpoint.requests), endpoint.at_once))

    async def client(url: str) -> None:
        shared = connect(url, max_concurrency=1, limiter=Slots(1))

        async def one() -> None:
            conversation = shared.open(ImageStore(), Sampling())
            await conversation.generate(5, ())
            await conversation.close()

        await asyncio.gather(one(), one())

    endpoint.play(client)
    assert slots == [(sent, 0) for sent in range(6)], "nobody has a slot and waits for a connection"


def test_no_server(connect):
    async def client() -> None:
        conversation = connect("http://127.0.0.1:9/v1", max_retries=1).open(ImageStore(), Sampling())
        try:
            await conversation.generate(5, ())
        finally:
            await conversation.close()

    with pytest.raises(PolicyError, match=r"2 times.*ConnectError"):
        asyncio.run(client())


@pytest.mark.parametrize(
    ("reply", "fix"),
    [
        (error(401, "Incorrect API key provided"), "API key"),
        (error(403, "no"), "API key"),
        (error(404, "The model `m` does not exist."), "/v1/models"),
        ((404, "<html>Not Found</html>"), "base URL"),
        (error(400, "This model's maximum context length is 4096 tokens."), "max_context"),
        (error(413, "too large"), "max_image_pixels"),
        (error(422, "seed: extra fields not permitted"), "settings"),
        (error(429, "You exceeded your current quota (insufficient_quota)"), "quota"),
        ((307, "", {"Location": "https://elsewhere/"}), "settings"),
    ],
)
def test_trouble_that_stays_is_not_tried_again_and_names_the_fix(refusal, reply, fix):
    found, endpoint = refusal(reply)
    assert found.fix is not None and fix in found.fix
    assert len(endpoint.requests) == 1
    assert "for model m" in found.what


def test_endpoint_is_quoted_but_never_the_key(refusal):
    found, _ = refusal(error(401, "bad key sk-secret here"), api_key="sk-secret")
    assert "bad key *** here" in str(found) and "sk-secret" not in str(found)
    found, _ = refusal(error(401, "no"))
    assert "none was given" in str(found)
    found, _ = refusal((400, '{"object": "error", "message": "old vLLM"}'))
    assert "old vLLM" in str(found)


def test_endpoints_that_refuse_classic_fields_are_asked_in_their_way(raw_endpoint, said, generate):
    endpoint = raw_endpoint(
        [
            error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            error(400, "Unsupported parameter: 'stop' is not supported with this model."),
            said("<answer>4</answer> and so on"),
        ]
    )
    assert generate(endpoint).text == "<answer>4</answer>"
    last = endpoint.requests[-1]
    assert last["max_completion_tokens"] == 50 and "max_tokens" not in last and "stop" not in last


def test_requests_that_are_refused_together_are_all_asked_in_the_other_way(raw_endpoint, said, connect):
    refused = error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
    endpoint = raw_endpoint([refused] * 4 + [said("x")], slow=0.05)

    async def client(url: str) -> None:
        shared = connect(url)

        async def one() -> None:
            conversation = shared.open(ImageStore(), Sampling())
            await conversation.generate(5, ())
            await conversation.close()

        await asyncio.gather(*(one() for _ in range(4)))

    endpoint.play(client)
    assert [("max_tokens" in body) for body in endpoint.requests] == [True] * 4 + [False] * 4


def test_not_more_requests_at_once_than_allowed(raw_endpoint, said, connect):
    endpoint = raw_endpoint([said("x")], slow=0.02)

    async def client(url: str) -> None:
        shared = connect(url, max_concurrency=3)

        async def one() -> None:
            conversation = shared.open(ImageStore(), Sampling())
            await conversation.generate(5, ())
            await conversation.close()

        await asyncio.gather(*(one() for _ in range(10)))

    endpoint.play(client)
    assert len(endpoint.requests) == 10 and endpoint.most_at_once == 3


def test_one_policy_in_several_event_loops(raw_endpoint, said, connect):
    endpoint = raw_endpoint([said("x")])
    made: list[OpenAIPolicy] = []

    async def client(url: str) -> None:
        made.append(made[0] if made else connect(url))
        made[-1].url = url + "/chat/completions"
        first, second = (made[0].open(ImageStore(), Sampling()) for _ in range(2))
        await first.generate(5, ())
        await second.generate(5, ())
        await first.close()
        await second.generate(5, ())  # still open for the other conversation
        await second.close()

    endpoint.play(client)
    assert endpoint.connections == 1
    endpoint.play(client)
    assert len(endpoint.requests) == 6


def test_cancelled_request_lets_go_of_everything(raw_endpoint, said, connect):
    endpoint = raw_endpoint([HANG, said("x")])

    async def client(url: str) -> str:
        shared = connect(url, max_concurrency=1)
        conversation = shared.open(ImageStore(), Sampling())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await conversation.generate(5, ())
        text = (await conversation.generate(5, ())).text
        await conversation.close()
        return text

    assert endpoint.play(client) == "x"


def test_a_key_that_a_proxy_sends_back_is_not_shown(refusal):
    found, _ = refusal((200, "no JSON: you sent Bearer sk-secret"), api_key="sk-secret", max_retries=0)
    assert "you sent Bearer ***" in str(found) and "sk-secret" not in str(found)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://bob:s3cret@h/v1", "http://h/v1"),
        ("http://bob:s3@cret@h/v1/@me", "http://h/v1/@me"),
        ("http://bob:s3cret@h:port/v1", "http://…"),
        ("http://bob:s3/cret@h/v1", "http://…"),
        ("http://bob:s3#cret@h/v1", "http://…"),
        ("http://bob:s3cret", "http://…"),
        ('see "https://bob:s3cret@h/a" and b@c', 'see "https://h/a" and b@c'),
        ("no address", "no address"),
    ],
)
def test_an_address_is_shown_without_name_and_password(address, shown):
    assert without_login(address) == shown


def test_no_part_of_an_address_that_cannot_be_read_is_shown():
    for rest in ("h:port/v1", "h:port", "[::1/v1"):
        with pytest.raises(ConfigError, match="is no address") as caught:
            OpenAIPolicy(f"http://bob:s3cret@{rest}", "m")
        with pytest.raises(InputError, match="is no address") as told:
            served_models(f"http://bob:s3cret@{rest}", None)
        assert "s3cret" not in f"{caught.value} {told.value}"


def test_the_password_of_an_address_is_sent_and_never_shown(raw_endpoint, connect, caplog):
    endpoint = raw_endpoint([error(503, "down"), error(400, "no")])

    async def client(url: str) -> None:
        policy = connect(url.replace("http://", "http://bob:s3cret%40@"))
        conversation = policy.open(ImageStore(), Sampling())
        with pytest.raises(PolicyError) as raised:
            await conversation.generate(9, ())
        assert (
            "s3cret" not in str(raised.value) and "bob" not in str(raised.value) and "http://127" in str(raised.value)
        )
        await conversation.close()

    endpoint.play(client)
    login = base64.b64encode(b"bob:s3cret@").decode()
    assert all(f"Authorization: Basic {login}" in headers for headers in endpoint.headers)
    assert "s3cret" not in caplog.text and "127.0.0.1" in caplog.text
