"""What keeps a run from beginning or from going on, and what is left then."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from foveal.errors import ConfigError, InputError, PolicyError, RecordError, TrainingError
from foveal.files import alone
from foveal.train.rl import run_rl

RIGHT, WRONG = "Verdict: correct", "Verdict: wrong"


def _lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _checkpoints(run):
    return sorted(path.name for path in (run / "checkpoints").glob("*"))


@pytest.fixture
def undecided(cold_started, tmp_path):
    """The questions of `cold_started` with an answer that no rule can compare with what is said."""
    lines = (cold_started / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    rows = [{**row, "images": [str(cold_started / name) for name in row["images"]], "gold": "crimson"} for row in rows]
    file = tmp_path / "undecided.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def judged(rl_settings):
    """Settings of a run whose judge is at an address."""

    def make(url, **changed):
        return rl_settings(reward={"judge": {"url": url, "model": "m", "max_retries": 0}}, **changed)

    return make


def test_a_judge_that_scores_nothing_ends_the_run_which_goes_on_when_it_is_back(judged, undecided, endpoint, tmp_path):
    run, same = tmp_path / "run", {"steps": 3, "prompts": 1, "rollouts": 8, "save_steps": 9, "questions": undecided}
    first = endpoint([RIGHT, WRONG, 500], for_good=True)  # of the two answers to the first question
    with pytest.raises(
        TrainingError,
        match=r"step 2: \d+ of 24 trajectories are unscored, the first: .* HTTP 500 .*; no answer has a score",
    ) as end:
        run_rl(judged(first.url, **same), run)
    assert "--resume" in end.value.fix and "judge" in end.value.fix
    assert [(line["step"], line["draws"], line["updates"]) for line in _lines(run)] == [(1, 1, 1)]
    assert _checkpoints(run) == ["step-000001"], "what was learned is not lost"
    assert not (run / "model").exists()

    again = endpoint([RIGHT, WRONG], for_good=True)
    assert run_rl(judged(again.url, **same), run, resume=True).steps == 3
    assert [line["step"] for line in _lines(run)] == [1, 2, 3]
    asked = [json.loads(body["messages"][1]["content"])["question"] for body in first.requests + again.requests]
    assert _lines(run)[1]["draws"] <= 4 and asked[2] in asked[3:], "the questions of the step come again"


def test_a_wrong_key_of_the_judge_ends_the_run_and_the_right_one_lets_it_begin(judged, undecided, endpoint, tmp_path):
    judge = endpoint([RIGHT, WRONG], key="right", for_good=True)
    settings = judged(judge.url, steps=1, questions=undecided, dynamic_sampling=False)
    with pytest.raises(TrainingError, match=r"step 1: \d of 8 trajectories are unscored, the first: .* HTTP 401"):
        run_rl(settings, tmp_path / "run", judge_key="wrong")
    assert _checkpoints(tmp_path / "run") == []
    assert run_rl(settings, tmp_path / "run", resume=True, judge_key="right").steps == 1
    assert _lines(tmp_path / "run")[0]["rollouts/unscored"] == 0


def test_a_judge_that_replies_without_a_verdict_ends_no_run(judged, undecided, endpoint, tmp_path, caplog):
    judge = endpoint(["Hm."], for_good=True)
    settings = judged(judge.url, steps=1, questions=undecided, dynamic_sampling=False)
    assert run_rl(settings, tmp_path / "run").steps == 1
    assert "of 8 trajectories are unscored, the first: the judge m gave no verdict in 3 replies" in caplog.text


def test_rules_that_find_only_right_answers_do_not_hide_for_long_that_the_judge_is_down(
    judged, nowhere, tmp_path, caplog
):
    # `red` is right by rule; nobody says whether `blue` is.
    settings = judged(nowhere, steps=9, save_steps=9, rollouts=6, sampling_budget=1)
    caplog.set_level("INFO", logger="foveal")
    with pytest.raises(TrainingError, match=r"step 3: \d+ of 12 trajectories are unscored.* down for 3 steps"):
        run_rl(settings, tmp_path / "run")
    assert "of 12 trajectories are unscored, the first: the judge failed: http" in caplog.text
    lines = _lines(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2] and all(line["reward/accuracy"] > 0 for line in lines)
    assert f"unscored {lines[0]['rollouts/unscored']} of 12" in caplog.text
    assert _checkpoints(tmp_path / "run") == ["step-000002"]


def test_what_is_refused_leaves_no_run_behind(judged, rl_settings, cold_started, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"'judge\.example' is no address"):
        run_rl(judged("judge.example"), run)
    broken = tmp_path / "broken"
    shutil.copytree(cold_started / "model", broken)
    (broken / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(PolicyError, match="cannot be loaded"):
        run_rl(rl_settings(model=broken), run)
    assert run_rl(rl_settings(steps=1), run).steps == 1, "the folder is free"


def test_one_process_trains_in_a_folder(rl_settings, tmp_path):
    run, refused = tmp_path / "run", []

    def somebody_else(line):
        with pytest.raises(InputError, match="another process is writing to"), alone(run):
            raise AssertionError
        refused.append(line["step"])

    settings = rl_settings(steps=1)
    with alone(run), pytest.raises(InputError, match="another process is writing to"):
        run_rl(settings, run)
    assert list(run.iterdir()) == []
    run_rl(settings, run, on_step=somebody_else)
    assert refused == [1]
    before = (run / "metrics.jsonl").read_bytes()
    with alone(run), pytest.raises(InputError, match="another process is writing to"):
        run_rl(settings.model_copy(update={"steps": 2}), run, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_of_several_processes_all_end_when_the_first_cannot_have_the_folder(rl_settings, both_kept_out):
    both_kept_out(
        "from foveal.train.rl import run_rl; from foveal.train.rl_settings import RlSettings; "
        "run_rl(RlSettings.model_validate_json(file.read_text()), run)",
        rl_settings(steps=1),
    )


def test_a_start_checkpoint_that_was_written_over_is_refused(rl_settings, cold_started, tmp_path):
    start, run = tmp_path / "start", tmp_path / "run"
    shutil.copytree(cold_started / "model", start)
    run_rl(rl_settings(model=start, steps=1), run)
    weights = load_file(start / "model.safetensors")
    frozen = next(name for name in sorted(weights) if "visual" in name)
    weights[frozen] = weights[frozen] + 1  # no checkpoint of the run holds it
    save_file(weights, start / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"something else stood in .*model\.safetensors"):
        run_rl(rl_settings(model=start, steps=2), run, resume=True)


def test_what_a_kill_left_is_removed_and_the_tracker_is_told_no_step_twice(rl_settings, tmp_path, monkeypatch):
    told, opened, run = [], [], tmp_path / "run"
    tracked = SimpleNamespace(log=lambda numbers, step: told.append(step), finish=lambda: None)
    tracker = SimpleNamespace(init=lambda **words: opened.append(words["id"]) or tracked)
    monkeypatch.setitem(sys.modules, "wandb", tracker)
    run_rl(rl_settings(steps=2, tracker="wandb"), run)
    (run / "checkpoints" / "step-000002").rename(run / "checkpoints" / "step-000002.part")  # killed before it was whole
    (run / "checkpoints" / "step-000000.part").mkdir()  # killed while it was removed
    run_rl(rl_settings(steps=3, tracker="wandb"), run, resume=True)
    assert _checkpoints(run) == ["step-000002", "step-000003"]
    assert told == [1, 2, 3]
    assert opened == opened[:1] * 2


def test_damaged_metrics_are_told_and_nothing_is_written(rl_settings, tmp_path):
    run = tmp_path / "run"
    run_rl(rl_settings(steps=2), run)
    damaged = b'{"step": 1, "x"\n' + (run / "metrics.jsonl").read_bytes().split(b"\n", 1)[1]
    (run / "metrics.jsonl").write_bytes(damaged)
    before = (run / "settings.json").read_bytes()
    with pytest.raises(RecordError, match=r"metrics\.jsonl line 1"):
        run_rl(rl_settings(steps=3), run, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == damaged and (run / "settings.json").read_bytes() == before


def _with_gradients(do):
    """A hook of torch for every module, which does something while the model learns, not while it samples."""
    return lambda module, *rest: do(*rest) if torch.is_grad_enabled() else None


def test_memory_that_runs_out_in_learning_is_told_with_what_may_be_changed(rl_settings, tmp_path):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has …")

    hook = register_module_forward_pre_hook(_with_gradients(out_of_memory))
    settings = rl_settings(steps=1, micro_tokens=900, dynamic_sampling=False)
    try:
        with pytest.raises(TrainingError, match="step 1: memory ran out in learning: CUDA out of memory") as end:
            run_rl(settings, tmp_path / "run")
    finally:
        hook.remove()
    assert "micro_tokens (it is 900)" in end.value.fix and "gradient_checkpointing = true" in end.value.fix
    less = settings.model_copy(update={"micro_tokens": 100, "gradient_checkpointing": True})
    assert run_rl(less, tmp_path / "run", resume=True).steps == 1


def test_a_gradient_that_is_no_number_is_told_with_what_to_do(rl_settings, tmp_path):
    hook = register_module_forward_hook(
        _with_gradients(lambda given, made: made * float("nan") if isinstance(made, torch.Tensor) else None)
    )
    settings = rl_settings(steps=1, dynamic_sampling=False)
    try:
        with pytest.raises(TrainingError, match="the gradient is nan at update 1") as end:
            run_rl(settings, tmp_path / "run")
    finally:
        hook.remove()
    assert "learning_rate" in end.value.fix
    lower = settings.model_copy(update={"learning_rate": 1e-5})
    assert run_rl(lower, tmp_path / "other").steps == 1
