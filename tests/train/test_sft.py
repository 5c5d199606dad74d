import asyncio
import json
import logging
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from foveal.config import Sampling
from foveal.errors import ConfigError, TrainingError
from foveal.policy.transformers import TransformersPolicy
from foveal.records import RunWriter
from foveal.train.data import SftData
from foveal.train.settings import SftSettings
from foveal.train.sft import count_steps, load_encoder, run_sft
from foveal.trajectory import StopReason


def _weights(run):
    return load_file(run / "model" / "model.safetensors")


def _metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class _Gradients(TrainerCallback):
    """The gradients of the first optimizer step."""

    def __init__(self):
        self.found = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not self.found:
            self.found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_model_learns_to_take_the_turns_it_was_shown(tiny_checkpoint, store, written, tmp_path):
    trajectory = written(0)
    with RunWriter(tmp_path / "data") as writer:
        writer.write(trajectory, store)
    settings = SftSettings(
        model=tiny_checkpoint, data=(tmp_path / "data",), batch_size=1, learning_rate=1e-2, epochs=40, warmup_ratio=0.0
    )
    result = run_sft(settings, tmp_path / "run")
    assert result.steps == 40
    assert result.loss < 0.05
    policy = TransformersPolicy(result.model, device="cpu")

    async def talk():
        conversation = policy.open(store, Sampling())
        for message in trajectory.prompt:
            await conversation.append(message)
        first = await conversation.generate(40, ("</code>",))
        await conversation.append(
            trajectory.prompt[1].model_copy(update={"parts": trajectory.turns[0].observation_parts})
        )
        return first, await conversation.generate(40, ())

    first, second = asyncio.run(talk())
    assert (first.text, first.finish) == ("<code>crop</code>", "stop")
    assert (second.text, second.finish) == ("<answer>red</answer>", "stop")


def test_gradients_are_the_same_however_a_step_is_split(settings, tmp_path):
    found = []
    for micro in (4, 2, 1):
        gradients = _Gradients()
        run_sft(settings(batch_size=4, micro_batch=micro, epochs=1), tmp_path / f"m{micro}", callbacks=[gradients])
        found.append(gradients.found)
    assert all(one.keys() == found[0].keys() for one in found)
    largest = max(float(gradient.abs().max()) for gradient in found[0].values())
    for one in found[1:]:
        assert max(float((one[name] - found[0][name]).abs().max()) for name in one) < 1e-5 * largest


def test_the_loss_of_a_step_that_holds_all_is_the_mean_over_learned_tokens(settings, tmp_path, tiny_checkpoint, store):
    run_sft(settings(batch_size=5, micro_batch=1, epochs=1), tmp_path / "run")
    (logged,) = (line["loss"] for line in _metrics(tmp_path / "run"))
    chosen = settings()
    encoder = load_encoder(chosen)
    policy = TransformersPolicy(tiny_checkpoint, device="cpu")
    total, count = 0.0, 0
    data = SftData(chosen, encoder)
    for number in range(len(data)):
        one = data[number]
        with torch.inference_mode():
            scores = (
                policy.model(
                    input_ids=torch.from_numpy(one.ids)[None],
                    position_ids=torch.from_numpy(one.positions)[:, None],
                    pixel_values=torch.from_numpy(np.concatenate([i.values for i in one.images]))
                    if one.images
                    else None,
                    image_grid_thw=torch.tensor([i.grid for i in one.images]) if one.images else None,
                )
                .logits[0]
                .log_softmax(-1)
            )
        for place in np.flatnonzero(one.loss_mask):
            total, count = total - float(scores[place - 1, one.ids[place]]), count + 1
    assert logged == pytest.approx(total / count, rel=1e-4)


def test_the_loss_that_is_told_is_the_mean_of_a_learned_token_however_full_the_steps_are(settings, tmp_path):
    """In one line: weights stay as they are, and steps of 1, 4, 5 and (at most) 128 sequences have all of them once."""
    found = {}
    for size in (1, 4, 5, 128):
        still = settings(batch_size=size, micro_batch=1, epochs=1, learning_rate=1e-30, log_steps=100)
        found[size] = run_sft(still, tmp_path / str(size)).loss
        (line,) = _metrics(tmp_path / str(size))
        assert line["loss"] == found[size]
    assert list(found.values()) == pytest.approx([found[5]] * 4, rel=1e-4)


def test_data_that_do_not_fill_a_step_have_the_gradients_of_a_step_that_they_fill(settings, tmp_path):
    gradients = {}
    for size in (5, 128):
        gradients[size] = _Gradients()
        run_sft(settings(batch_size=size, micro_batch=1, epochs=1), tmp_path / str(size), callbacks=[gradients[size]])
    largest = max(float(gradient.abs().max()) for gradient in gradients[5].found.values())
    for name, gradient in gradients[5].found.items():
        assert float((gradients[128].found[name] - gradient).abs().max()) < 1e-5 * largest


def test_a_token_weighs_the_same_in_a_short_sequence_and_in_a_long_one(settings, tmp_path):
    """The gradients of steps of one sequence each are, on average, that of one step over all."""

    class Every(TrainerCallback):
        def __init__(self):
            self.total, self.steps = {}, 0

        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            self.steps += 1
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    self.total[name] = self.total.get(name, 0) + weight.grad

    single, whole = Every(), Every()
    still = {"epochs": 1, "learning_rate": 1e-30, "weight_decay": 0.0, "max_grad_norm": 1e9}  # weights stay as they are
    run_sft(settings(batch_size=1, micro_batch=1, **still), tmp_path / "single", callbacks=[single])
    run_sft(settings(batch_size=5, micro_batch=5, **still), tmp_path / "whole", callbacks=[whole])
    assert (single.steps, whole.steps) == (5, 1)
    largest = max(float(gradient.abs().max()) for gradient in whole.total.values())
    for name, gradient in whole.total.items():
        assert float((single.total[name] / 5 - gradient).abs().max()) < 1e-5 * largest


@pytest.mark.parametrize("stop_at", [1, 3])
def test_an_interrupted_and_resumed_run_ends_with_the_same_weights(settings, interrupt, tmp_path, stop_at):
    chosen = settings(micro_batch=1, epochs=3, save_steps=1)
    run_sft(chosen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, tmp_path / "cut", callbacks=[interrupt(stop_at + 1)])
    assert not (tmp_path / "cut" / "model").exists()
    (tmp_path / "cut" / "model.part").mkdir()
    (tmp_path / "cut" / "model.part" / "model-00001-of-00002.safetensors").touch()  # of a kill while it was saved
    result = run_sft(chosen, tmp_path / "cut", resume=True)
    assert not list((tmp_path / "cut").rglob("model-00001*"))
    assert result.steps == 6
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))
    lines, whole = _metrics(tmp_path / "cut"), _metrics(tmp_path / "whole")
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["loss"] for line in lines] == [line["loss"] for line in whole]


def test_a_resumed_run_logs_the_losses_of_an_uninterrupted_one(settings, interrupt, tmp_path):
    """Where no line falls on a checkpoint the loss since the last line would be forgotten with the process."""
    chosen = settings(epochs=4, save_steps=2, log_steps=3)
    run_sft(chosen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, tmp_path / "cut", callbacks=[interrupt(5)])
    run_sft(chosen, tmp_path / "cut", resume=True)
    lines, whole = _metrics(tmp_path / "cut"), _metrics(tmp_path / "whole")
    assert [line["step"] for line in whole] == [2, 3, 4, 6, 8]
    assert [(line["step"], line["loss"]) for line in lines] == [(line["step"], line["loss"]) for line in whole]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_finished_run_that_is_resumed_stays_as_it_is(settings, tmp_path, rank):
    chosen, run = settings(lora_rank=rank), tmp_path / "run"
    first = run_sft(chosen, run)
    before = _weights(run)
    again = run_sft(chosen, run, resume=True)
    assert (again.steps, again.loss) == (first.steps, first.loss)
    assert _same(before, _weights(run))


def test_a_run_killed_before_its_first_checkpoint_starts_over(settings, interrupt, tmp_path):
    chosen = settings(save_steps=50, epochs=1)
    run_sft(chosen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, tmp_path / "cut", callbacks=[interrupt(1)])
    run_sft(chosen, tmp_path / "cut", resume=True)
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))


@pytest.mark.parametrize("torn", [False, True])
def test_a_half_written_checkpoint_is_passed_over(settings, interrupt, tmp_path, torn):
    chosen = settings(save_steps=1)
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, tmp_path / "run", callbacks=[interrupt(3)])
    state = tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trainer_state.json"
    if torn:
        state.write_bytes(state.read_bytes()[:100])
    else:
        state.unlink()
    run_sft(chosen, tmp_path / "run", resume=True)
    run_sft(chosen, tmp_path / "whole")
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "run"))


def test_runs_are_never_overwritten_and_resume_asks_for_the_same_settings(settings, tmp_path):
    run = tmp_path / "run"
    run_sft(settings(epochs=1), run)
    before = _weights(run)
    with pytest.raises(ConfigError, match="already holds a run"):
        run_sft(settings(epochs=1), run)
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.002"):
        run_sft(settings(epochs=1, learning_rate=0.5), run, resume=True)
    with pytest.raises(ConfigError, match="no run to resume"):
        run_sft(settings(), tmp_path / "other", resume=True)
    assert _same(before, _weights(run))
    assert json.loads((run / "settings.json").read_text(encoding="utf-8"))["epochs"] == 1


@pytest.mark.parametrize("freeze", [True, False])
def test_the_vision_tower_and_projector_stay_as_they_are_unless_asked(settings, tmp_path, tiny_checkpoint, freeze):
    run_sft(settings(freeze_vision=freeze), tmp_path / "run")
    before, after = load_file(tiny_checkpoint / "model.safetensors"), _weights(tmp_path / "run")
    changed = Counter("visual" in name for name in before if not torch.equal(before[name], after[name]))
    assert changed[False] > 10
    assert (changed[True] == 0) is freeze


def test_cached_features_train_to_the_same_weights(settings, tmp_path):
    run_sft(settings(), tmp_path / "plain")
    run_sft(settings(cache_vision=True), tmp_path / "cached")
    plain, cached = _weights(tmp_path / "plain"), _weights(tmp_path / "cached")
    assert max(float((plain[name] - cached[name]).abs().max()) for name in plain) < 1e-4


def test_adapters_are_merged_into_a_plain_checkpoint(settings, tmp_path, tiny_checkpoint, store, written):
    run_sft(settings(lora_rank=4, epochs=4, learning_rate=1e-2), tmp_path / "run")
    before, after = load_file(tiny_checkpoint / "model.safetensors"), _weights(tmp_path / "run")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("language_model" in name or "model.layers" in name for name in changed)
    assert all(name.split(".")[-2].endswith("_proj") for name in changed)
    TransformersPolicy(tmp_path / "run" / "model", device="cpu")


def test_adapters_resume_exactly(settings, interrupt, tmp_path):
    chosen = settings(lora_rank=2, save_steps=1)
    run_sft(chosen, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, tmp_path / "cut", callbacks=[interrupt(2)])
    run_sft(chosen, tmp_path / "cut", resume=True)
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "cut"))


def test_mixed_precision_and_gradient_checkpointing_train_and_save_in_bfloat16(settings, tmp_path):
    result = run_sft(settings(dtype="bfloat16", gradient_checkpointing=True, epochs=1), tmp_path / "run")
    assert result.loss > 0
    assert {tensor.dtype for tensor in _weights(tmp_path / "run").values()} == {torch.bfloat16}


def test_gradient_checkpointing_changes_no_gradient(settings, tmp_path):
    found = []
    for on in (False, True):
        gradients = _Gradients()
        run_sft(settings(epochs=1, gradient_checkpointing=on), tmp_path / str(on), callbacks=[gradients])
        found.append(gradients.found)
    assert found[0].keys() == found[1].keys()
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-6) for name in found[0])


def test_what_the_budget_did_is_counted_and_said(settings, tmp_path, data, store, written, caplog):
    with RunWriter(data, resume=True) as writer:
        silent = written(9).model_copy(update={"turns": (), "stop_reason": StopReason.POLICY_ERROR, "answer": None})
        writer.write(silent, store)
    caplog.set_level(logging.INFO, logger="foveal")
    result = run_sft(settings(epochs=1, max_length=100), tmp_path / "run")
    assert sum(result.fits.values()) == 6
    assert result.fits["empty"] == 1
    assert result.fits["shortened"] > 0
    assert json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["fits"] == result.fits
    assert f"{result.fits['shortened']} shortened" in caplog.text
    assert "to go" in caplog.text


def test_nothing_left_to_learn_is_an_error(settings, tmp_path):
    with pytest.raises(TrainingError, match="5 dropped"):
        run_sft(settings(max_length=3), tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_missing_picture_stops_before_training(settings, tmp_path, data):
    next((data / "images").glob("*.png")).unlink()
    with pytest.raises(TrainingError, match="missing"):
        run_sft(settings(), tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(settings, tmp_path):
    with pytest.raises(TrainingError, match="loss is"):
        run_sft(settings(learning_rate=1e12, epochs=4, warmup_ratio=0.0, max_grad_norm=1e12), tmp_path / "run")


def test_a_batch_that_cannot_be_split_evenly_is_refused(settings, tmp_path):
    with pytest.raises(ConfigError, match="multiple"):
        run_sft(settings(batch_size=4, micro_batch=3), tmp_path / "run")


def test_a_smaller_view_makes_shorter_sequences_and_the_checkpoint_keeps_its_own(settings, tmp_path, tiny_checkpoint):
    small = settings(max_pixels=28 * 28, epochs=1)
    lengths = SftData(small, load_encoder(small)).lengths
    assert sum(lengths) < sum(SftData(settings(), load_encoder(settings())).lengths)
    run_sft(small, tmp_path / "run")
    name = "preprocessor_config.json"
    assert (tmp_path / "run" / "model" / name).read_bytes() == (tiny_checkpoint / name).read_bytes()


def test_steps_are_counted_as_the_trainer_takes_them(settings, tmp_path):
    chosen = settings(epochs=2)
    assert count_steps(chosen, SftData(chosen, load_encoder(chosen))) == run_sft(chosen, tmp_path / "run").steps == 4


@pytest.mark.parametrize(
    "wrong", [{"cache_vision": True, "freeze_vision": False}, {"lora_rank": 2, "freeze_vision": False}, {"epochs": 0}]
)
def test_settings_that_contradict_each_other_are_refused(settings, wrong):
    with pytest.raises(ValueError, match="validation error"):
        settings(**wrong)
