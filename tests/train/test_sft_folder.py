"""What keeps a cold start from beginning or from going on, and what is left then."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from foveal.errors import ConfigError, InputError, RecordError
from foveal.files import alone
from foveal.records import RunWriter
from foveal.train.sft import run_sft
from foveal.train.sft_folder import check_data


@pytest.fixture
def cut(settings, interrupt, tmp_path):
    """A run of four steps that was stopped in the third, with its settings."""
    chosen, run = settings(save_steps=1), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, run, callbacks=[interrupt(3)])
    return chosen, run


def _held(run):
    """Every file of a run with what stands in it."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_that_was_killed_before_it_had_begun_begins_when_it_is_started_again(settings, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)  # the trainer makes it
    with pytest.raises(ConfigError, match="no run to resume") as refused:
        run_sft(settings(epochs=1), run, resume=True)
    assert refused.value.fix == "leave out --resume"
    assert run_sft(settings(epochs=1), run).steps == 2


def test_what_was_begun_with_is_kept_and_the_run_goes_on_with_it(cut):
    chosen, run = cut
    before = (run / "inputs.json").read_bytes()
    assert json.loads(before)["processes"] == 1
    assert run_sft(chosen, run, resume=True).steps == 4
    assert (run / "inputs.json").read_bytes() == before


def test_a_torn_line_of_metrics_is_dropped_and_a_damaged_one_is_told(cut):
    chosen, run = cut
    metrics = run / "metrics.jsonl"
    whole = metrics.read_bytes()
    metrics.write_bytes(whole.replace(b'"step"', b'"st', 1))
    before = _held(run)
    with pytest.raises(RecordError, match=r"metrics\.jsonl line 1"):
        run_sft(chosen, run, resume=True)
    assert _held(run) == before
    metrics.write_bytes(whole + b'{"step": 3, "lo')
    run_sft(chosen, run, resume=True)
    assert [json.loads(line)["step"] for line in metrics.read_text(encoding="utf-8").splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["settings.json", "inputs.json"])
def test_a_file_that_nobody_can_read_any_more_is_named(cut, name):
    chosen, run = cut
    (run / name).write_text("")  # after a power cut
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        run_sft(chosen, run, resume=True)


def test_one_process_trains_in_a_folder(settings, tmp_path):
    run, refused = tmp_path / "run", []

    class SomebodyElse(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            with pytest.raises(InputError, match="another process is writing to"), alone(run):
                raise AssertionError
            refused.append(state.global_step)

    with alone(run), pytest.raises(InputError, match="another process is writing to"):
        run_sft(settings(), run)
    assert list(run.iterdir()) == []
    run_sft(settings(epochs=1), run, callbacks=[SomebodyElse()])
    assert refused == [1, 2]
    before = _held(run)
    with alone(run), pytest.raises(InputError, match="another process is writing to"):
        run_sft(settings(epochs=1), run, resume=True)
    assert _held(run) == before


@pytest.mark.slow
def test_of_several_processes_all_end_when_the_first_cannot_have_the_folder(settings, both_kept_out):
    both_kept_out(
        "from foveal.train.settings import SftSettings; from foveal.train.sft import run_sft; "
        "run_sft(SftSettings.model_validate_json(file.read_text()), run)",
        settings(micro_batch=1, batch_size=2),
    )


def test_other_data_are_refused(cut, data, store, written):
    chosen, run = cut
    before = _held(run)
    with RunWriter(data, resume=True) as writer:
        writer.write(written(7), store)
    with pytest.raises(ConfigError, match=r"something else stood in .*data/trajectories\.jsonl"):
        run_sft(chosen, run, resume=True)
    assert _held(run) == before


def test_a_dry_run_is_refused_for_what_the_run_would_be(cut, data, store, written):
    chosen, run = cut
    check_data(chosen, run)
    with RunWriter(data, resume=True) as writer:
        writer.write(written(7), store)
    with pytest.raises(ConfigError, match=r"something else stood in .*data/trajectories\.jsonl"):
        check_data(chosen, run)


def test_a_start_checkpoint_that_was_written_over_is_refused(settings, interrupt, tiny_checkpoint, tmp_path):
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(tiny_checkpoint, start)
    chosen = settings(lora_rank=2, save_steps=1).model_copy(update={"model": start})  # its checkpoints are adapters
    with pytest.raises(KeyboardInterrupt):
        run_sft(chosen, run, callbacks=[interrupt(2)])
    weights = load_file(start / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, start / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"something else stood in .*start/model\.safetensors"):
        run_sft(chosen, run, resume=True)


def test_another_number_of_processes_is_refused(cut):
    chosen, run = cut
    check_data(chosen, run, 1)
    with pytest.raises(ConfigError, match="begun with processes: 1, and there are 2 now") as refused:
        check_data(chosen, run, 2)
    assert refused.value.fix.startswith("resume it with 1")
