import numpy as np
import pytest

from foveal.train.batch import Sample, load, micro_batches, shares
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import compare
from foveal.train.tokens import TrainingSequence
from foveal.trajectory import StopReason, Turn

ANSWERED, CUT, FAILED = StopReason.ANSWERED, StopReason.MAX_TOKENS, StopReason.POLICY_ERROR


@pytest.fixture
def settings(tiny_checkpoint):
    def make(**changed):
        return RlSettings.model_validate({"model": tiny_checkpoint, "questions": "q.jsonl", "prompts": 4, **changed})

    return make


@pytest.fixture
def group(settings, written):
    """A group of trajectories: total (None if unscored), stop reason."""

    def make(draw, *ends, **changed):
        members = []
        for number, (total, reason) in enumerate(ends):
            reward = {} if total is None else {"accuracy": float(total > 0), "total": total}
            update = {"id": f"{draw}-{number}", "reward": reward, "stop_reason": reason, **changed}
            members.append(written(draw).model_copy(update=update))
        return compare(draw, members, settings())

    return make


def test_only_what_has_a_loss_is_learned_from(settings, group, policy, store):
    groups = [
        group(0, (1.0, ANSWERED), (0.0, ANSWERED), (0.0, CUT), (0.0, FAILED), (None, ANSWERED)),
        group(1, (1.0, ANSWERED), (1.0, ANSWERED)),
        group(2, (1.0, ANSWERED), (0.0, ANSWERED)),
    ]
    chosen = settings(updates=2)
    first, second = shares(groups, policy.encoder, chosen)
    # Of rewards 1, 0, 0: mean 1/3, sample deviation 0.57735. What failed is no part of it.
    assert [one.advantage for one in first] == pytest.approx([1.1547, -0.57735], abs=1e-4)
    assert [one.advantage for one in second] == pytest.approx([0.7071, -0.7071], abs=1e-3)
    unmasked = shares(groups, policy.encoder, chosen.model_copy(update={"mask_cut": False}))
    assert [len(part) for part in unmasked] == [3, 2]
    everything = shares(groups, policy.encoder, chosen.model_copy(update={"dynamic_sampling": False}))
    assert [len(part) for part in everything] == [4, 2]
    pictures = {ref.sha256: policy.encoder.patches(ref, store) for one in first for ref in one.plan.refs}
    one, other = (load(planned, policy.encoder, pictures).sequence.images for planned in first)
    assert [patches.grid for patches in one] == [(1, 4, 6), (1, 4, 4)]
    assert all(a.values is b.values for a, b in zip(one, other, strict=True)), "a picture is held once"


def test_what_broke_the_format_is_learned_from_unless_it_is_masked(settings, group, policy):
    # The trajectories of `written` have no thoughts.
    whole = group(1, (1.0, ANSWERED), (0.0, ANSWERED), turns=(Turn(text="<think>so</think><answer>red</answer>"),))
    groups = [group(0, (1.0, ANSWERED), (0.0, ANSWERED)), whole]
    for masked, learned in {False: [2, 2], True: [0, 2]}.items():
        chosen = settings(updates=2, mask_malformed=masked)
        assert [len(part) for part in shares(groups, policy.encoder, chosen)] == learned


def test_micro_batches_hold_sequences_of_about_the_same_length():
    lengths = [31, 70, 12, 65, 30, 66, 11]
    samples = [Sample(TrainingSequence(np.zeros(n), np.ones(n), np.zeros((3, n)), [], None), 0.0) for n in lengths]
    for most, sizes in {
        1: [[70], [66], [65], [31], [30], [12], [11]],
        139: [[70], [66, 65], [31, 30, 12, 11]],
        140: [[70, 66], [65, 31], [30, 12, 11]],
        1000: [[70, 66, 65, 31, 30, 12, 11]],
    }.items():
        batches = micro_batches(samples, most)
        assert [[len(sample.sequence.ids) for sample in batch] for batch in batches] == sizes
