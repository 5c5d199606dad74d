import asyncio
import contextlib
import shutil

import numpy as np
import pytest

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.transformers import TransformersPolicy

GREEDY = Sampling(temperature=0)


async def _talk(policy, store, messages, sampling, max_tokens=24, stop=()):
    """One turn after each message; the conversation and its generations."""
    conversation, said = policy.open(store, sampling), []
    for one in messages:
        await conversation.append(one)
        said.append(await conversation.generate(max_tokens, stop))
    return conversation, said


@contextlib.contextmanager
def _only(policy, *tokens):
    """Make these tokens by far the likeliest: a large bias on the model's logits."""

    def push(_module, _args, output):
        output[..., list(tokens)] += 1000.0

    handle = policy.model.lm_head.register_forward_hook(push)
    yield
    handle.remove()


def _dialogue(message, picture, seed):
    return [
        message("user", "q" * (3 * seed + 1), picture(84 + 28 * seed, 56, seed), "what?"),
        message("user", "look: ", picture(56, 56 + 28 * (seed % 3), 90 + seed)),
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_rows_of_a_batch_agree_with_an_unpadded_forward(policy, store, picture, message, temperature, gap):
    dialogues = [_dialogue(message, picture, seed) for seed in range(4)]
    dialogues.append([message("user", "no picture"), message("user", "still none")])

    async def together():
        talks = [
            _talk(policy, store, one, Sampling(temperature=temperature, seed=seed))
            for seed, one in enumerate(dialogues)
        ]
        return await asyncio.gather(*talks)

    for conversation, said in asyncio.run(together()):
        tokens = conversation.tokens()
        mask = np.array(tokens.loss_mask, dtype=bool)
        assert mask.sum() == sum(one.completion_tokens for one in said) > 20
        assert gap(policy, conversation) < 1e-4
        assert not np.array(tokens.logprobs)[~mask].any()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_is_the_same_alone_and_in_company(policy, store, picture, message, temperature):
    dialogues = [_dialogue(message, picture, seed) for seed in range(4)]

    async def together():
        talks = [_talk(policy, store, one, Sampling(temperature=temperature, seed=7)) for one in dialogues]
        return await asyncio.gather(*talks)

    in_company = asyncio.run(together())
    for one, (conversation, _) in zip(dialogues, in_company, strict=True):
        alone, _ = asyncio.run(_talk(policy, store, one, Sampling(temperature=temperature, seed=7)))
        assert alone.tokens().ids == conversation.tokens().ids


def test_another_seed_draws_other_tokens_and_a_turn_does_not_repeat_the_last(policy, store, message):
    ask = [message("user", "go")]
    drawn = [asyncio.run(_talk(policy, store, ask, Sampling(temperature=1, seed=seed)))[0] for seed in (0, 0, 1)]
    ids = [one.tokens().ids for one in drawn]
    assert ids[0] == ids[1] != ids[2]


def test_a_longer_turn_starts_like_a_shorter_one(policy, store, message):
    ask, sampling = [message("user", "go")], Sampling(temperature=1, seed=3)
    short = asyncio.run(_talk(policy, store, ask, sampling, max_tokens=5))[0].tokens().ids
    long = asyncio.run(_talk(policy, store, ask, sampling, max_tokens=20))[0].tokens().ids
    assert long[: len(short)] == short


def test_a_stop_string_over_several_tokens_ends_the_turn_with_all_its_ids(policy, store, message):
    ask, sampling = [message("user", "go on")], Sampling(temperature=1, seed=5)
    with _only(policy, *policy.encoder.text("abcdefgh")):
        free, (whole,) = asyncio.run(_talk(policy, store, ask, sampling, max_tokens=30))
        stop = whole.text[12:16]
        stopped, (said,) = asyncio.run(_talk(policy, store, ask, sampling, max_tokens=30, stop=["never", stop]))
    assert len(whole.text) == 30, "one letter a token"
    end = whole.text.index(stop) + 4
    assert (said.text, said.finish, said.completion_tokens) == (whole.text[:end], "stop", end)
    assert stopped.tokens().ids == free.tokens().ids[: len(free.tokens().ids) - 30 + end]


def test_ids_after_a_stop_string_within_the_same_token_are_kept(policy, store, message):
    newline_after = policy.encoder.text(">\n")
    assert len(newline_after) == 1, "one token holds the stop string's end and more"
    with _only(policy, newline_after[0]):
        conversation, (said,) = asyncio.run(_talk(policy, store, [message("user", "x")], GREEDY, stop=[">"]))
    assert (said.text, said.finish) == (">", "stop")
    assert conversation.tokens().ids[-1] == newline_after[0]


@pytest.mark.parametrize("end", ["turn_end", "end_of_text"])
def test_end_tokens_end_the_turn_and_stay_out_of_the_text(policy, store, message, end):
    with _only(policy, getattr(policy.encoder, end)):
        conversation, (said,) = asyncio.run(_talk(policy, store, [message("user", "x")], GREEDY))
    assert (said.text, said.finish, said.completion_tokens) == ("", "stop", 1)
    assert conversation.tokens().loss_mask[-1] == 1
    before = conversation.tokens().ids
    asyncio.run(conversation.append(message("user", "y")))
    closing = "\n" if end == "turn_end" else "<|im_end|>\n"
    added = conversation.tokens().ids[len(before) :]
    assert conversation.tokens().ids[: len(before)] == before
    assert policy.encoder.decode(added) == f"{closing}<|im_start|>user\ny<|im_end|>\n"


def test_sampled_ids_are_never_encoded_again(policy, store, message):
    """Letters one by one, where the encoder would have taken one token for the word."""
    letters = [policy.encoder.text(letter)[0] for letter in "the"]
    assert len(policy.encoder.text("the")) == 1
    script = iter(letters)

    def push(_module, _args, output):
        output[..., next(script)] += 1000.0

    async def run():
        conversation = policy.open(store, GREEDY)
        await conversation.append(message("user", "x"))
        handle = policy.model.lm_head.register_forward_hook(push)
        said = await conversation.generate(3, ())
        handle.remove()
        await conversation.append(message("user", "y"))
        await conversation.generate(1, ())
        return said, conversation.tokens()

    said, tokens = asyncio.run(run())
    assert said.text == "the"
    start = tokens.loss_mask.index(1)
    assert list(tokens.ids[start : start + 3]) == letters


def test_a_model_in_memory_is_a_policy_too(policy, store, message):
    other = TransformersPolicy.from_model(policy.model, policy.encoder, "in memory", max_batch=2)
    ask = [message("user", "go")]
    one, _ = asyncio.run(_talk(other, store, ask, GREEDY))
    same, _ = asyncio.run(_talk(policy, store, ask, GREEDY))
    assert (other.name, one.tokens().ids) == ("in memory", same.tokens().ids)
    assert one.tokens().logprobs == pytest.approx(same.tokens().logprobs, abs=1e-5)


def test_picture_and_frame_tokens_are_never_sampled(policy, store, message):
    encoder = policy.encoder
    banned = {encoder.image_pad, encoder.video_pad, encoder.vision_start, encoder.vision_end, encoder.turn_start}
    with _only(policy, *banned):
        greedy, _ = asyncio.run(_talk(policy, store, [message("user", "x")], GREEDY))
        drawn, _ = asyncio.run(_talk(policy, store, [message("user", "x")], Sampling(temperature=1.5)))
    for conversation in (greedy, drawn):
        tokens = conversation.tokens()
        assert not banned & {i for i, m in zip(tokens.ids, tokens.loss_mask, strict=True) if m}
        assert np.isfinite(tokens.logprobs).all()


def test_a_turn_cut_at_its_limit_says_so_and_is_closed_without_loss(policy, store, message):
    conversation, said = asyncio.run(
        _talk(policy, store, [message("user", "a"), message("user", "b")], GREEDY, max_tokens=3)
    )
    assert [(one.finish, one.completion_tokens) for one in said] == [("length", 3)] * 2
    assert sum(conversation.tokens().loss_mask) == 6


def test_cost_is_what_append_adds_and_generate_is_told_the_whole_prompt(policy, store, picture, message):
    async def run():
        conversation = policy.open(store, GREEDY)
        counted = conversation.num_tokens
        for one in (
            message("system", "s"),
            message("user", picture(84, 56), "q"),
            message("user", "o", picture(56, 56)),
        ):
            cost = conversation.cost(one)
            before = conversation.num_tokens
            await conversation.append(one)
            assert conversation.num_tokens == before + cost
            if one.role == "user":
                said = await conversation.generate(4, ())
                assert said.prompt_tokens == before + cost
                assert conversation.num_tokens == said.prompt_tokens + said.completion_tokens
                assert conversation.num_tokens == len(conversation.tokens().ids)
        return counted

    assert asyncio.run(run()) == len(policy.encoder.assistant_start())


def test_other_pixels_give_other_words_also_after_the_first_turn(policy, store, picture, message):
    def second(seed):
        dialogue = [message("user", "q"), message("user", picture(84, 84, seed))]
        conversation, _ = asyncio.run(_talk(policy, store, dialogue, GREEDY))
        return conversation.tokens()

    one, other = second(1), second(2)
    assert one.ids[:30] == other.ids[:30]
    assert one.logprobs[-20:] != other.logprobs[-20:]


def test_a_cancelled_turn_leaves_the_conversation_as_it_was_and_frees_the_batch(policy, store, message):
    async def run():
        conversation = policy.open(store, GREEDY)
        await conversation.append(message("user", "x"))
        before = conversation.tokens()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(conversation.generate(100_000, ()), 0.2)
        assert conversation.tokens() == before
        return await asyncio.wait_for(conversation.generate(3, ()), 5)

    with _only(policy, *policy.encoder.text("a")):
        assert asyncio.run(run()).text == "aaa"


def test_folders_that_cannot_be_used_are_refused_with_the_reason(tiny_checkpoint, tmp_path):
    with pytest.raises(PolicyError, match="preprocessor_config"):
        TransformersPolicy(tmp_path)
    folder = tmp_path / "no-weights"
    shutil.copytree(tiny_checkpoint, folder)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:5000])  # a copy that was broken off
    with pytest.raises(PolicyError, match="cannot be loaded"):
        TransformersPolicy(folder, device="cpu")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PolicyError, match="cannot be loaded"):
        TransformersPolicy(folder)


def test_missing_weights_are_refused_and_never_made_up(tiny_checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partial"
    shutil.copytree(tiny_checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layers.1.mlp.down_proj" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PolicyError, match=r"lacks 1 weights"):
        TransformersPolicy(folder)
