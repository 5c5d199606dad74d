import asyncio
import base64
import email.utils
import io
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from PIL import Image

from foveal.agent import Agent
from foveal.config import Sampling
from foveal.errors import ConfigError, PolicyError
from foveal.policy.base import Generation
from foveal.policy.openai import OpenAIPolicy, data_url, with_stop
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools
from foveal.trajectory import ImagePart, ImageStore, Message, Question, StopReason, TextPart, Trajectory

STOP = ("</code>", "</tool_call>", "</answer>")
HANG = b"hang"
RESET = b"reset"


def http(status: int, body: bytes | str, **headers: str) -> bytes:
    body = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(body)}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def said(content: str | None, finish: str = "stop", stop_reason: str | None = None, **message: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return http(200, json.dumps({"choices": [{**choice, "stop_reason": stop_reason}], "usage": usage}))


def error(status: int, message: str, **headers: str) -> bytes:
    return http(status, json.dumps({"error": {"message": message, "type": "x", "code": None}}), **headers)


@dataclass
class Endpoint:
    """A loopback HTTP server that gives its replies in order; the last one for good."""

    replies: Sequence[bytes]
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
                reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await asyncio.sleep(60 if reply is HANG else self.slow)
                self.at_once -= 1
                if reply is RESET:
                    writer.transport.abort()
                    return
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


def policy(url: str, **kwargs: Any) -> OpenAIPolicy:
    return OpenAIPolicy(url, "m", **{"backoff": 0.01, "transport": httpx.AsyncHTTPTransport(), **kwargs})


def user(text: str) -> Message:
    return Message(role="user", parts=(TextPart(text=text),))


def generate(endpoint: Endpoint, sampling: Sampling | None = None, **kwargs: Any) -> Generation:
    async def client(url: str) -> Generation:
        conversation = policy(url, **kwargs).open(ImageStore(), sampling or Sampling())
        await conversation.append(user("hi"))
        try:
            return await conversation.generate(50, STOP)
        finally:
            await conversation.close()
            await conversation.close()

    return endpoint.play(client)


def refusal(*replies: bytes, **kwargs: Any) -> tuple[PolicyError, Endpoint]:
    endpoint = Endpoint(replies)
    with pytest.raises(PolicyError) as raised:
        generate(endpoint, **kwargs)
    return raised.value, endpoint


def test_request_and_reply():
    endpoint = Endpoint([said("<think>t</think><answer>42")])
    found = generate(endpoint, api_key="sk-secret")
    assert found == Generation("<think>t</think><answer>42</answer>", "stop", 11, 7)
    assert endpoint.requests == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.0,
            "max_tokens": 50,
            "stop": list(STOP),
        }
    ]
    assert endpoint.headers[0].startswith("POST /v1/chat/completions ")
    assert "authorization: bearer sk-secret\r\n" in endpoint.headers[0].lower()


def test_no_key_no_header():
    endpoint = Endpoint([said("x")])
    generate(endpoint)
    assert "authorization" not in endpoint.headers[0].lower()


def test_sampling_settings_and_a_seed_for_each_conversation():
    endpoint = Endpoint([said("x")])

    async def client(url: str) -> None:
        shared = policy(url)
        for _ in range(2):
            conversation = shared.open(ImageStore(), Sampling(temperature=0.7, top_p=0.9, seed=5))
            await conversation.generate(9, ())
            await conversation.close()

    endpoint.play(client)
    first, second = endpoint.requests
    assert (first["temperature"], first["top_p"], first["seed"], second["seed"]) == (0.7, 0.9, 5, 6)
    assert "stop" not in first


def test_conversation_with_pictures():
    store = ImageStore()
    picture = Image.effect_noise((40, 30), 50).convert("RGB")
    ref = store.put(picture)
    endpoint = Endpoint([said("<code>x"), said("<answer>y</answer>")])

    async def client(url: str) -> None:
        conversation = policy(url).open(store, Sampling())
        await conversation.append(Message(role="system", parts=(TextPart(text="s"),)))
        await conversation.append(Message(role="user", parts=(ImagePart(image=ref), TextPart(text="what?"))))
        assert (await conversation.generate(5, STOP)).text == "<code>x</code>"
        await conversation.append(user("obs"))
        await conversation.generate(5, STOP)
        assert conversation.num_tokens is None and conversation.cost(user("x")) is None
        assert conversation.tokens() is None
        await conversation.close()

    endpoint.play(client)
    messages = endpoint.requests[1]["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "s" and messages[2]["content"] == "<code>x</code>"
    image, text = messages[1]["content"]
    assert text == {"type": "text", "text": "what?"}
    kind, _, data = image["image_url"]["url"].partition(",")
    assert (image["type"], kind) == ("image_url", "data:image/png;base64")
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture.tobytes()


def test_large_pictures_go_as_jpeg():
    assert data_url(Image.new("RGB", (2000, 1000))).startswith("data:image/png;base64,")
    url = data_url(Image.new("RGB", (2001, 1000), "red"))
    assert url.startswith("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert image.size == (2001, 1000) and image.getpixel((5, 5))[0] > 250


@pytest.mark.parametrize(
    ("text", "cut", "met", "whole"),
    [
        ("<think>t</think><answer>4", False, None, "<think>t</think><answer>4</answer>"),
        ("<code>\nx\n", False, None, "<code>\nx\n</code>"),
        ("<code>\nx\n", True, None, "<code>\nx\n"),
        ("<code>\nx\n", False, "</code>", "<code>\nx\n</code>"),
        ("x", False, 151645, "x"),
        ("x", False, "<|im_end|>", "x"),
        ("<think>use <code> now</think>done", False, None, "<think>use <code> now</think>done"),
        ("<think>not <answer> but <code>x", False, None, "<think>not <answer> but <code>x</code>"),
        ("<answer>4</answer> and <answer>5</answer>", False, None, "<answer>4</answer>"),
        ("<answer>4</answer> and <code>", True, None, "<answer>4</answer>"),
        ("", False, None, ""),
    ],
)
def test_closing_tag_is_put_back(text, cut, met, whole):
    assert with_stop(text, STOP, cut, met) == whole


def test_finish_length():
    assert generate(Endpoint([said("<answer>4", "length")])).finish == "length"
    run_over = generate(Endpoint([said("<answer>4</answer> so", "length")]))
    assert (run_over.text, run_over.finish) == ("<answer>4</answer>", "stop")


def test_thinking_that_came_apart_is_put_back():
    for name in ("reasoning_content", "reasoning"):
        found = generate(Endpoint([said("<answer>4</answer>", **{name: "hm\n"})]))
        assert found.text == "<think>hm</think>\n<answer>4</answer>"


def test_empty_content_is_an_empty_turn():
    assert generate(Endpoint([said(None)])).text == ""


def test_reply_without_usage():
    reply = http(200, json.dumps({"choices": [{"message": {"content": "x"}}]}))
    assert generate(Endpoint([reply])) == Generation("x", "stop", None, None)


def test_halves_of_utf16_pairs():
    reply = http(200, '{"choices": [{"message": {"content": "a\\ud800b"}}]}')
    endpoint = Endpoint([reply])

    async def client(url: str) -> None:
        conversation = policy(url).open(ImageStore(), Sampling())
        assert (await conversation.generate(5, ())).text == "a?b"
        await conversation.generate(5, ())
        await conversation.close()

    endpoint.play(client)
    assert endpoint.requests[1]["messages"][0]["content"] == "a?b"


@pytest.mark.parametrize(
    "trouble",
    [
        error(500, "oops"),
        error(503, "overloaded"),
        error(429, "slow down"),
        error(408, "late"),
        RESET,
        http(200, '{"choices": [{"mess'),
        http(200, b"x" * 10).replace(b"Content-Length: 10", b"Content-Length: 99\r\nConnection: close"),
        b"garbage\r\n\r\n",
    ],
    ids=["500", "503", "429", "408", "reset", "half-json", "short-body", "no-http"],
)
def test_trouble_that_may_pass_is_tried_again(trouble):
    endpoint = Endpoint([trouble, trouble, said("<answer>4")])
    assert generate(endpoint).text == "<answer>4</answer>"
    assert len(endpoint.requests) == 3


def test_a_server_that_hangs_is_given_up_and_tried_again():
    endpoint = Endpoint([HANG, said("x")])
    started = time.monotonic()
    assert generate(endpoint, timeout=0.2).text == "x"
    assert time.monotonic() - started < 10


def test_retry_after_is_honoured():
    endpoint = Endpoint([error(429, "slow down", Retry_After="0.4"), said("x")])
    generate(endpoint)
    assert 0.4 <= endpoint.times[1] - endpoint.times[0] < 5
    date = email.utils.formatdate(time.time() + 2, usegmt=True)
    endpoint = Endpoint([error(503, "slow down", Retry_After=date), said("x")])
    generate(endpoint)
    assert 0.5 <= endpoint.times[1] - endpoint.times[0] < 5


def test_a_wait_of_an_hour_is_a_failure():
    found, endpoint = refusal(error(429, "quota", Retry_After="3600"))
    assert "3600 s" in str(found) and len(endpoint.requests) == 1


def test_retries_end_and_waits_grow():
    found, endpoint = refusal(error(500, "broken inside"), max_retries=3, backoff=0.04)
    assert len(endpoint.requests) == 4
    assert "4 times" in found.what and "broken inside" in found.what
    waits = [b - a for a, b in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert all(0.5 * 0.04 * 2**n <= wait for n, wait in enumerate(waits))


def test_no_server():
    async def client() -> None:
        conversation = policy("http://127.0.0.1:9/v1", max_retries=1).open(ImageStore(), Sampling())
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
        (http(404, "<html>Not Found</html>"), "base URL"),
        (error(400, "This model's maximum context length is 4096 tokens."), "max_context"),
        (error(413, "too large"), "max_image_pixels"),
        (error(422, "seed: extra fields not permitted"), "settings"),
        (error(429, "You exceeded your current quota (insufficient_quota)"), "quota"),
        (http(200, '{"hello": 1}'), "base URL"),
        (http(200, '{"choices": []}'), "base URL"),
        (http(200, '{"choices": [{"message": {"content": {"a": 1}}}]}'), "base URL"),
        (http(200, "[1, 2]"), "base URL"),
        (http(307, "", Location="https://elsewhere/"), "settings"),
    ],
)
def test_trouble_that_stays_is_not_tried_again_and_names_the_fix(reply, fix):
    found, endpoint = refusal(reply)
    assert found.fix is not None and fix in found.fix
    assert len(endpoint.requests) == 1
    assert "for model m" in found.what


def test_endpoint_is_quoted_but_never_the_key():
    found, _ = refusal(error(401, "bad key sk-secret here"), api_key="sk-secret")
    assert "bad key *** here" in str(found) and "sk-secret" not in str(found)
    found, _ = refusal(error(401, "no"))
    assert "none was given" in str(found)
    found, _ = refusal(http(400, '{"object": "error", "message": "old vLLM"}'))
    assert "old vLLM" in str(found)


def test_endpoints_that_refuse_classic_fields_are_asked_in_their_way():
    endpoint = Endpoint(
        [
            error(400, "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            error(400, "Unsupported parameter: 'stop' is not supported with this model."),
            said("<answer>4</answer> and so on"),
        ]
    )
    assert generate(endpoint).text == "<answer>4</answer>"
    last = endpoint.requests[-1]
    assert last["max_completion_tokens"] == 50 and "max_tokens" not in last and "stop" not in last


def test_not_more_requests_at_once_than_allowed():
    endpoint = Endpoint([said("x")], slow=0.02)

    async def client(url: str) -> None:
        shared = policy(url, max_concurrency=3)

        async def one() -> None:
            conversation = shared.open(ImageStore(), Sampling())
            await conversation.generate(5, ())
            await conversation.close()

        await asyncio.gather(*(one() for _ in range(10)))

    endpoint.play(client)
    assert len(endpoint.requests) == 10 and endpoint.most_at_once == 3


def test_one_policy_in_several_event_loops():
    endpoint = Endpoint([said("x")])
    made: list[OpenAIPolicy] = []

    async def client(url: str) -> None:
        made.append(made[0] if made else policy(url))
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


def test_cancelled_request_lets_go_of_everything():
    endpoint = Endpoint([HANG, said("x")])

    async def client(url: str) -> str:
        shared = policy(url, max_concurrency=1)
        conversation = shared.open(ImageStore(), Sampling())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await conversation.generate(5, ())
        text = (await conversation.generate(5, ())).text
        await conversation.close()
        return text

    assert endpoint.play(client) == "x"


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://x/v1", "http://", "http://a:b:c/v1"])
def test_wrong_address(url):
    with pytest.raises(ConfigError, match="http://127"):
        OpenAIPolicy(url, "m")


def test_agent_through_an_endpoint():
    endpoint = Endpoint([said("hm"), error(500, "hiccup"), said("<think>t</think>\n<answer>red")])

    async def client(url: str) -> Trajectory:
        store = ImageStore()
        question = Question(id="q", text="colour?", images=(store.put(Image.new("RGB", (9, 9), "red")),))
        return await Agent(policy(url, transport=None)).run(question, store)

    found = endpoint.play(client)
    assert (found.stop_reason, found.answer, found.policy) == (StopReason.ANSWERED, "red", "m")
    assert (found.turns[0].prompt_tokens, found.turns[0].completion_tokens) == (11, 7)
    assert "no action" in endpoint.requests[-1]["messages"][-1]["content"]


def test_agent_records_a_lost_endpoint():
    async def client(url: str) -> Trajectory:
        return await Agent(policy(url)).run(Question(id="q", text="?"), ImageStore())

    found = Endpoint([said("hm"), error(401, "expired")]).play(client)
    assert found.stop_reason is StopReason.POLICY_ERROR and len(found.turns) == 1
    assert "expired" in (found.error or "")


def test_agent_sends_the_crop_of_a_photo_to_the_endpoint():
    photo = Image.effect_noise((320, 240), 60).convert("RGB")
    code = "<think>closer</think><code>\n```python\nimage_1.crop((40, 30, 140, 110))\n```\n"
    endpoint = Endpoint([said(code), said("<think>seen</think><answer>grain")])

    async def client(url: str) -> Trajectory:
        store = ImageStore()
        question = Question(id="q", text="what is it?", images=(store.put(photo),))
        async with LocalSandbox() as sandbox:
            return await Agent(policy(url), Tools(code=sandbox)).run(question, store)

    found = endpoint.play(client)
    assert found.answer == "grain"
    text, image = endpoint.requests[1]["messages"][-1]["content"]
    assert text["text"] == "Code execution result:\nImages:\n"
    crop = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
    assert crop.tobytes() == photo.crop((40, 30, 140, 110)).tobytes()
