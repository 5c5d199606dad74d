"""What is opened answers as many at once as it is told, behind an endpoint and from a folder."""

import asyncio

import pytest

from foveal.config import Sampling
from foveal.errors import ConfigError, FovealError, InputError
from foveal.policy.opening import only_model, open_policy


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


def test_what_is_to_be_mended_is_said_in_words_that_fit_flags_and_settings(endpoint, nowhere, tmp_path):
    """A `--flag` that a command does not have is no fix: settings name the policy of a student or a teacher, too."""
    several, locked = endpoint([], models=("a", "b")).url, endpoint([], key="right").url
    for error, fix, mistake in [
        (ConfigError, "leave the model out", lambda: open_policy(str(tmp_path), "m")),
        (InputError, "a checkpoint folder as the policy", lambda: open_policy(str(tmp_path / "none"), None)),
        (InputError, "the address of the policy", lambda: open_policy(nowhere, None)),
        (InputError, "the address of the policy", lambda: open_policy("http://h:port/v1", None)),
        (ConfigError, "name one of them as the model", lambda: only_model(several, None)),
        (InputError, "the variable that key names in the settings", lambda: only_model(locked, "wrong")),
    ]:
        with pytest.raises(error) as caught:
            mistake()
        told: FovealError = caught.value
        assert fix in str(told.fix) and "--" not in str(told)
