import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.serve.request import Refused, read_request


def body(content, **fields):
    return json.dumps({"model": "agent", "messages": [{"role": "user", "content": content}], **fields}).encode()


def text(words):
    return {"type": "text", "text": words}


def image(url, **fields):
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def refusal(content):
    with pytest.raises(Refused) as refused:
        read_request(content)
    return refused.value


def test_texts_and_pictures_of_a_request(data_url, red):
    asked = read_request(
        body([image(data_url(red), detail="low"), text("Which"), text("colour?")], temperature=0.5, seed=7)
    )
    assert asked.question == "Which\ncolour?"
    assert [picture.tobytes() for picture in asked.pictures] == [red.tobytes()]
    assert (asked.temperature, asked.seed, asked.max_tokens, asked.top_p) == (0.5, 7, None, None)
    assert not asked.stream


def test_a_picture_between_texts_leaves_its_name_in_its_place(data_url, red):
    url = data_url(red)
    between = read_request(body([text("Is"), image(url), text("as red as"), image(url), text("?")]))
    assert between.question == "Is\n[image_1]\nas red as\n[image_2]\n?"
    behind = read_request(body([text("Are they alike?"), image(url), image(url)]))
    assert behind.question == "Are they alike?"
    assert len(behind.pictures) == 2


def test_messages_of_the_system_and_of_developers_are_taken_together():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [text("No units.")]},
        {"role": "user", "content": "How tall?"},
        {"role": "user", "content": "In metres."},
    ]
    asked = read_request(json.dumps({"model": "agent", "messages": messages}).encode())
    assert (asked.system, asked.question) == ("Be brief.\n\nNo units.", "How tall?\nIn metres.")


def test_what_changes_nothing_is_taken():
    neutral = {
        "n": 1, "stop": None, "tools": [], "presence_penalty": 0, "frequency_penalty": 0.0, "logprobs": False,
        "user": "me", "response_format": {"type": "text"}, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    asked = read_request(body("Who?", **neutral, max_completion_tokens=12, max_tokens=12, top_p=0.9))
    assert (asked.max_tokens, asked.top_p, asked.stream, asked.stream_usage) == (12, 0.9, True, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"stop": "."}, "stop"),
        ({"stop": ["."]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"logit_bias": {}}, "logit_bias"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs"),
    ],
)
def test_what_the_agent_cannot_do_is_refused_by_name(fields, param):
    refused = refusal(body("Who?", **fields))
    assert (refused.status, refused.param, refused.code) == (400, param, "unsupported_parameter")
    assert param in refused.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"seed": True}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
         "messages.0.content.0.image_url.url"),
        ({"messages": [{"role": "user", "content": [text(None)]}]}, "messages.0.content.0.text"),
    ],
)  # fmt: skip
def test_wrong_values_are_named_by_their_place(fields, param):
    refused = refusal(body("Who?", **fields))
    assert (refused.status, refused.param) == (400, param)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"null", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"model": "\\ud800"}']
)
def test_no_chat_request_is_refused(content):
    assert refusal(content).status == 400


@pytest.mark.parametrize("content", ["", " \n", []])
def test_a_request_without_a_question_is_refused(content):
    assert "no question" in refusal(body(content)).message


def test_a_picture_alone_is_no_question(data_url, red):
    assert "no question" in refusal(body([image(data_url(red))])).message


def test_earlier_turns_are_refused():
    messages = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "She."},
        {"role": "user", "content": "Why?"},
    ]
    refused = refusal(body("", messages=messages))
    assert refused.param == "messages.1"
    assert "one question a request" in refused.message


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/a.png", "https://example.org/a.png", "file:///etc/passwd", "data:text/plain;base64,AA==", ""],
)
def test_addresses_are_not_fetched(url):
    assert "addresses are not fetched" in refusal(body([image(url), text("Who?")])).message


@pytest.mark.parametrize("payload", ["", "AAAA", "%%%", "A"])
def test_what_is_no_picture_is_refused(payload):
    refused = refusal(body([image("data:image/png;base64," + payload), text("Who?")]))
    assert refused.code == "invalid_image"
    assert "picture 1" in refused.message


def test_a_picture_that_unpacks_to_too_much_is_refused():
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    refused = refusal(
        body([image(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"), text("Who?")])
    )
    assert "pixels" in refused.message


def test_pictures_that_are_too_much_together_are_refused(data_url, red):
    content = body([image(data_url(red))] * 3 + [text("Who?")])
    assert len(read_request(content, max_pixels=60 * 40 * 3).pictures) == 3
    with pytest.raises(Refused, match="together"):
        read_request(content, max_pixels=60 * 40 * 3 - 1)


def test_a_message_of_the_system_holds_no_picture(data_url, red):
    messages = [{"role": "system", "content": [image(data_url(red))]}, {"role": "user", "content": "Who?"}]
    assert "cannot hold pictures" in refusal(body("", messages=messages)).message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["type", "text"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["model", "messages", "temperature", "seed", "stop", "n", "x"]), JSON))
def test_any_json_is_read_or_refused(value):
    try:
        read_request(json.dumps(value).encode())
    except Refused as refused:
        assert refused.status == 400
