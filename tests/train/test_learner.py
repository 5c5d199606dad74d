import asyncio
import copy
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from foveal.agent import Agent
from foveal.config import Limits, Sampling
from foveal.errors import TrainingError
from foveal.policy.encoding import Patches
from foveal.protocol import FOVEAL
from foveal.tools.session import Tools
from foveal.train.batch import Sample
from foveal.train.learner import Learner
from foveal.train.pictures import encode
from foveal.train.rl import run_rl
from foveal.train.rl_settings import RlSettings
from foveal.trajectory import Question

ADVANTAGES = (1.0, -0.5, 0.3, -1.2, 0.8, 0.1, -0.9)


@pytest.fixture
def settings(tiny_checkpoint):
    def make(**changed):
        values = {"model": tiny_checkpoint, "questions": "q.jsonl", "max_grad_norm": 1e9, "learning_rate": 1e-3}
        return RlSettings.model_validate({**values, **changed})

    return make


@pytest.fixture
def samples(encoded, written):
    """Seven trajectories of different lengths, five with pictures; what their sampler recorded is made up."""
    found = []
    for seed, advantage in enumerate(ADVANTAGES):
        trajectory = written(seed, "red" * (1 + seed % 3), with_pictures=seed not in (2, 5))
        one, _ = encoded(trajectory)
        recorded = np.random.default_rng(seed).uniform(-3, 0, len(one.ids)).astype(np.float32)
        found.append(Sample(dataclasses.replace(one, logprobs=recorded * one.loss_mask), advantage))
    return found


@pytest.fixture
def learner(policy):
    def make(settings):
        return Learner(settings, Accelerator(cpu=True), copy.deepcopy(policy.model), policy.encoder)

    return make


def _gradients(learner):
    """The gradients of every optimizer step from now on, by name."""
    found = []

    def note(optimizer, args, kwargs):
        found.append({name: w.grad.clone() for name, w in learner.trained.items() if w.grad is not None})

    learner.optimizer.optimizer.register_step_pre_hook(note)
    return found


def _apart(one, other):
    """Largest difference, relative to the largest entry."""
    assert one.keys() == other.keys()
    scale = max(float(gradient.abs().max()) for gradient in one.values())
    return max(float((one[name] - other[name]).abs().max()) for name in one) / scale


@pytest.mark.parametrize("mean", ["token", "sequence"])
@pytest.mark.parametrize("freeze", [True, False])
def test_gradients_do_not_depend_on_the_micro_batches(settings, samples, learner, mean, freeze, policy):
    if freeze:
        samples = _with_features(samples, policy)
    found = []
    for most in (100_000, 400, 1):
        chosen = settings(micro_tokens=most, freeze_vision=freeze, loss={"mean": mean, "importance": "token"})
        one = learner(chosen)
        gradients = _gradients(one)
        learned = one.learn([samples])
        assert learned.updates == 1
        found.append(gradients[0])
    assert _apart(found[0], found[1]) < 1e-5 and _apart(found[0], found[2]) < 1e-5
    assert any("visual" in name for name in found[0]) is not freeze


def _with_features(samples, policy):
    """The samples as they are where the tower is frozen."""
    known = {}
    for sample in samples:
        for picture in sample.sequence.images:
            grid = torch.tensor([picture.grid])
            with torch.inference_mode():
                encoded = policy.model.get_image_features(torch.from_numpy(picture.values), grid).pooler_output[0]
            known[id(picture)] = Patches(encoded.numpy(), picture.grid)
    return [
        dataclasses.replace(
            sample,
            sequence=dataclasses.replace(sample.sequence, images=[known[id(one)] for one in sample.sequence.images]),
        )
        for sample in samples
    ]


def test_features_of_a_frozen_tower_give_the_gradients_of_the_pictures(settings, samples, learner, policy):
    plain, cached = learner(settings(freeze_vision=False)), learner(settings())
    whole, frozen = _gradients(plain), _gradients(cached)
    plain.learn([samples])
    cached.learn([_with_features(samples, policy)])
    language = {name: gradient for name, gradient in whole[0].items() if "visual" not in name}
    assert _apart(language, frozen[0]) < 1e-5


def test_features_of_too_few_pictures_are_refused(settings, samples, learner, policy):
    cached = _with_features(samples[:2], policy)
    for left in (0, 1):
        blind = dataclasses.replace(cached[0].sequence, images=cached[0].sequence.images[:left])
        with pytest.raises(ValueError, match=r"[Ii]mage"):
            learner(settings()).learn([[dataclasses.replace(cached[0], sequence=blind), cached[1]]])


def test_features_are_computed_once_for_each_picture_and_alike_in_any_company(policy, store, picture):
    refs = [picture(84, 56, 1), picture(56, 112, 2), picture(84, 56, 1), picture(140, 84, 3)]
    together = encode(policy.model, policy.encoder, ((ref, store) for ref in refs))
    assert len(together) == 3
    for ref in refs:
        alone = encode(policy.model, policy.encoder, [(ref, store)])[ref.sha256]
        assert alone.grid == together[ref.sha256].grid
        np.testing.assert_allclose(alone.values, together[ref.sha256].values, atol=1e-5)


def test_several_updates_take_their_ratio_against_the_weights_before_the_first(settings, samples, learner):
    one = learner(settings(freeze_vision=False, prompts=8, updates=3))
    learned = one.learn([samples[:3], samples[3:5], samples[5:]])
    figures = learned.figures.means()
    assert (learned.updates, one.updates) == (3, 3)
    assert figures["ratio_max"] > 1.01
    single = learner(settings(freeze_vision=False)).learn([samples]).figures.means()
    assert single["ratio_max"] == pytest.approx(1.0)
    assert figures["tokens"] == single["tokens"] == sum(int(sample.sequence.loss_mask.sum()) for sample in samples)


def test_a_share_without_trained_tokens_takes_no_step(settings, samples, learner):
    one = learner(settings(freeze_vision=False, weight_decay=0.1))
    before = {name: weight.detach().clone() for name, weight in one.trained.items()}
    learned = one.learn([[], []])
    assert (learned.updates, learned.grad_norm, one.updates) == (0, 0.0, 0)
    assert all(torch.equal(before[name], weight) for name, weight in one.trained.items())
    assert one.learn([[], samples]).updates == 1


def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights(settings, samples, learner):
    one = learner(settings(freeze_vision=False))
    before = {name: weight.detach().clone() for name, weight in one.trained.items()}
    with pytest.raises(TrainingError, match=r"the gradient is nan at update 1") as error:
        one.learn([[dataclasses.replace(samples[0], advantage=float("nan"))]])
    assert "another --run folder" in error.value.fix  # a resumed run refuses another rate
    assert all(torch.equal(before[name], weight) for name, weight in one.trained.items())


def test_gradients_are_clipped_and_their_norm_before_that_is_told(settings, samples, learner):
    one, free = learner(settings(freeze_vision=False, max_grad_norm=0.01)), learner(settings(freeze_vision=False))
    clipped, whole = _gradients(one), _gradients(free)
    told = one.learn([samples]).grad_norm
    assert told == free.learn([samples]).grad_norm == pytest.approx(_norm(whole[0]), rel=1e-5)
    assert told > 0.1
    assert _norm(clipped[0]) == pytest.approx(0.01, rel=1e-3)


def _norm(gradients):
    return float(torch.cat([gradient.flatten() for gradient in gradients.values()]).norm())


def test_accumulation_steps_of_the_launcher_divide_nothing(settings, samples, learner, monkeypatch):
    norms = []
    for steps in ("1", "4"):
        monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", steps)
        norms.append(learner(settings(freeze_vision=False)).learn([samples]).grad_norm)
    assert norms[0] == pytest.approx(norms[1])


def test_weights_decay_by_the_rate_and_the_share_that_are_set(settings, samples, learner):
    plain, decayed = (learner(settings(freeze_vision=False, weight_decay=decay)) for decay in (0.0, 0.5))
    before = {name: weight.detach().clone() for name, weight in plain.trained.items()}
    for one in (plain, decayed):
        one.learn([samples])
    for name, weight in before.items():
        lost = plain.trained[name] - decayed.trained[name]
        torch.testing.assert_close(lost, 1e-3 * 0.5 * weight, atol=1e-6, rtol=0)


def test_log_probs_of_trainer_and_reference_are_at_the_temperature_of_the_sampling(settings, policy, store, encoded):
    agent = Agent(policy, Tools(), FOVEAL, Limits(max_turns=1, max_turn_tokens=20), Sampling(temperature=0.5, seed=1))
    sampled = asyncio.run(agent.run(Question(id="q", text="which colour?"), store))
    sequence, _ = encoded(sampled)
    chosen = settings(temperature=0.5, loss={"kl": 1.0})
    one = Learner(chosen, Accelerator(cpu=True), copy.deepcopy(policy.model), policy.encoder, policy.model)
    figures = one.learn([[Sample(sequence, 1.0)]]).figures.means()
    assert figures["tokens"] > 10
    assert figures["gap_max"] < 1e-4 and figures["kl"] < 1e-6


def test_the_rate_rises_over_the_warm_up_and_stays(settings, samples, learner):
    one = learner(settings(freeze_vision=False, warmup_updates=4))
    rates = []
    for _ in range(6):
        one.learn([samples[:1]])
        rates.append(one.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3, 1e-3])


def test_a_reference_holds_the_model_back(settings, samples, policy):
    chosen = settings(freeze_vision=False, loss={"kl": 5.0})
    one = Learner(chosen, Accelerator(cpu=True), copy.deepcopy(policy.model), policy.encoder, policy.model)
    assert one.learn([samples]).figures.means()["kl"] == pytest.approx(0.0, abs=1e-6)
    assert one.learn([samples]).figures.means()["kl"] > 1e-4


def test_a_run_is_held_to_its_start_checkpoint(rl_settings, tmp_path):
    lines = []
    run_rl(rl_settings(steps=2, loss={"kl": 0.1}), tmp_path / "run", on_step=lines.append)
    assert [line["updates"] for line in lines] == [1, 1]
    first, second = (line["policy/kl"] for line in lines)
    assert first == pytest.approx(0.0, abs=1e-6)
    assert second > 1e-4


def test_the_warm_up_goes_on_where_an_interrupted_run_was(rl_settings, tmp_path):
    lines = []
    for steps in (1, 3):
        settings = rl_settings(steps=steps, warmup_updates=4, dynamic_sampling=False)
        run_rl(settings, tmp_path / "run", resume=steps > 1, on_step=lines.append)
    assert [line["learning_rate"] / 3e-4 for line in lines] == pytest.approx([0.25, 0.5, 0.75])


def test_checkpointed_activations_change_no_gradient(settings, samples, learner):
    found = []
    for on in (False, True):
        one = learner(settings(freeze_vision=False, gradient_checkpointing=on))
        gradients, passes = _gradients(one), []
        first = one.model.model.language_model.layers[0].input_layernorm
        first.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        one.learn([samples])
        assert len(passes) == 1 + on
        assert not one.model.training  # the sampler needs it so
        found.append(gradients[0])
    assert _apart(*found) < 1e-5


RANK = """
import pickle, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import load_model
from foveal.train.learner import Learner

folder = Path(sys.argv[1])
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
settings, splits = pickle.loads((folder / "work.pickle").read_bytes())
for number, split in enumerate(splits):
    learner = Learner(settings, accelerator, load_model(settings.model, "cpu"), ChatEncoder.load(settings.model))
    found = []
    learner.optimizer.optimizer.register_step_pre_hook(
        lambda *_: found.append({name: weight.grad.clone() for name, weight in learner.trained.items()})
    )
    learned = learner.learn([split[accelerator.process_index]])
    torch.save((found, learned.figures.means()), folder / f"{number}-{accelerator.process_index}.pt")
accelerator.state.destroy_process_group()
"""


def test_two_processes_have_the_gradients_of_one(settings, samples, learner, tmp_path, two_processes):
    """Unevenly shared; all pictures in one process; and all in one process while the other has nothing to train on."""
    chosen = settings(freeze_vision=False, micro_tokens=300, loss={"importance": "token"})
    alone = learner(chosen)
    wanted = _gradients(alone)
    figures = alone.learn([samples]).figures.means()
    text = [sample for sample in samples if not sample.sequence.images]
    shown = [sample for sample in samples if sample.sequence.images]
    assert text and shown and any("visual" in name for name in wanted[0])
    splits = [(samples[:2], samples[2:]), (shown, text), (samples, [])]
    (tmp_path / "work.pickle").write_bytes(pickle.dumps((chosen, splits)))
    two_processes("-c", RANK, tmp_path)
    for number in range(len(splits)):
        for rank in range(2):
            found, means = torch.load(tmp_path / f"{number}-{rank}.pt", weights_only=False)
            assert len(found) == 1
            assert _apart(wanted[0], found[0]) < 1e-5
            assert means == pytest.approx(figures, rel=1e-4, abs=1e-6)
