import asyncio

import pytest

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.scripted import ScriptedPolicy
from foveal.trajectory import ImageStore, Message, TextPart


def user(text: str) -> Message:
    return Message(role="user", parts=(TextPart(text=text),))


def test_turns_in_order_for_every_conversation():
    policy = ScriptedPolicy(["one", "two</code> and more"])

    async def talk() -> list[str]:
        conversation = policy.open(ImageStore(), Sampling())
        return [(await conversation.generate(10, ("</answer>", "</code>"))).text for _ in range(2)]

    assert asyncio.run(talk()) == ["one", "two</code>"]
    assert asyncio.run(talk()) == ["one", "two</code>"]


def test_a_script_that_ends_is_a_policy_error():
    async def talk() -> None:
        await ScriptedPolicy([]).open(ImageStore(), Sampling()).generate(10, ())

    with pytest.raises(PolicyError, match="ended after 0 turns"):
        asyncio.run(talk())


def test_function_sees_all_messages():
    policy = ScriptedPolicy(lambda messages: "|".join(f"{m.role}:{m.text}" for m in messages))

    async def talk() -> str:
        conversation = policy.open(ImageStore(), Sampling())
        await conversation.append(user("a"))
        await conversation.generate(10, ())
        await conversation.append(user("b"))
        return (await conversation.generate(10, ())).text

    assert asyncio.run(talk()) == "user:a|assistant:user:a|user:b"
