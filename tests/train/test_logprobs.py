import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.errors import TrainingError
from foveal.policy.sampling import suppress
from foveal.train.logprobs import Scorer, recorded_logprobs, token_scores
from foveal.train.loss import loss_weight, policy_loss
from foveal.train.rl_settings import LossSettings
from foveal.train.tokens import IGNORE, TrainingSequence, collate

ENCODER = SimpleNamespace(never_sampled=[4, 2])


@pytest.fixture
def sequences(encoded, written):
    """Seven sequences of different lengths, five with pictures in the prompt and the observation."""
    made = [written(seed, answer="red" * (1 + seed % 3), with_pictures=seed not in (2, 5)) for seed in range(7)]
    return [encoded(one)[0] for one in made]


@pytest.fixture
def model(policy):
    """A model of its own for gradients: the policy is shared by the session."""
    return copy.deepcopy(policy.model)


def _without_loss(sequence):
    """The sequence with no trained token."""
    return dataclasses.replace(sequence, loss_mask=np.zeros_like(sequence.loss_mask))


def _plain(logits, targets, temperature):
    """Log-probs and entropies of a distribution over tokens 0, 1, 3 and 5 alone."""
    exist = [0, 1, 3, 5]
    probs = torch.softmax(logits[:, exist].double() / temperature, -1)
    chosen = [exist.index(target) for target in targets.tolist()]
    return probs.log()[range(len(chosen)), chosen], torch.special.entr(probs).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_scores_and_gradients_are_those_of_the_whole_whatever_the_chunk(chunk, temperature):
    torch.manual_seed(0)
    hidden, head = torch.randn(8, 5, requires_grad=True), torch.nn.Linear(5, 6, bias=False)
    targets = torch.tensor([0, 1, 3, 5, 5, 3, 1, 0])
    logprobs, entropy = token_scores(hidden, head, targets, ENCODER, temperature, chunk)
    (logprobs * torch.arange(8)).sum().backward()
    found, hidden.grad, head.weight.grad = (hidden.grad, head.weight.grad), None, None
    wanted, wanted_entropy = _plain(head(hidden), targets, temperature)
    (wanted * torch.arange(8)).sum().backward()
    torch.testing.assert_close(logprobs.double(), wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(entropy.double(), wanted_entropy, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found, (hidden.grad, head.weight.grad), atol=1e-5, rtol=1e-5)


def test_entropy_by_hand():
    # Logits 0, 0, log 2 and two tokens that do not exist: 1/4, 1/4, 1/2. In nats: 2 * 0.25 * log 4 + 0.5 * log 2.
    head = torch.nn.Linear(1, 5, bias=False)
    head.weight.data = torch.tensor([[0.0], [0.0], [9.0], [np.log(2.0)], [9.0]], dtype=torch.float32)
    logprobs, entropy = token_scores(torch.ones(1, 1), head, torch.tensor([3]), ENCODER, 1.0, 10)
    assert logprobs.exp().item() == pytest.approx(0.5)
    assert entropy.item() == pytest.approx(1.5 * np.log(2.0))


def test_no_more_logits_are_alive_than_the_chunk():
    shapes = []
    head = torch.nn.Linear(5, 6, bias=False)
    head.register_forward_hook(lambda _module, _args, logits: shapes.append(tuple(logits.shape)))
    hidden = torch.randn(10, 5, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(tuple(one.shape)) or one, lambda one: one):
        logprobs, _ = token_scores(hidden, head, torch.zeros(10, dtype=torch.long), ENCODER, 1.0, 4)
    assert shapes == [(4, 6), (4, 6), (2, 6)]
    assert not [shape for shape in kept if shape[-1:] == (6,) and len(shape) == 2 and shape[0] <= 4]
    logprobs.sum().backward()
    assert shapes[3:] == [(2, 6), (4, 6), (4, 6)]  # once more, from the last one back


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.6])
def test_the_scorer_agrees_with_the_distribution_that_is_sampled(policy, sequences, temperature):
    batch = collate(sequences, policy.encoder.padding)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        scores = Scorer(policy.model, policy.encoder, temperature, chunk_logits=10_000)(batch)
        logits = suppress(policy.model(**inputs).logits, policy.encoder) / (temperature or 1.0)
    wanted = logits.log_softmax(-1)[:, :-1].gather(2, batch["input_ids"][:, 1:, None])[..., 0]
    trained = batch["labels"] != IGNORE
    torch.testing.assert_close(scores.logprobs[trained], wanted[trained[:, 1:]], atol=1e-5, rtol=1e-5)
    assert (scores.logprobs[trained] < 0).all() and (scores.logprobs[~trained] == 0).all()
    assert (scores.entropy[trained] > 0).all() and (scores.entropy[~trained] == 0).all()


def _gradients(model, policy, parts, advantages):
    """Gradients of the policy loss over all parts together, each put through the model alone."""
    scorer = Scorer(model, policy.encoder, 1.0, chunk_logits=5_000)
    total = sum(int(one.loss_mask.sum()) for part in parts for _, one in part)
    model.zero_grad()
    for part in parts:
        batch = collate([one for _, one in part], policy.encoder.padding)
        mask = batch["labels"] != IGNORE
        scores = scorer(batch)
        old = scores.logprobs.detach() - 0.2 * torch.sin(batch["input_ids"].float())
        gain = advantages[[number for number, _ in part]]
        loss, _ = policy_loss(scores.logprobs, gain, mask, max(total, 1), LossSettings(), old=old)
        loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3], [4, 5], [6]], [[5], [0, 6, 3, 1, 2], [4]]])
def test_gradients_of_a_real_model_are_the_same_under_any_micro_batching(model, policy, sequences, parts):
    advantages = torch.tensor([1.0, -0.5, 0.3, -1.2, 0.8, 0.1, -0.9])
    numbered = list(enumerate(sequences))
    whole = _gradients(model, policy, [numbered], advantages)
    split = _gradients(model, policy, [[numbered[n] for n in part] for part in parts], advantages)
    assert whole.keys() == split.keys() and any("visual" in name for name in whole)
    scale = max(gradient.abs().max() for gradient in whole.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, atol=1e-6 * scale.item(), rtol=1e-4, msg=name)


def test_a_row_without_loss_has_no_gradient_and_moves_no_other(model, policy, sequences):
    advantages = torch.tensor([1.0, -0.5, 0.3])
    masked = [sequences[0], _without_loss(sequences[1]), sequences[3]]
    assert loss_weight(collate(masked, 0)["labels"] != IGNORE, LossSettings(preset="grpo")) == 2
    beside = _gradients(model, policy, [list(enumerate(masked))], advantages)
    apart = _gradients(model, policy, [[(0, masked[0]), (2, masked[2])]], advantages)
    scale = max(gradient.abs().max() for gradient in apart.values()).item()
    for name, gradient in apart.items():
        torch.testing.assert_close(beside[name], gradient, atol=1e-6 * scale, rtol=1e-4, msg=name)


def test_a_trained_token_that_is_never_sampled_is_refused(policy, sequences):
    batch = collate(sequences[2:3], policy.encoder.padding)
    batch["labels"][0, 7] = policy.encoder.image_pad
    with pytest.raises(TrainingError, match="no sampler may write"):
        Scorer(policy.model, policy.encoder, 1.0)(batch)


def _sampled(ids, mask, logprobs):
    return TrainingSequence(np.array(ids), np.array(mask), np.zeros((3, len(ids))), [], logprobs)


def test_recorded_logprobs_stand_where_the_batch_has_the_tokens():
    rows = [
        _sampled([5, 6, 7], [0, 1, 1], np.array([0.0, -1.5, -2.5], dtype=np.float32)),
        short := _sampled([5, 6], [0, 1], np.array([0.0, -3.0], dtype=np.float32)),
        _without_loss(short),
    ]
    assert recorded_logprobs(rows).tolist() == [[0.0, -1.5, -2.5], [0.0, -3.0, 0.0], [0.0, 0.0, 0.0]]


def test_sequences_that_were_not_sampled_have_no_recorded_logprobs():
    with pytest.raises(TrainingError, match="log-probs of its sampler"):
        recorded_logprobs([_sampled([5, 6], [0, 1], None)])
