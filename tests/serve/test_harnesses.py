"""What evaluation harnesses really send, written down from their sources, is answered.

They run themselves in `check_harnesses.py`. lmms-eval 0.7.3: `models/simple/openai.py`, `models/chat/openai.py`,
`protocol.py`.
VLMEvalKit, commit e8e78f05: `api/gpt.py`, `api/lmdeploy.py`, `api/openai_sdk.py`.
"""

import asyncio
import json

import pytest

from foveal.policy.scripted import ScriptedPolicy


def lmms_eval_simple(url):
    content = [{"type": "text", "text": "Which colour?"}, {"type": "image_url", "image_url": {"url": url("PNG")}}]
    return {"model": "agent", "messages": [{"role": "user", "content": content}], "max_tokens": 1024, "temperature": 0}


def lmms_eval_chat(url):
    content = [{"type": "image_url", "image_url": {"url": url("PNG")}}, {"type": "text", "text": "Which colour?"}]
    sampling = {"max_tokens": 8192, "temperature": 0, "top_p": 1.0}
    return {"messages": [{"role": "user", "content": content}], "model": "agent", **sampling}


def lmms_eval_with_instruction(url):
    system = {"role": "system", "content": [{"type": "text", "text": "Answer in one word."}]}
    return {**lmms_eval_chat(url), "messages": [system, *lmms_eval_chat(url)["messages"]]}


def vlmevalkit_wrapper(url):
    image = {"url": url("JPEG"), "detail": "low"}
    content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": "Which colour?"}]
    return {"model": "agent", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 2048}


def vlmevalkit_base_url(url):
    content = [{"type": "image_url", "image_url": {"url": url("JPEG")}}, {"type": "text", "text": "Which colour?"}]
    messages = [{"role": "user", "content": content}]
    return {"model": "agent", "messages": messages, "n": 1, "max_tokens": 32768, "temperature": 0.0}


def vlmevalkit_with_extra_body(url):
    return {**vlmevalkit_base_url(url), "seed": 0}


def vlmevalkit_alive(url):
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    return {"model": "agent", "messages": messages, "n": 1, "max_tokens": 32768, "temperature": 0.0}


BODIES = [
    lmms_eval_simple,
    lmms_eval_chat,
    lmms_eval_with_instruction,
    vlmevalkit_wrapper,
    vlmevalkit_base_url,
    vlmevalkit_with_extra_body,
    vlmevalkit_alive,
]


def collected(reply):
    """The text of a streamed reply as VLMEvalKit reads it."""
    parts = []
    for line in reply.text.splitlines():
        if not line.startswith("data:"):
            continue
        if (data := line[5:].strip()) == "[DONE]":
            break
        choices = json.loads(data).get("choices", [])
        parts.append((choices[0]["delta"].get("content") or "") if choices else "")
    return "".join(parts).strip()


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_the_body_of_a_harness_is_answered(running, data_url, red, body):
    async def main():
        async with running(ScriptedPolicy(["<answer>red</answer>"])) as server:
            sent = body(lambda kind: data_url(red, kind))
            # VLMEvalKit sends its bodies by hand, and always with a key.
            headers = {"Authorization": "Bearer sk-admin", "Content-Type": "application/json"}
            plain = await server.client.post("/v1/chat/completions", content=json.dumps(sent), headers=headers)
            streamed = await server.client.post("/v1/chat/completions", json={**sent, "stream": True}, headers=headers)
            return plain, streamed

    plain, streamed = asyncio.run(main())
    assert plain.status_code == 200, plain.text
    assert plain.json()["choices"][0]["message"]["content"].strip() == "red"
    assert collected(streamed) == "red"
