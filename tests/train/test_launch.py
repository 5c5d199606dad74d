"""Cold start in several processes: whole weights in each, or shards."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foveal.errors import ConfigError
from foveal.records import RunWriter
from foveal.train.launch import check_launcher
from foveal.train.settings import SftSettings
from foveal.train.sft import run_sft

FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}
"""As `accelerate launch` sets them. It would save shards."""
WHOLE = ("FSDP_STATE_DICT_TYPE", "FULL_STATE_DICT")


def _weights(run):
    return load_file(run / "model" / "model.safetensors")


def _learned(run):
    kept = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: line[name] for name in ("step", "loss", "learning_rate")} for line in kept], kept[0]["grad_norm"]


@pytest.fixture
def shared(settings, store, written, tmp_path):
    """Settings of a cold start on eight trajectories. Three show no picture: a process may have one, the other not."""
    with RunWriter(tmp_path / "eight") as writer:
        for seed in range(8):
            writer.write(written(seed, with_pictures=seed not in (1, 4, 6)), store)

    def make(batch: int, freeze: bool) -> SftSettings:
        # The last checkpoint but one is in the middle of the second epoch.
        chosen = settings(
            batch_size=batch, micro_batch=1, warmup_ratio=0.0, freeze_vision=freeze, save_steps=12 // batch
        )
        return chosen.model_copy(update={"data": (tmp_path / "eight",)})

    return make


@pytest.fixture
def in_two(two_processes, config_file, tmp_path):
    """A cold start in two processes, and again, gone on with from a checkpoint in the middle of the second epoch."""

    def train(settings, *program) -> tuple[Path, Path]:
        file, whole, cut = config_file(settings), tmp_path / "two", tmp_path / "cut"
        two_processes(*program, "sft", "--config", file, "--run", whole)
        shutil.copytree(whole, cut)
        shutil.rmtree(cut / "model")
        shutil.rmtree(max((cut / "checkpoints").iterdir()))
        (cut / "result.json").unlink()
        two_processes(*program, "sft", "--config", file, "--run", cut, "--resume")
        return whole, cut

    return train


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "freeze"), [(4, True), (2, False)])
def test_two_processes_train_to_the_weights_of_one(shared, tmp_path, in_two, batch, freeze):
    run_sft(shared(batch, freeze), tmp_path / "one")
    whole, resumed = in_two(shared(batch, freeze), "-m", "foveal.cli")
    _assert_nearly_same(tmp_path / "one", whole)
    _assert_same(whole, resumed)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "freeze"), [(4, True), (2, False)])
def test_shards_train_to_the_weights_of_one_process(shared, tmp_path, in_two, monkeypatch, batch, freeze):
    run_sft(shared(batch, freeze), tmp_path / "one")
    for name, value in (*FSDP.items(), WHOLE):
        monkeypatch.setenv(name, value)
    whole, resumed = in_two(shared(batch, freeze), Path(__file__).with_name("sharded.py"))
    _assert_nearly_same(tmp_path / "one", whole)
    _assert_same(whole, resumed)


def _assert_same(one, two):
    assert _learned(one) == _learned(two)
    one, two = _weights(one), _weights(two)
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


def _assert_nearly_same(one, two):
    assert (one / "model" / "config.json").read_text() == (two / "model" / "config.json").read_text()
    (lines, norm), (others, other) = _learned(one), _learned(two)
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in others], rel=1e-4)
    assert norm == pytest.approx(other, rel=1e-4), "AdamW and clipping hide a gradient that is a multiple"
    one, two = _weights(one), _weights(two)
    assert one.keys() == two.keys()
    # AdamW turns rounding into whole steps where a gradient is nearly 0, so single weights may differ; most do not.
    apart = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    assert apart.quantile(0.99) < 1e-5


@pytest.mark.parametrize(
    ("launcher", "changed", "told"),
    [
        (FSDP, {}, "SHARDED_STATE_DICT"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_STATE_DICT_TYPE": "LOCAL_STATE_DICT"}, {}, "LOCAL_STATE_DICT"),
        ({"ACCELERATE_USE_FSDP": "true"}, {"lora_rank": 2}, "LoRA"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, {"lora_rank": 2}, "LoRA"),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, {}, "ZeRO-3"),
    ],
)
def test_shards_of_which_no_model_comes_out_are_refused_before_anything_is_made(
    settings, tmp_path, monkeypatch, launcher, changed, told
):
    """The variables are those that `accelerate launch` sets."""
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=told):
        run_sft(settings(**changed), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv(*WHOLE)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL", "true")
    check_launcher(settings())
