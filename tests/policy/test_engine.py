import asyncio
import contextlib
import random
import threading

import pytest
import torch

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.cache import MOST_GROWTH, Cache, common_prefix
from foveal.policy.transformers import TransformersPolicy

GREEDY, FREE = Sampling(temperature=0), Sampling(temperature=1.0, seed=3)


@contextlib.contextmanager
def watched(policy):
    """Collect the shape (rows, new tokens) of every pass through the language model."""
    shapes = []
    first = policy.model.get_decoder().layers[0]
    handle = first.register_forward_pre_hook(lambda _module, args: shapes.append(tuple(args[0].shape[:2])))
    yield shapes
    handle.remove()


async def talk(policy, store, messages, sampling=GREEDY, lengths=(8,)):
    """One turn after each message, of at most `lengths` tokens in turn; the open conversation."""
    conversation = policy.open(store, sampling)
    for index, one in enumerate(messages):
        await conversation.append(one)
        await conversation.generate(lengths[index % len(lengths)], ())
    return conversation


@pytest.fixture
def policy(tiny_checkpoint):
    return TransformersPolicy(tiny_checkpoint, device="cpu", max_batch=3)


@pytest.mark.parametrize("seed", range(3))
def test_many_conversations_in_few_slots_agree_with_unpadded_forwards(policy, store, picture, message, seed, gap):
    """Evicted, copied, moved, grown, joined mid-flight: nothing of that may show."""
    rng = random.Random(seed)
    prompts = [message("user", "p" * 20, picture(84, 56, n), "?") for n in range(2)]

    def dialogue():
        later = [message("user", "o" * rng.randint(1, 90), picture(56, 84, rng.randint(0, 9))) for _ in range(2)]
        return [rng.choice(prompts), *later]

    async def late(pause, *rest):
        await asyncio.sleep(pause)
        return await talk(*rest)

    async def together():
        starts = [
            late(rng.random() / 10, policy, store, dialogue(), Sampling(temperature=1.0, seed=n), [rng.randint(1, 40)])
            for n in range(8)
        ]
        return await asyncio.gather(*starts)

    for conversation in asyncio.run(together()):
        assert gap(policy, conversation) < 1e-4


def test_a_later_turn_computes_only_what_is_new(policy, store, picture, message):
    first, second = message("user", "a" * 50, picture(112, 112)), message("user", "b", picture(56, 56, 1))
    with watched(policy) as shapes:
        conversation = asyncio.run(talk(policy, store, [first, second], lengths=(5,)))
    prompt, start = len(policy.encoder.message_ids(first)), len(policy.encoder.assistant_start())
    again = len(conversation.tokens().ids) - 5 - (prompt + start + 5)  # closing, message, opening
    # The last token of a turn was sampled, but not yet read.
    assert shapes == [(1, prompt + start), *[(1, 1)] * 4, (1, again + 1), *[(1, 1)] * 4]


def test_rollouts_of_one_question_compute_its_prompt_once_and_encode_its_picture_once(
    policy, store, picture, message, gap
):
    ref, towers = picture(112, 112, 5), []
    handle = policy.model.model.visual.register_forward_hook(lambda *_: towers.append(1))
    prompt = message("user", ref, "w" * 40)

    async def run():
        return await asyncio.gather(
            *[talk(policy, store, [prompt], Sampling(temperature=1.0, seed=n), (6,)) for n in range(3)]
        )

    with watched(policy) as shapes:
        conversations = asyncio.run(run())
    handle.remove()
    assert len({one.tokens().ids for one in conversations}) > 1
    assert all(gap(policy, one) < 1e-4 for one in conversations)
    length = len(policy.encoder.message_ids(prompt)) + len(policy.encoder.assistant_start())
    assert [shape for shape in shapes if shape[1] > 1] == [(1, length)]
    assert (2, 1) in shapes, "the other two are given the last token of the prompt, together"
    assert len(towers) == 1
    assert len({id(one._pictures[0]) for one in conversations}) == 1, "and it is opened once"


def test_the_same_words_about_another_picture_are_not_taken_for_the_same(policy, store, picture, message, gap):
    one, other = (message("user", picture(112, 112, seed), "what?") for seed in (1, 2))
    asyncio.run(talk(policy, store, [one]))
    assert gap(policy, asyncio.run(talk(policy, store, [other]))) < 1e-4


def test_a_turn_joins_and_leaves_while_another_is_being_written(policy, store, message):
    async def run():
        order = []
        long = asyncio.create_task(talk(policy, store, [message("user", "long")], lengths=(400,)))
        long.add_done_callback(lambda _: order.append("long"))
        while not policy._engine._busy:
            await asyncio.sleep(0.001)
        await talk(policy, store, [message("user", "short")], lengths=(3,))
        order.append("short")
        await long
        return order

    with watched(policy) as shapes:
        assert asyncio.run(run()) == ["short", "long"]
    assert (2, 1) in shapes


def test_no_more_turns_at_once_than_slots(policy, store, message):
    async def run():
        return await asyncio.gather(
            *[talk(policy, store, [message("user", f"say {n}")], lengths=(2 * n,)) for n in (1, 2, 3, 4, 5)]
        )

    with watched(policy) as shapes:
        conversations = asyncio.run(run())
    assert [sum(one.tokens().loss_mask) for one in conversations] == [2, 4, 6, 8, 10]
    assert max(rows for rows, _ in shapes) == 3


def test_a_context_longer_than_a_slot_was_made_for(policy, store, message, gap):
    messages = [message("user", "0123456789" * 30), message("user", "9876543210" * 40)]
    conversation = asyncio.run(talk(policy, store, messages, FREE, (300,)))
    assert len(conversation.tokens().ids) > 1024
    assert gap(policy, conversation) < 1e-4


def test_what_was_cached_under_other_weights_is_forgotten(policy, store, picture, message, gap):
    prompt = message("user", picture(84, 84), "go on")
    holding = asyncio.run(talk(policy, store, [prompt]))
    optimizer = torch.optim.AdamW(policy.model.parameters(), lr=0.01)
    for parameter in policy.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    again = asyncio.run(talk(policy, store, [prompt]))
    assert again._pictures == holding._pictures, "the same opened picture, but not its features"
    assert gap(policy, again) < 1e-4


def test_a_closed_conversation_leaves_its_slot_and_its_features(policy, store, picture, message):
    ref = picture(112, 112, 5)

    async def run():
        conversation = await talk(policy, store, [message("user", ref)])
        await conversation.close()
        await conversation.close()
        await talk(policy, store, [message("user", "another")])

    asyncio.run(run())
    policy._engine._worker.submit(lambda: None).result()  # the worker has let go of its last batch
    assert ref.sha256 not in policy._pictures._held
    assert sum(slot.owner is not None for slot in policy._engine._cache.slots) == 1


def test_a_failure_while_decoding_reaches_every_waiting_conversation(policy, store, message, gap):
    def explode(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    handle = policy.model.lm_head.register_forward_hook(explode)

    async def run():
        talks = [talk(policy, store, [message("user", str(n))]) for n in range(5)]
        return await asyncio.gather(*talks, return_exceptions=True)

    errors = asyncio.run(run())
    assert [type(error) for error in errors] == [PolicyError] * 5
    assert "max_batch" in errors[0].fix
    handle.remove()
    assert gap(policy, asyncio.run(talk(policy, store, [message("user", "0")]))) < 1e-4


def test_a_slot_too_long_for_the_memory_fails_its_turn_alone(policy, store, message, gap):
    def full(*_):
        if policy._engine._cache._capacity > 600:
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = policy.model.get_decoder().register_forward_hook(full)
    with pytest.raises(PolicyError, match="out of GPU memory"):
        asyncio.run(talk(policy, store, [message("user", "word " * 700)]))
    assert gap(policy, asyncio.run(talk(policy, store, [message("user", "0")]))) < 1e-4
    handle.remove()


def test_the_memory_of_the_cache_can_be_given_back_between_turns(policy, store, message, gap):
    async def run():
        conversation = await talk(policy, store, [message("user", "one")])
        policy.clear()
        assert not policy._engine._cache._keys and not policy._engine._cache._values
        await conversation.append(message("user", "two"))
        await conversation.generate(5, ())
        return conversation

    assert gap(policy, asyncio.run(run())) < 1e-4


def test_slots_grow_by_as_much_again_but_not_without_end():
    cache, sizes = Cache(2), []
    for tokens in (512, 513, 6000, 6001, 20_000):
        cache.aim(0, [tokens], torch.device("cpu"))
        cache.update(torch.zeros(1, 1, tokens, 1), torch.zeros(1, 1, tokens, 1), 0)
        sizes.append(cache._keys[0].shape[2] - 1)
    assert sizes == [512, 1024, 6000, 6000 + MOST_GROWTH, 20_000]


@pytest.mark.parametrize(("where", "failed"), [("seat", [0, 2]), ("_content", [0, 1])])
def test_a_failure_while_seats_are_given_leaves_nobody_waiting(policy, store, message, where, failed):
    """Two ask the same and one something else, all before the worker looks; the second time it does `where` fails."""
    engine, calls, gate = policy._engine, [], threading.Event()
    owner = engine._cache if where == "seat" else engine
    whole = getattr(owner, where)

    def fail_once(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("once")
        return whole(*args)

    setattr(owner, where, fail_once)
    engine._worker.submit(gate.wait)

    async def run():
        texts = ("same", "same", "other")
        tasks = [asyncio.ensure_future(talk(policy, store, [message("user", text)])) for text in texts]
        while len(engine._waiting) < len(texts):
            await asyncio.sleep(0.01)
        gate.set()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)

    told = asyncio.run(run())
    assert [number for number, one in enumerate(told) if isinstance(one, RuntimeError)] == failed


def test_common_prefix():
    assert [common_prefix(*pair) for pair in (([1, 2, 3], [1, 2, 4]), ([], [1]), ([1], [1, 2]), ([2], [1]))] == [
        2, 0, 1, 0,
    ]  # fmt: skip
