import asyncio
import contextlib

import numpy as np
import pytest
import torch

from foveal.config import Sampling
from foveal.errors import TrainingError
from foveal.policy.encoding import Patches
from foveal.train.logprobs import Scorer
from foveal.train.tokens import Fit, TrainingSequence, collate, learned_logits, num_tokens, plan
from foveal.trajectory import ImagePart, Message, Question, StopReason, TextPart, Tokens, Trajectory, Turn

ROOM = 10_000


@contextlib.contextmanager
def _saying(policy, *turns):
    """Make the model write these ids, one list after another, one token a call."""
    script = iter([token for ids in turns for token in ids])

    def push(_module, _args, output):
        output[..., next(script)] += 1000.0

    handle = policy.model.lm_head.register_forward_hook(push)
    yield
    handle.remove()


async def _sample(policy, store, question, observation, temperature, seed, max_tokens=12):
    """A trajectory with tokens: a turn, an observation, a turn, as the agent would record it."""
    conversation = policy.open(store, Sampling(temperature=temperature, seed=seed))
    await conversation.append(question)
    first = await conversation.generate(max_tokens, ("</code>",))
    await conversation.append(observation)
    second = await conversation.generate(max_tokens, ())
    return Trajectory(
        id=f"s{seed}",
        question=Question(id="q", text="?", images=question.images),
        policy="tiny",
        profile="foveal",
        prompt=(question,),
        turns=(Turn(text=first.text, observation_parts=observation.parts), Turn(text=second.text)),
        stop_reason=StopReason.MAX_TOKENS,
        tokens=conversation.tokens(),
    )


def _rollouts(policy, store, picture, message, temperature=1.0):
    """Four trajectories sampled together: pictures in the prompt, in the observation, in both, in neither."""
    asks = [
        (message("user", picture(84, 56, 1), "what?"), message("user", "text only")),
        (message("user", "no picture" * 4), message("user", "see ", picture(56, 112, 2), "!")),
        (message("user", picture(112, 112, 3), picture(56, 56, 4)), message("user", picture(84, 84, 5))),
        (message("user", "none"), message("user", "none here")),
    ]

    async def run():
        return await asyncio.gather(*[_sample(policy, store, *ask, temperature, seed) for seed, ask in enumerate(asks)])

    return asyncio.run(run())


def _sequences(encoded, trajectories):
    return [encoded(one)[0] for one in trajectories]


def _batch(policy, *sequences):
    return collate(sequences, policy.encoder.padding)


def _logprobs(policy, *sequences, temperature=1.0):
    """What the trainer scores, (B, L), padded to the longest."""
    with torch.no_grad():
        return Scorer(policy.model, policy.encoder, temperature)(_batch(policy, *sequences)).logprobs


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_sampler_and_trainer_agree_padded_and_unpadded(policy, encoded, store, picture, message, temperature):
    sequences = _sequences(encoded, _rollouts(policy, store, picture, message, temperature))
    assert len({len(one.ids) for one in sequences}) > 1
    padded = _logprobs(policy, *sequences, temperature=temperature).numpy()
    for row, one in enumerate(sequences):
        alone = _logprobs(policy, one, temperature=temperature)[0].numpy()
        learned = one.loss_mask == 1
        assert learned.sum() >= 2
        assert np.abs(one.logprobs - alone)[learned].max() < 1e-4
        assert np.abs(one.logprobs - padded[row, : len(one.ids)])[learned].max() < 1e-4
        assert not alone[~learned].any()
        assert not padded[row, len(one.ids) :].any()


def test_a_sampled_trajectory_is_taken_to_the_id(policy, encoded, store, picture, message):
    for trajectory in _rollouts(policy, store, picture, message):
        one, fit = encoded(trajectory)
        assert fit is Fit.WHOLE
        assert tuple(one.ids) == trajectory.tokens.ids
        assert tuple(one.loss_mask) == trajectory.tokens.loss_mask
        assert len(one.images) == len(trajectory.images)


def test_written_text_is_encoded_as_the_conversation_would_have_grown(policy, encoded, store, written):
    trajectory, encoder = written(3), policy.encoder

    async def talk():
        conversation = policy.open(store, Sampling())
        for message in trajectory.prompt:
            await conversation.append(message)
        for turn in trajectory.turns:
            with _saying(policy, [*encoder.text(turn.text), encoder.turn_end]):
                said = await conversation.generate(100, ())
            assert said.text == turn.text
            if turn.observation_parts:
                await conversation.append(Message(role="user", parts=turn.observation_parts))
        return conversation.tokens()

    grown = asyncio.run(talk())
    one, fit = encoded(trajectory)
    assert fit is Fit.WHOLE
    assert tuple(one.ids) == grown.ids
    assert tuple(one.loss_mask) == grown.loss_mask
    assert one.logprobs is None


def test_exactly_the_models_own_words_and_ends_of_turns_are_learned(policy, encoded, written):
    one, _ = encoded(written())
    learned = policy.encoder.decode(one.ids[one.loss_mask == 1].tolist())
    assert learned == "<code>crop</code><|im_end|><answer>red</answer><|im_end|>"
    labels = _batch(policy, one)["labels"][0]
    assert (labels != -100).sum() == one.loss_mask.sum()
    assert labels[one.loss_mask == 1].tolist() == one.ids[one.loss_mask == 1].tolist()
    assert policy.encoder.image_pad not in labels


def test_the_end_of_a_turn_that_was_cut_is_not_learned(policy, encoded, written):
    trajectory = written()
    cut = trajectory.model_copy(update={"turns": (Turn(text="<answer>re", finish="length"),)})
    one, _ = encoded(cut)
    assert policy.encoder.decode(one.ids[one.loss_mask == 1].tolist()) == "<answer>re"


def test_an_observation_after_the_last_turn_is_left_out_with_its_pictures(encoded, written):
    trajectory = written()
    open_end = trajectory.model_copy(update={"turns": trajectory.turns[:1]})
    one, fit = encoded(open_end)
    assert fit is Fit.WHOLE
    assert len(one.images) == 1
    assert one.loss_mask[-1] == 1


@pytest.mark.parametrize("sampled", [False, True])
def test_every_length_budget_cuts_between_turns_or_drops(policy, encoded, store, picture, message, written, sampled):
    trajectory = _rollouts(policy, store, picture, message)[2] if sampled else written()
    whole, _ = encoded(trajectory)
    ends = [n + 1 for n in range(len(whole.ids)) if list(whole.loss_mask[n : n + 2]) in ([1, 0], [1])]
    assert len(ends) == 2
    images = [sum(policy.encoder.image_pad == whole.ids[:end]) for end in ends]
    for budget in range(1, len(whole.ids) + 3):
        one, fit = encoded(trajectory, budget)
        if budget < ends[0]:
            assert (one, fit) == (None, Fit.DROPPED)
            continue
        turns = 1 if budget < ends[1] else 2
        assert fit is (Fit.WHOLE if turns == 2 else Fit.SHORTENED)
        assert one.ids.tolist() == whole.ids[: ends[turns - 1]].tolist()
        pads = sum(len(picture.values) for picture in one.images) // 4
        assert pads == images[turns - 1] == (one.ids == policy.encoder.image_pad).sum()
        assert one.positions.shape == (3, len(one.ids))


def test_a_trajectory_without_words_of_the_model_is_empty(encoded, written):
    silent = written().model_copy(update={"turns": (), "stop_reason": StopReason.POLICY_ERROR})
    assert encoded(silent) == (None, Fit.EMPTY)


def test_tokens_that_do_not_hold_the_pictures_are_refused(policy, store, picture, message):
    trajectory = _rollouts(policy, store, picture, message)[2]
    tokens = trajectory.tokens
    first = tokens.ids.index(policy.encoder.image_pad)
    dropped = Tokens(
        ids=tokens.ids[:first] + tokens.ids[first + 1 :],
        loss_mask=tokens.loss_mask[:first] + tokens.loss_mask[first + 1 :],
        logprobs=tokens.logprobs[:first] + tokens.logprobs[first + 1 :],
    )
    with pytest.raises(TrainingError, match="s2"):
        plan(trajectory.model_copy(update={"tokens": dropped}), policy.encoder, ROOM)
    parts = trajectory.prompt[0].parts
    swapped = trajectory.model_copy(update={"prompt": (Message(role="user", parts=parts[::-1]),)})
    with pytest.raises(TrainingError, match="runs"):
        plan(swapped, policy.encoder, ROOM)


def test_pad_tokens_in_text_do_not_pass_for_pictures(policy, encoded, written):
    trajectory = written()
    turns = (
        Turn(text="<code>x</code>", observation_parts=(TextPart(text="<|image_pad|>" * 6),)),
        Turn(text="<|image_pad|><|im_end|>"),
    )
    one, fit = encoded(trajectory.model_copy(update={"turns": turns}))
    assert fit is Fit.WHOLE
    assert len(one.images) == 1
    assert (one.ids == policy.encoder.turn_end).sum() == 5


def test_other_pixels_in_an_observation_change_the_logprobs_after_it_and_none_before(policy, encoded, picture, written):
    trajectory = written()
    turn = trajectory.turns[0]
    other = (turn.observation_parts[0], ImagePart(image=picture(56, 56, 77)))
    changed = trajectory.model_copy(
        update={"turns": (turn.model_copy(update={"observation_parts": other}), trajectory.turns[1])}
    )
    sequences = _sequences(encoded, [trajectory, changed])
    scores = [_logprobs(policy, one)[0].numpy() for one in sequences]
    assert (sequences[0].ids == sequences[1].ids).all()
    learned = np.flatnonzero(sequences[0].loss_mask)
    first = learned[: len(policy.encoder.text(turn.text)) + 1]
    later = learned[len(first) :]
    assert np.abs(scores[0] - scores[1])[first].max() < 1e-6
    assert np.abs(scores[0] - scores[1])[later].max() > 1e-2


def test_padding_changes_nothing_also_beside_text_only_rows(policy, encoded, written):
    trajectories = [written(0), written(1, with_pictures=False), written(2), written(5)]
    sequences = _sequences(encoded, trajectories)
    together = _logprobs(policy, *sequences)
    for row, one in enumerate(sequences):
        assert torch.allclose(together[row, : len(one.ids)], _logprobs(policy, one)[0], atol=1e-5)


@pytest.mark.parametrize("padding", ["turn_end", "end_of_text"])
def test_the_padding_id_is_neither_masked_nor_left_out_where_it_is_a_token(policy, encoded, written, padding):
    """A checkpoint without an id of its own for padding pads with the end of a turn, which is learned."""
    sequences = _sequences(encoded, [written(0), written(4, answer="red" * 9)])
    batch = collate(sequences, getattr(policy.encoder, padding))
    assert num_tokens(batch) == sum(len(one.ids) for one in sequences) < batch["input_ids"].numel()
    assert (batch["labels"] != -100).sum(dim=1).tolist() == [one.loss_mask.sum() for one in sequences]
    assert (batch["labels"] == policy.encoder.turn_end).sum(dim=1).tolist() == [2, 2]


def test_masking_the_loss_of_one_row_moves_no_other(policy, encoded, written):
    sequences = _sequences(encoded, [written(0), written(1), written(2)])
    masked = [
        TrainingSequence(s.ids, s.loss_mask * (n > 0), s.positions, s.images, None) for n, s in enumerate(sequences)
    ]
    before, after = _logprobs(policy, *sequences), _logprobs(policy, *masked)
    assert not after[0].any()
    assert torch.allclose(before[1:], after[1:], atol=1e-6)


def test_only_the_learned_columns_are_computed_and_they_are_the_right_ones(policy, encoded, written):
    batch = _batch(policy, *_sequences(encoded, [written(0), written(4)]))
    with torch.inference_mode():
        labels, keep, logits = learned_logits(policy.model, batch)
        whole = policy.model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    assert len(keep) < batch["input_ids"].shape[1] / 2
    assert torch.allclose(logits, whole[:, keep], atol=1e-5)
    assert (labels != -100).sum() == (batch["labels"] != -100).sum()


def test_a_batch_with_a_picture_too_few_is_refused_by_the_model(policy, encoded, written):
    one = _sequences(encoded, [written()])[0]
    blind = TrainingSequence(one.ids, one.loss_mask, one.positions, one.images[:1], None)
    with pytest.raises(ValueError, match=r"[Ii]mage"):
        _logprobs(policy, blind)


def test_a_batch_of_text_has_no_pictures(policy, encoded, written):
    batch = _batch(policy, *_sequences(encoded, [written(with_pictures=False)]))
    assert set(batch) == {"input_ids", "labels", "position_ids"}


def test_patches_of_another_grid_than_their_pad_tokens_are_refused(policy, store, written):
    from foveal.train.tokens import sequence

    planned, _ = plan(written(), policy.encoder, ROOM)
    images = [policy.encoder.patches(ref, store) for ref in planned.refs]
    wrong = Patches(images[0].values, (1, 2, 2))
    with pytest.raises(ValueError, match="picture"):
        sequence(planned, policy.encoder, [wrong, *images[1:]])
