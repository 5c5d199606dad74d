import asyncio
import json
import logging
import shutil

import numpy as np
import pytest
import torch

from foveal.config import Sampling
from foveal.policy.encoding import ChatEncoder
from foveal.records import RunWriter
from foveal.train.data import LengthGrouped, SftData
from foveal.train.settings import SftSettings
from foveal.train.tokens import collate, learned_logits, plan, same_tokenizer
from foveal.trajectory import Tokens


@pytest.fixture
def of_another_tokenizer(tiny_checkpoint, tmp_path):
    """Puts token ids onto a trajectory: those of an encoder whose vocabulary has another order."""
    other = tmp_path / "other"
    shutil.copytree(tiny_checkpoint, other)
    content = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {piece: len(vocabulary) - 1 - number for piece, number in vocabulary.items()}
    (other / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    encoder = ChatEncoder.load(other)

    def make(trajectory):
        planned, _ = plan(trajectory, encoder, 10_000)
        tokens = Tokens(ids=planned.ids, loss_mask=planned.loss_mask, logprobs=(0.0,) * len(planned.ids))
        return trajectory.model_copy(update={"tokens": tokens})

    return make


@pytest.fixture
def sampled(policy, store, written):
    """A trajectory with the ids that the policy itself drew at random, which no encoder would have chosen."""

    def make(seed):
        trajectory, turns = written(seed), []

        async def talk():
            conversation = policy.open(store, Sampling(temperature=1.5, seed=seed))
            for message in trajectory.prompt:
                await conversation.append(message)
            for turn in trajectory.turns:
                said = await conversation.generate(12, ("</code>", "e"))
                turns.append(turn.model_copy(update={"text": said.text, "finish": said.finish}))
                if turn.observation_parts:
                    await conversation.append(trajectory.prompt[1].model_copy(update={"parts": turn.observation_parts}))
            return conversation.tokens()

        tokens = asyncio.run(talk())
        return trajectory.model_copy(update={"tokens": tokens, "turns": tuple(turns)})

    return make


def test_ids_of_another_tokenizer_are_not_learned_but_the_words_that_they_were(
    tiny_checkpoint, policy, store, written, sampled, of_another_tokenizer, tmp_path, caplog
):
    texts = [written(seed) for seed in range(3)]
    with RunWriter(tmp_path / "data") as writer:
        for trajectory in (*(of_another_tokenizer(one) for one in texts[:2]), texts[2], sampled(3)):
            writer.write(trajectory, store)
    caplog.set_level(logging.WARNING, logger="foveal")
    data = SftData(SftSettings(model=tiny_checkpoint, data=(tmp_path / "data",)), policy.encoder)
    wanted = [plan(one, policy.encoder, 10_000)[0].ids for one in (*texts, sampled(3))]
    assert [tuple(data[number].ids) for number in range(4)] == wanted
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'data'}: token ids of 2 trajectories are of another tokenizer; encoded anew"
    ]
    assert data[0].logprobs is None and data[3].logprobs is not None


def test_ids_that_the_policy_sampled_are_known_for_its_own_whatever_they_say(policy, written, sampled):
    """Turns that end in a stop string, at the limit, in half a character, or at once."""
    finishes = set()
    for seed in range(40):
        trajectory = sampled(seed)
        assert same_tokenizer(trajectory, trajectory.tokens, policy.encoder), trajectory.turns
        finishes |= {(turn.finish, "�" in turn.text) for turn in trajectory.turns}
        other = trajectory.model_copy(update={"turns": written(seed).turns})
        assert not same_tokenizer(other, trajectory.tokens, policy.encoder)
    assert {("stop", False), ("stop", True), ("length", True)} <= finishes


def test_what_somebody_else_said_is_no_turn_of_the_model(policy, written):
    """The words of a turn stand in the ids, but in the question."""
    trajectory = written(0)
    planned, _ = plan(trajectory, policy.encoder, 10_000)
    said = "".join(turn.text for turn in trajectory.turns)
    ids = (*policy.encoder.text(said), *planned.ids)
    tokens = Tokens(ids=ids, loss_mask=(0,) * len(ids), logprobs=(0.0,) * len(ids))
    assert same_tokenizer(trajectory, tokens, policy.encoder)
    asked = policy.encoder.text(said)
    tokens = Tokens(ids=asked, loss_mask=(0,) * len(asked), logprobs=(0.0,) * len(asked))
    assert not same_tokenizer(trajectory, tokens, policy.encoder)


def test_a_blank_picture_behind_a_text_changes_nothing_and_goes_through_the_tower(settings, policy):
    chosen = settings()  # sequences 1 and 4 show no picture
    plain, blank = SftData(chosen, policy.encoder), SftData(chosen, policy.encoder, blank=True)
    for number in range(5):
        images = len(plain[number].images)
        assert (images == 0) == (number in (1, 4))
        assert len(blank[number].images) == max(1, images)
    labels, columns, logits = learned_logits(policy.model, collate([plain[1]], policy.encoder.padding))
    others, places, same = learned_logits(policy.model, collate([blank[1]], policy.encoder.padding))
    assert torch.equal(labels, others) and torch.equal(columns, places)
    assert torch.allclose(logits, same, atol=1e-5)
    (gradient,) = torch.autograd.grad(same.sum(), policy.model.model.visual.patch_embed.proj.weight)
    assert not gradient.any(), "zero, and there: another process that waits for it gets it"


def test_the_order_follows_from_seed_and_epoch_and_holds_every_sequence_once():
    lengths = np.random.default_rng(0).integers(10, 500, 103).tolist()
    sampler = LengthGrouped(lengths, batch=8, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(103))
    assert first == list(LengthGrouped(lengths, batch=8, seed=1))
    assert first != list(LengthGrouped(lengths, batch=8, seed=2))
    sampler.epoch = 1
    assert first != (second := list(sampler))
    assert {frozenset(first[n : n + 8]) for n in range(0, 96, 8)} != {
        frozenset(second[n : n + 8]) for n in range(0, 96, 8)
    }
    spread = [
        max(lengths[i] for i in first[n : n + 8]) - min(lengths[i] for i in first[n : n + 8]) for n in range(0, 96, 8)
    ]
    assert np.mean(spread) < 200, "random batches of 8 spread over about 380"
