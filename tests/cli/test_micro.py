import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_an_error_among_many_questions_at_once_is_told_like_any_other(tmp_path):
    start = (str(TESTS / "tools" / "sandbox" / "elsewhere.py"), "no-namespaces")
    program = "import sys; from foveal.cli import main; main(sys.argv[1:])"
    words = ("micro", "sft", str(tmp_path / "run"), "--base", str(tmp_path), "--questions", "10")
    done = subprocess.run(
        [sys.executable, *start, program, *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent / "src")},
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1 and "no isolation for code" in done.stderr and "fix:" in done.stderr


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("command", ["pretrain", "sft"])
def test_a_seed_that_training_cannot_start_from_is_refused_before_any_work(foveal, tmp_path, command, seed):
    done = foveal("micro", command, "run", "--seed", seed)
    assert done.returncode == 2 and "seed" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_base_model_and_its_cold_start_by_command(foveal, tmp_path):
    tiny = ("--scenes", 20, "--vision-steps", 1, "--vision-batch", 2, "--language-steps", 1, "--language-batch", 2)
    done = foveal("micro", "pretrain", "base", *tiny, "--json", "base.json")
    assert done.returncode == 0, done.stderr
    base = json.loads((tmp_path / "base.json").read_text())["checkpoint"]
    assert f"checkpoint: {base}" in done.stdout

    done = foveal("micro", "sft", "sft", "--base", base, "--questions", 5, "--epochs", 1, "--json", "sft.json")
    assert done.returncode == 0, done.stderr
    checkpoint = tmp_path / json.loads((tmp_path / "sft.json").read_text())["checkpoint"]
    assert (checkpoint / "model.safetensors").is_file()

    done = foveal("micro", "pretrain", "base", *tiny)
    assert done.returncode == 2 and "already holds a run" in done.stderr
