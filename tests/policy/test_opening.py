"""What is opened answers as many at once as it is told, behind an endpoint and from a folder."""

import asyncio

from foveal.config import Sampling
from foveal.policy.opening import open_policy


async def _ask(policy, store, message, count):
    async def one(number):
        conversation = policy.open(store, Sampling(seed=number))
        await conversation.append(message("user", "what?"))
        await conversation.generate(6, ())
        await conversation.close()

    await asyncio.gather(*map(one, range(count)))


def test_an_endpoint_is_asked_so_often_at_once(raw_endpoint, said, store, message):
    endpoint = raw_endpoint([said("yes")], slow=0.05)
    endpoint.play(lambda url: _ask(open_policy(url, "m", 3), store, message, 8))
    assert len(endpoint.requests) == 8 and endpoint.most_at_once == 3


def test_a_checkpoint_writes_so_many_turns_at_once(tiny_checkpoint, store, message):
    for concurrency in (2, 5):
        policy, batches = open_policy(str(tiny_checkpoint), None, concurrency), []
        policy.model.lm_head.register_forward_hook(lambda module, given, out, seen=batches: seen.append(len(out)))
        asyncio.run(_ask(policy, store, message, 8))
        assert max(batches) == concurrency
