import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from foveal.records import RunWriter, read_run
from foveal.trajectory import Question, StopReason, Trajectory, Turn

GOLD = {"1": ("Lima", "lima."), "2": ("Lima", "Rome"), "3": ("7", "8"), "4": ("Lima", "city of Lima")}


@pytest.fixture
def run(tmp_path):
    """A run of four answers: right by rule, for the judge, wrong by rule, for the judge."""
    with RunWriter(tmp_path / "run") as writer:
        for name, (gold, answer) in GOLD.items():
            question = Question(id=name, text="?", gold=(gold,), family="search" if name < "3" else None)
            turn = Turn(text=f"<think>so</think><answer>{answer}</answer>")
            record = Trajectory(
                id=name, question=question, policy="p", profile="foveal", turns=(turn,), answer=answer,
                stop_reason=StopReason.ANSWERED, settings={"seed": 3},
            )  # fmt: skip
            writer.write(record)
    return tmp_path / "run"


def rewards(run: Path) -> list[float | None]:
    return [trajectory.reward.get("accuracy") for trajectory in read_run(run).trajectories]


def test_rules_alone_score_a_run_without_any_model(process, run, tmp_path):
    done = process("score", "run", "--preset", "official", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    out = json.loads((tmp_path / "out.json").read_text())
    assert (out["n"], out["scored"], out["unscored"], out["accuracy"]) == (4, 4, 0, 0.25)
    assert out["low"] < 0.25 < out["high"]
    assert (out["part.format"], out["part.total"]) == (1.0, pytest.approx(0.8 / 4 + 0.2))
    assert (out["family.search.n"], out["family.search.accuracy"]) == (2, 0.5)
    assert (out["by.exact"], out["by.number"], out["by.none"]) == (1, 1, 2)
    assert out["written"] is True and out["unreadable"] == 0
    assert json.loads(out["settings"])["weights"]["format"] == 0.2
    assert rewards(run) == [1.0, 0.0, 0.0, 0.0]
    first = read_run(run).trajectories[0]
    assert first.settings["seed"] == 3 and first.settings["reward"]["preset"] == "official"


def test_a_judge_that_is_down_loses_nothing_and_is_finished_later(foveal, run, endpoint, nowhere, tmp_path):
    judge = ["--judge.url", nowhere, "--judge.model", "j", "--judge.max-retries", "0"]
    done = foveal("score", "run", *judge, "--json", "out.json")
    assert done.returncode == 1
    assert "2 unscored: the judge failed" in done.stdout and "run this command again" in done.stdout
    out = json.loads((tmp_path / "out.json").read_text())
    assert (out["scored"], out["unscored"], out["accuracy"]) == (2, 2, 0.5)
    assert rewards(run) == [1.0, None, 0.0, None]
    assert [t.unscored is None for t in read_run(run).trajectories] == [True, False, True, False]

    server = endpoint(["Verdict: correct", "Verdict: wrong"])
    done = foveal("score", "run", "--judge.url", server.url, "--judge.model", "j", env={"FOVEAL_JUDGE_API_KEY": "k"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(rewards(run)) == [0.0, 0.0, 1.0, 1.0] and len(server.requests) == 2
    assert server.keys == ["Bearer k"] * 2
    assert all(t.unscored is None for t in read_run(run).trajectories)

    before = rewards(run)
    done = foveal("score", "run")  # with the settings on the record, and the verdicts of the run
    assert done.returncode == 0, done.stdout + done.stderr
    assert rewards(run) == before and len(server.requests) == 2


def test_scores_that_are_there_are_kept_when_the_judge_fails(foveal, run, nowhere, tmp_path):
    assert foveal("score", "run").returncode == 0
    before = (run / "trajectories.jsonl").read_bytes()
    judge = ["--judge.url", nowhere, "--judge.model", "j", "--judge.max-retries", "0"]
    done = foveal("score", "run", *judge, "--json", "out.json")
    assert done.returncode == 1 and "the old rewards are kept" in done.stdout
    assert (run / "trajectories.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "out.json").read_text())["written"] is False


def test_verdicts_of_a_scoring_that_failed_halfway_are_kept(foveal, run, endpoint):
    server = endpoint(["Verdict: correct"])  # and then HTTP 400
    done = foveal("score", "run", "--judge.url", server.url, "--judge.model", "j")
    assert done.returncode == 1
    with sqlite3.connect(run / "verdicts.sqlite") as connection:
        assert connection.execute("select count(*) from verdicts").fetchone() == (1,)
    connection.close()
    assert sorted(map(str, rewards(run))) == ["0.0", "1.0", "1.0", "None"]


def test_verdicts_beside_the_ledger_that_runs_share_are_found(foveal, run, endpoint, tmp_path):
    server = endpoint(["Verdict: correct"] * 4)
    judge = ("--judge.url", server.url, "--judge.model", "j")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trajectories.jsonl").write_bytes((run / "trajectories.jsonl").read_bytes())
    (tmp_path / "ledger.sqlite").touch()
    for name in ("run", "other"):
        assert foveal("score", name, *judge).returncode == 0
    assert len(server.requests) == 2 and (tmp_path / "verdicts.sqlite").exists()
    assert not (run / "verdicts.sqlite").exists()


def test_a_long_run_is_not_held_in_memory(foveal, run):
    file = run / "trajectories.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("".join(line.replace("<think>so", "<think>" + "so " * 30_000) + "\n" for line in lines * 100))
    size = file.stat().st_size
    tracemalloc.start()
    try:
        done = foveal("score", "run")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.returncode == 0 and most < 0.8 * size, (most, size)
    assert rewards(run) == [1.0, 0.0, 0.0, 0.0] * 100


def test_a_scoring_that_is_killed_changes_nothing(foveal, run):
    assert foveal("score", "run").returncode == 0
    before = (run / "trajectories.jsonl").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes a request and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        words = ["score", "run", "--preset", "official", "--judge.url", url, "--judge.model", "j"]
        program = [sys.executable, "-c", "from foveal.cli import main; main()", *words]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
        scoring = subprocess.Popen(program, cwd=run.parent, env=env, stdout=subprocess.DEVNULL)
        try:
            silent.settimeout(60)
            silent.accept()[0].close()
            refused = foveal("score", "run")
            assert refused.returncode == 2 and "another process is writing" in refused.stderr
        finally:
            scoring.send_signal(signal.SIGKILL)
            scoring.wait()
    assert (run / "trajectories.jsonl").read_bytes() == before
    assert foveal("score", "run").returncode == 0


def test_mistakes_are_code_2_and_change_nothing(foveal, run, tmp_path):
    before = (run / "trajectories.jsonl").read_bytes()
    for words, said in [
        (["nowhere"], "holds no run"),
        (["run", "--preset", "best"], "preset"),
        (["run", "--weights.speed", "1"], "there is no setting weights.speed"),
        (["run", "--preset"], "--preset has no value"),
        (["run", "--preset", "--rules", "[]"], "--preset has no value"),
        (["run", "paper"], "'paper' is no setting"),
        (["run", "--judge.url", "judge", "--judge.model", "j"], "is no address"),
        (["run", "--json", "no/folder/out.json"], "cannot be written"),
    ]:
        done = foveal("score", *words)
        assert done.returncode == 2 and said in done.stderr, done.stderr
    assert (run / "trajectories.jsonl").read_bytes() == before


def test_unreadable_lines_stay_and_runs_of_two_settings_ask_for_one(foveal, run):
    assert foveal("score", "run").returncode == 0
    file = run / "trajectories.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[0] = lines[0].replace(b'"preset":"paper"', b'"preset":"official"')
    file.write_bytes(b"".join(lines) + b'{"torn')
    done = foveal("score", "run")
    assert done.returncode == 2 and "2 different settings" in done.stderr
    done = foveal("score", "run", "--preset", "paper")
    assert done.returncode == 0 and "1 lines cannot be read" in done.stdout
    assert file.read_bytes().endswith(b'\n{"torn')
