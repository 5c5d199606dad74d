import json
import statistics

from foveal.train.rl import run_rl


def _lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_model_learns_from_the_reward_of_its_own_answers(rl_settings, tmp_path):
    settings = rl_settings(steps=12, prompts=4, rollouts=8, sampling_budget=1)
    run_rl(settings, tmp_path / "run")
    accuracy = [line["reward/accuracy"] for line in _lines(tmp_path / "run")]
    assert statistics.fmean(accuracy[:2]) < 0.75
    assert statistics.fmean(accuracy[-2:]) > 0.9
