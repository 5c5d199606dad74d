import json

import pytest
import torch

from foveal.errors import RecordError, TrainingError
from foveal.train.checkpoint import (
    last_checkpoint,
    load_checkpoint,
    load_progress,
    publish,
    remove_parts,
    save_checkpoint,
)
from foveal.train.metrics import MetricsLog


@pytest.fixture
def trained():
    """Weights with an optimizer that has momentum."""

    def make(seed=0, size=3):
        torch.manual_seed(seed)
        weights = {"a": torch.randn(size, 2, requires_grad=True), "b": torch.randn(2, requires_grad=True)}
        optimizer = torch.optim.AdamW(weights.values(), lr=0.1)
        sum(weight.square().sum() for weight in weights.values()).backward()
        optimizer.step()
        return weights, optimizer

    return make


def _save(folder, step, trained):
    weights, optimizer = trained
    save_checkpoint(folder, {"step": step, "draws": 7, "updates": step}, weights, optimizer.state_dict())


def test_a_loaded_checkpoint_goes_on_to_the_same_weights(tmp_path, trained):
    weights, optimizer = trained(0)
    _save(tmp_path, 3, (weights, optimizer))
    others, other = trained(1)
    last = last_checkpoint(tmp_path)
    load_checkpoint(last, others, other)
    assert load_progress(last) == {"step": 3, "draws": 7, "updates": 3}
    for some, steps in ((weights, optimizer), (others, other)):
        steps.zero_grad()
        sum(weight.square().sum() for weight in some.values()).backward()
        steps.step()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_the_last_two_are_kept_and_half_written_ones_passed_over(tmp_path, trained):
    for step in (2, 10, 9, 100):
        _save(tmp_path, step, trained())
        (tmp_path / f"step-{step + 1:06d}.part").mkdir()
    assert [path.name for path in sorted(tmp_path.glob("step-*")) if path.suffix != ".part"] == [
        "step-000010",
        "step-000100",
    ]
    assert last_checkpoint(tmp_path).name == "step-000100"
    assert last_checkpoint(tmp_path / "none") is None
    _save(tmp_path, 101, trained())  # over what was left half-written
    assert sorted(path.name for path in (tmp_path / "step-000101").iterdir()) == [
        "optimizer.pt",
        "progress.json",
        "weights.safetensors",
    ]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path, trained):
    remove_parts(tmp_path / "none")
    _save(tmp_path, 1, trained())
    for left in ("step-000000.part", "step-000002.part"):  # while it was removed, and while it was written
        (tmp_path / left).mkdir()
        (tmp_path / left / "weights.safetensors").write_bytes(b"torn")
    remove_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_checkpoint_of_another_model_is_refused(tmp_path, trained):
    _save(tmp_path, 1, trained(size=3))
    with pytest.raises(TrainingError, match="another model"):
        load_checkpoint(last_checkpoint(tmp_path), *trained(size=4))


def test_what_holds_no_weights_is_not_published_and_what_stood_there_stays(tmp_path):
    start, part, folder = (tmp_path / name for name in ("start", "model.part", "model"))
    for made in (start, folder):
        made.mkdir()
    (start / "tokenizer.json").write_text("t")
    (folder / "model.safetensors").write_text("old")
    with pytest.raises(TrainingError, match="no weights were saved"):
        publish(part, start, folder)
    assert not part.exists()
    part.mkdir()
    (part / "config.json").write_text("c")
    (part / "training_args.bin").write_text("the trainer's own")
    with pytest.raises(TrainingError, match="no weights were saved"):
        publish(part, start, folder)
    assert (folder / "model.safetensors").read_text() == "old"
    (part / "training_args.bin").write_text("the trainer's own")
    (part / "model.safetensors").write_text("new")
    publish(part, start, folder)
    assert sorted((path.name, path.read_text()) for path in folder.iterdir()) == [
        ("config.json", "c"),
        ("model.safetensors", "new"),
        ("tokenizer.json", "t"),
    ]
    assert not part.exists()


def test_metrics_behind_the_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 0.5, "alarms": []}\n{"step": 2, "a": 1}\n{"step": 3}\n{"step": 4, "a"')
    log = MetricsLog(path, 2)
    log.truncate()
    assert log.history == [{"step": 1, "a": 0.5}, {"step": 2, "a": 1}]
    log.lines.append({"step": 3, "a": 2})
    log.write_last()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert MetricsLog(tmp_path / "none.jsonl", 5).lines == []


@pytest.mark.parametrize("damaged", [b'{"step": 2, "a"', b"", b"3", b'{"a": 1}', b'{"step": "\xff"}', bytes(8)])
def test_a_damaged_line_of_metrics_is_named(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + damaged + b'\n{"step": 3}\n')
    with pytest.raises(RecordError, match=r"metrics\.jsonl line 2 is no line of metrics") as refused:
        MetricsLog(path, 3)
    assert "remove that line" in refused.value.fix
