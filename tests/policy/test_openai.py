import base64
import io
import json

import pytest
from PIL import Image

from foveal.agent import Agent
from foveal.config import Sampling
from foveal.errors import ConfigError
from foveal.policy.base import Generation
from foveal.policy.openai import OpenAIPolicy, data_url, with_stop
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools
from foveal.trajectory import ImagePart, ImageStore, Message, Question, StopReason, TextPart, Trajectory

STOP = ("</code>", "</tool_call>", "</answer>")


def test_request_and_reply(raw_endpoint, said, generate):
    endpoint = raw_endpoint([said("<think>t</think><answer>42")])
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


def test_no_key_no_header(raw_endpoint, said, generate):
    endpoint = raw_endpoint([said("x")])
    generate(endpoint)
    assert "authorization" not in endpoint.headers[0].lower()


def test_sampling_settings_and_the_seed_of_each_conversation(raw_endpoint, said, connect):
    endpoint = raw_endpoint([said("x")])

    async def client(url: str) -> None:
        shared = connect(url)
        for seed in (5, 5, 7):
            conversation = shared.open(ImageStore(), Sampling(temperature=0.7, top_p=0.9, seed=seed))
            await conversation.generate(9, ())
            await conversation.close()

    endpoint.play(client)
    first, *others = endpoint.requests
    assert (first["temperature"], first["top_p"], first["seed"]) == (0.7, 0.9, 5)
    assert [other["seed"] for other in others] == [5, 7]
    assert "stop" not in first


def test_conversation_with_pictures(raw_endpoint, said, connect, user):
    store = ImageStore()
    picture = Image.effect_noise((40, 30), 50).convert("RGB")
    ref = store.put(picture)
    endpoint = raw_endpoint([said("<code>x"), said("<answer>y</answer>")])

    async def client(url: str) -> None:
        conversation = connect(url).open(store, Sampling())
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


def test_finish_length(raw_endpoint, said, generate):
    assert generate(raw_endpoint([said("<answer>4", "length")])).finish == "length"
    run_over = generate(raw_endpoint([said("<answer>4</answer> so", "length")]))
    assert (run_over.text, run_over.finish) == ("<answer>4</answer>", "stop")


def test_thinking_that_came_apart_is_put_back(raw_endpoint, said, generate):
    for name in ("reasoning_content", "reasoning"):
        found = generate(raw_endpoint([said("<answer>4</answer>", **{name: "hm\n"})]))
        assert found.text == "<think>hm</think>\n<answer>4</answer>"


def test_a_stop_string_that_the_thinking_mentions_ends_nothing(raw_endpoint, said, generate):
    thought = "The answer must stand in <answer></answer>. It is 4."
    for reason in ("stop", "length"):
        found = generate(raw_endpoint([said("<answer>4</answer>", reason, reasoning_content=thought)]))
        assert (found.text, found.finish) == (f"<think>{thought}</think>\n<answer>4</answer>", "stop")
    cut = generate(raw_endpoint([said("", "length", reasoning_content=thought)]))
    assert cut.finish == "length"


def test_empty_content_is_an_empty_turn(raw_endpoint, said, generate):
    assert generate(raw_endpoint([said(None)])).text == ""


def test_reply_without_usage(raw_endpoint, generate):
    reply = (200, json.dumps({"choices": [{"message": {"content": "x"}}]}))
    assert generate(raw_endpoint([reply])) == Generation("x", "stop", None, None)


def test_halves_of_utf16_pairs(raw_endpoint, connect):
    reply = (200, '{"choices": [{"message": {"content": "a\\ud800b"}}]}')
    endpoint = raw_endpoint([reply])

    async def client(url: str) -> None:
        conversation = connect(url).open(ImageStore(), Sampling())
        assert (await conversation.generate(5, ())).text == "a?b"
        await conversation.generate(5, ())
        await conversation.close()

    endpoint.play(client)
    assert endpoint.requests[1]["messages"][0]["content"] == "a?b"


@pytest.mark.parametrize("url", ["localhost:8000", "", "ftp://x/v1", "http://", "http://a:b:c/v1"])
def test_wrong_address(url):
    with pytest.raises(ConfigError, match="http://127"):
        OpenAIPolicy(url, "m")


def test_agent_through_an_endpoint(raw_endpoint, said, connect):
    endpoint = raw_endpoint(
        [said("hm"), (500, {"error": {"message": "hiccup"}}), said("<think>t</think>\n<answer>red")]
    )

    async def client(url: str) -> Trajectory:
        store = ImageStore()
        question = Question(id="q", text="colour?", images=(store.put(Image.new("RGB", (9, 9), "red")),))
        return await Agent(connect(url, transport=None)).run(question, store)

    found = endpoint.play(client)
    assert (found.stop_reason, found.answer, found.policy) == (StopReason.ANSWERED, "red", "m")
    assert (found.turns[0].prompt_tokens, found.turns[0].completion_tokens) == (11, 7)
    assert "no action" in endpoint.requests[-1]["messages"][-1]["content"]


def test_agent_records_a_lost_endpoint(raw_endpoint, said, connect):
    async def client(url: str) -> Trajectory:
        return await Agent(connect(url)).run(Question(id="q", text="?"), ImageStore())

    found = raw_endpoint([said("hm"), (401, {"error": {"message": "expired"}})]).play(client)
    assert found.stop_reason is StopReason.POLICY_ERROR and len(found.turns) == 1
    assert "expired" in (found.error or "")


def test_agent_sends_the_crop_of_a_photo_to_the_endpoint(raw_endpoint, said, connect):
    photo = Image.effect_noise((320, 240), 60).convert("RGB")
    code = "<think>closer</think><code>\n```python\nimage_1.crop((40, 30, 140, 110))\n```\n"
    endpoint = raw_endpoint([said(code), said("<think>seen</think><answer>grain")])

    async def client(url: str) -> Trajectory:
        store = ImageStore()
        question = Question(id="q", text="what is it?", images=(store.put(photo),))
        async with LocalSandbox() as sandbox:
            return await Agent(connect(url), Tools(code=sandbox)).run(question, store)

    found = endpoint.play(client)
    assert found.answer == "grain"
    text, image = endpoint.requests[1]["messages"][-1]["content"]
    assert text["text"] == "Code execution result:\nImages:\n"
    crop = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].partition(",")[2])))
    assert crop.tobytes() == photo.crop((40, 30, 140, 110)).tobytes()
