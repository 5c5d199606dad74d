import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foveal.errors import ConfigError, InputError
from foveal.policy.cache import Cache
from foveal.policy.transformers import TransformersPolicy
from foveal.records import read_run
from foveal.train.learner import Learner
from foveal.train.rl import run_rl
from foveal.view import render_run

NEVER = "never said"


def _lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _timeless(line):
    return {name: value for name, value in line.items() if not name.startswith("seconds/")}


def _same(one, other):
    """Whether two lines of metrics are equal but for time and rounding."""
    one, other = _timeless(one), _timeless(other)
    return one.keys() == other.keys() and all(
        one[name] == (pytest.approx(value, rel=1e-4, abs=1e-5) if isinstance(value, float) else value)
        for name, value in other.items()
    )


def _weights(folder):
    return load_file(folder / "model.safetensors")


def _caches():
    return [one for one in gc.get_objects() if type(one) is Cache]


def test_learning_has_the_memory_of_the_rollouts_and_each_picture_once(rl_settings, tmp_path, monkeypatch):
    shown, learn, others = [], Learner.learn, _caches()

    def watched(learner, shares):
        caches = [one for one in _caches() if one not in others]
        shown.append((caches, [image for share in shares for sample in share for image in sample.sequence.images]))
        return learn(learner, shares)

    monkeypatch.setattr(Learner, "learn", watched)
    run_rl(rl_settings(steps=1, freeze_vision=False, dynamic_sampling=False), tmp_path / "run")
    ((caches, images),) = shown
    assert caches and not any(cache._keys for cache in caches)
    assert 1 < len({id(image) for image in images}) < len(images)
    assert len({id(image) for image in images}) == len({image.values.tobytes() for image in images})


@pytest.fixture
def unanswerable(cold_started, tmp_path):
    """The questions of `cold_started` with an answer that is never given."""
    lines = (cold_started / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    rows = [{**row, "images": [str(cold_started / name) for name in row["images"]], "gold": NEVER} for row in rows]
    file = tmp_path / "unanswerable.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_model_learns_from_the_reward_of_its_own_answers(rl_settings, tmp_path, cold_started):
    run = tmp_path / "run"
    result = run_rl(rl_settings(steps=10, prompts=4, rollouts=8), run)
    lines = _lines(run)
    accuracy = [line["reward/accuracy"] for line in lines]
    assert statistics.fmean(accuracy[:2]) < 0.7
    assert statistics.fmean(accuracy[-3:]) > 0.85
    assert (result.steps, result.stopped) == (10, None)
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["updates"] for line in lines] == [1] * 10
    # Sampler and trainer speak of the same distribution, pictures and all.
    assert max(line["policy/gap_max"] for line in lines) < 1e-4
    assert all(line["groups/drawn"] >= line["groups/informative"] for line in lines)
    assert TransformersPolicy(result.model).model.dtype == torch.float32
    changed = {
        name
        for name, tensor in _weights(cold_started / "model").items()
        if not tensor.equal(_weights(run / "model")[name])
    }
    assert changed and not any("visual" in name for name in changed)


def test_what_was_sampled_can_be_looked_at(rl_settings, tmp_path):
    told = []
    settings = rl_settings(steps=2, prompts=3, saved_groups=2, dynamic_sampling=False)
    run_rl(settings, tmp_path / "run", on_step=told.append)
    assert told == _lines(tmp_path / "run")
    for step in (1, 2):
        folder = tmp_path / "run" / "rollouts" / f"step-{step:06d}"
        kept = read_run(folder)
        assert len(kept.trajectories) == 2 * 4 and not kept.problems
        assert {trajectory.id for trajectory in kept.trajectories} == {
            f"{step}-{draw}-{n}" for draw in (3 * step - 3, 3 * step - 2) for n in range(4)
        }
        one = kept.trajectories[0]
        assert one.tokens is not None and "total" in one.reward and one.policy.endswith(f"after {step - 1} steps")
        render_run(folder)
        assert (folder / "index.html").exists()


def test_nothing_is_learned_where_nothing_can_be_compared(rl_settings, tmp_path, unanswerable, cold_started, caplog):
    settings = rl_settings(steps=2, questions=unanswerable, sampling_budget=2, weight_decay=0.5)
    run_rl(settings, tmp_path / "run")
    for line in _lines(tmp_path / "run"):
        assert (line["updates"], line["rollouts/trained"]) == (0, 0)
        assert (line["groups/drawn"], line["groups/all_wrong"], line["rollouts/sampled"]) == (4, 4, 16)
    assert "step 2: nothing was learned: 0 of 4 groups have something to compare" in caplog.text
    before, after = _weights(cold_started / "model"), _weights(tmp_path / "run" / "model")
    assert all(before[name].equal(after[name]) for name in before)


def test_without_dynamic_sampling_no_question_is_replaced(rl_settings, tmp_path, unanswerable):
    settings = rl_settings(steps=1, questions=unanswerable, dynamic_sampling=False)
    run_rl(settings, tmp_path / "run")
    (line,) = _lines(tmp_path / "run")
    assert (line["groups/drawn"], line["rollouts/sampled"], line["updates"]) == (2, 8, 1)


def test_what_a_judge_that_is_down_leaves_unscored_is_not_trained_on(rl_settings, nowhere, tmp_path):
    judge = {"url": nowhere, "model": "m", "max_retries": 0}
    run_rl(rl_settings(steps=1, prompts=4, rollouts=8, sampling_budget=1, reward={"judge": judge}), tmp_path / "run")
    (line,) = _lines(tmp_path / "run")
    assert 5 < line["rollouts/unscored"] < 27
    assert line["rollouts/trained"] <= 32 - line["rollouts/unscored"]
    # `red` is right by rule; nobody says whether `blue` is.
    kept = read_run(tmp_path / "run" / "rollouts" / "step-000001").trajectories
    unscored = [one for one in kept if one.unscored]
    assert {one.answer for one in unscored if "judge" in one.unscored} == {"blue"}
    assert {one.settings["group"]["advantage"] for one in unscored} == {0.0}
    assert {one.reward["accuracy"] for one in kept if one.answer == "red"} == {1.0}


def test_trajectories_that_a_limit_ended_are_masked(rl_settings, tmp_path):
    # At 30 tokens some answers are cut; whether one is depends on what is said before.
    short = {"max_turns": 1, "max_turn_tokens": 33, "max_context": 400}
    settings = rl_settings(
        steps=1, prompts=4, rollouts=8, limits=short, informative_by="reward", dynamic_sampling=False
    )
    for mask_cut in (True, False):
        run_rl(settings.model_copy(update={"mask_cut": mask_cut}), tmp_path / str(mask_cut))
    (masked,), (plain,) = _lines(tmp_path / "True"), _lines(tmp_path / "False")
    assert 0 < masked["length/cut"] < 1
    assert masked["rollouts/masked"] == 32 * masked["length/cut"]
    assert masked["rollouts/trained"] + masked["rollouts/masked"] == plain["rollouts/trained"] == 32
    assert masked["policy/tokens"] < plain["policy/tokens"]


def test_an_alarm_ends_the_run_with_a_checkpoint_and_says_why(rl_settings, tmp_path, caplog):
    run = tmp_path / "run"
    sensitive = {"window": 1, "patience": 2}
    short = {"max_turns": 1, "max_turn_tokens": 5, "max_context": 400}
    settings = rl_settings(
        steps=6, save_steps=5, stop_on="cut_short", monitors=sensitive, limits=short, dynamic_sampling=False
    )
    result = run_rl(settings, run)
    assert result.steps == 2
    assert result.stopped.startswith("cut_short: length/cut is 1, above 0.3")
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["stopped"] == result.stopped
    assert [line["alarms"] for line in _lines(run)] == [[], ["cut_short"]]
    assert "step 2: alarm cut_short" in caplog.text
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-000002"]
    TransformersPolicy(run / "model")
    # The alarm still stands for whoever resumes, unless it is no longer to stop the run.
    assert run_rl(settings, run, resume=True) == result.__class__(
        result.model, 2, result.stopped, pytest.approx(0, abs=60)
    )
    assert run_rl(settings.model_copy(update={"stop_on": (), "steps": 3}), run, resume=True).steps == 3


def test_a_resumed_run_needs_the_settings_it_began_with_and_none_is_overwritten(rl_settings, tmp_path):
    run = tmp_path / "run"
    settings = rl_settings(steps=1)
    run_rl(settings, run)
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run"):
        run_rl(settings, run)
    with pytest.raises(ConfigError, match=r"rollouts was 4"):
        run_rl(rl_settings(steps=1, rollouts=8), run, resume=True)
    with pytest.raises(ConfigError, match="no run to resume"):
        run_rl(settings, tmp_path / "other", resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before
    run_rl(rl_settings(steps=2), run, resume=True)
    assert [line["step"] for line in _lines(run)] == [1, 2]


def test_what_cannot_work_is_refused_before_a_model_is_loaded(rl_settings, tmp_path, cold_started):
    for wrong, says in {
        "questions": "question set .*none",
        "model": "no checkpoint folder",
        "system_prompt": "prompt file",
    }.items():
        with pytest.raises((InputError, ConfigError), match=says):
            run_rl(rl_settings(**{wrong: tmp_path / "none"}), tmp_path / "run")
    with pytest.raises(InputError, match="there is no index folder"):
        run_rl(rl_settings(tools={"code": False, "search": tmp_path / "none"}), tmp_path / "run")
    file = tmp_path / "unknown.jsonl"
    file.write_text('{"id": "a", "text": "?", "gold": "1"}\n{"id": "b", "text": "?"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 2: the question has no accepted answers"):
        run_rl(rl_settings(questions=file), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bfloat16_samples_with_a_copy_that_follows_the_weights(rl_settings, tmp_path):
    settings = rl_settings(
        steps=3, dtype="bfloat16", save_dtype="float16", learning_rate=1e-3, loss={"importance": "token"}
    )
    run_rl(settings, tmp_path / "run")
    lines = _lines(tmp_path / "run")
    gaps = [line["policy/gap"] for line in lines]
    assert all(0 < gap < 0.05 for gap in gaps), gaps
    assert {tensor.dtype for tensor in _weights(tmp_path / "run" / "model").values()} == {torch.float16}


def _start(settings, run, folder, *words):
    """`foveal rl` in a process of its own, on one thread."""
    file = folder / "settings.json"
    file.write_text(settings.model_dump_json(), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from foveal.train.rl import run_rl;"
        "from foveal.train.rl_settings import RlSettings;"
        "run_rl(RlSettings.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), len(sys.argv) > 3)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, str(file), str(run), *words], env=env, stderr=subprocess.PIPE, text=True
    )


def _kill_when(process, happened):
    limit = time.monotonic() + 300
    while process.poll() is None and not happened():
        assert time.monotonic() < limit
        time.sleep(0.002)
    assert process.poll() is None, "it ended before it could be killed"
    process.kill()
    process.communicate()


def _finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]


def _assert_same_run(run, whole):
    one, other = _lines(run), _lines(whole)
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert _same(left, right), (left, right)
    for folder in (whole / "rollouts").iterdir():
        sampled = [
            [t.tokens.ids for t in read_run(root / "rollouts" / folder.name).trajectories] for root in (run, whole)
        ]
        assert sampled[0] == sampled[1]
    one, other = _weights(run / "model"), _weights(whole / "model")
    assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-4


@pytest.fixture
def one_thread():
    """As the processes of `_start` have it: how many there are shows in the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_killed_run_goes_on_as_if_it_had_not_been(rl_settings, one_thread, tmp_path):
    settings = rl_settings(steps=6, prompts=3, rollouts=4, save_steps=2, saved_groups=9, updates=2)
    run_rl(settings, tmp_path / "whole")
    run = tmp_path / "run"
    _kill_when(_start(settings, run, tmp_path), lambda: (run / "rollouts" / "step-000004").exists())
    assert not (run / "model").exists()
    run_rl(settings, run, resume=True)
    _assert_same_run(run, tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_comes_to_the_same(rl_settings, tmp_path):
    settings = rl_settings(steps=8, prompts=3, rollouts=6, save_steps=3, saved_groups=9, updates=2)
    _finish(_start(settings, tmp_path / "whole", tmp_path))
    run = tmp_path / "run"
    _kill_when(_start(settings, run, tmp_path), lambda: (run / "settings.json").exists())
    for happened in (
        lambda: (run / "rollouts" / "step-000001" / "trajectories.jsonl").exists(),
        lambda: (run / "checkpoints" / "step-000003.part").exists(),
        lambda: (run / "checkpoints" / "step-000003").exists(),
        lambda: (run / "metrics.jsonl").read_bytes().count(b"\n") == 5,
        lambda: (run / "checkpoints" / "step-000008").exists(),
    ):
        _kill_when(_start(settings, run, tmp_path, "resume"), happened)
    _finish(_start(settings, run, tmp_path, "resume"))
    _assert_same_run(run, tmp_path / "whole")


@pytest.fixture
def in_two_processes(config_file):
    """Runs `foveal rl` in two processes by the command of docs/training.md."""

    def launch(settings, run, *words):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "-m", "--", "foveal.cli", "rl", "--config", config_file(settings), "--run", run, *words],
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    return launch


def test_questions_of_two_processes_never_overlap(rl_settings, tmp_path, in_two_processes):
    settings = rl_settings(steps=4, prompts=4, rollouts=2, sampling_budget=3, saved_groups=99)
    in_two_processes(settings, tmp_path / "two")
    first, unequal = 0, []
    for line in _lines(tmp_path / "two"):
        kept = read_run(tmp_path / "two" / "rollouts" / f"step-{line['step']:06d}").trajectories
        own = len({trajectory.settings["group"]["draw"] for trajectory in kept})
        assert {trajectory.settings["group"]["draw"] for trajectory in kept} == set(range(first, first + 2 * own, 2))
        other = line["groups/drawn"] - own
        unequal.append(other - own)
        first += 2 * max(own, other)
        assert line["draws"] == first
    assert max(unequal) > 0, "in some step the other process had to draw more"


@pytest.mark.slow
def test_two_processes_share_a_run(rl_settings, tmp_path, in_two_processes):
    settings = rl_settings(steps=2, prompts=4, dynamic_sampling=False)
    in_two_processes(settings, tmp_path / "two")
    run_rl(settings, tmp_path / "one")
    kept = read_run(tmp_path / "two" / "rollouts" / "step-000001").trajectories
    assert {trajectory.settings["group"]["draw"] for trajectory in kept} == {0, 2}, "the other process has 1 and 3"
    for two, one in zip(_lines(tmp_path / "two"), _lines(tmp_path / "one"), strict=True):
        assert _same(two, one), (two, one)
    one, two = _weights(tmp_path / "one" / "model"), _weights(tmp_path / "two" / "model")
    apart = torch.cat([(one[name] - two[name]).abs().flatten() for name in one])
    assert apart.quantile(0.99) < 1e-5


@pytest.mark.slow
def test_two_processes_go_on_as_if_they_had_not_been_stopped(rl_settings, tmp_path, in_two_processes):
    settings = rl_settings(steps=4, prompts=4, rollouts=2, sampling_budget=3, save_steps=2, saved_groups=99)
    whole, run = tmp_path / "whole", tmp_path / "run"
    in_two_processes(settings, whole)
    shutil.copytree(whole, run)
    (run / "result.json").unlink()
    for folder in (run / "model", run / "checkpoints" / "step-000004"):
        shutil.rmtree(folder)
    in_two_processes(settings, run, "--resume")
    _assert_same_run(run, whole)
