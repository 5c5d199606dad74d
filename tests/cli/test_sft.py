import json
import math
import subprocess
import sys

import pytest

from foveal.cli import main
from foveal.records import RunWriter
from foveal.trajectory import Message, Question, StopReason, TextPart, Trajectory, Turn


@pytest.fixture
def config(tmp_path, tiny_checkpoint):
    """A TOML file over two trajectories of text."""
    with RunWriter(tmp_path / "data") as writer:
        for number in range(2):
            writer.write(
                Trajectory(
                    id=f"t{number}",
                    question=Question(id="q", text="?"),
                    policy="teacher",
                    profile="foveal",
                    prompt=(Message(role="user", parts=(TextPart(text="colour?"),)),),
                    turns=(Turn(text="<answer>red</answer>"),),
                    stop_reason=StopReason.ANSWERED,
                )
            )
    file = tmp_path / "sft.toml"
    file.write_text(f'model = "{tiny_checkpoint}"\ndata = ["{tmp_path / "data"}"]\nbatch_size = 2\nepochs = 7\n')
    return file


def _run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def test_it_trains_with_flags_over_the_file_and_writes_flat_figures(config, tmp_path, capsys):
    out = tmp_path / "out.json"
    code = _run("sft", "--config", config, "--run", tmp_path / "run", "--epochs", 2, "--micro-batch=2", "--json", out)
    assert code == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert (figures["steps"], figures["fits.whole"], figures["model"]) == (2, 2, str(tmp_path / "run" / "model"))
    assert math.isfinite(figures["loss"])  # two steps are fewer than log_steps
    saved = json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8"))
    assert (saved["epochs"], saved["micro_batch"], saved["batch_size"]) == (2, 2, 2)
    assert "run/model" in capsys.readouterr().out.replace("\n", "")
    assert _run("sft", "--config", config, "--run", tmp_path / "run", "--epochs", 2, "--micro-batch=2") == 2
    assert "--resume" in capsys.readouterr().err


def test_a_dry_run_counts_and_leaves_nothing(config, tmp_path, capsys):
    assert _run("sft", "--config", config, "--run", tmp_path / "run", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "2 trajectories whole" in shown
    assert "7 steps of 2 sequences" in shown
    assert not (tmp_path / "run").exists()
    assert _run("sft", "--config", config, "--run", tmp_path / "run", "--dry-run", "--resume") == 2
    assert "no run to resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--learning-rat", "1"], "there is no setting learning_rat"),
        (["--learning-rate", "fast"], "learning_rate"),
        (["--dtype", "float8"], "bfloat16"),
        (["--epochs", "0"], "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_told(config, tmp_path, capsys, words, told):
    assert _run("sft", "--config", config, "--run", tmp_path / "run", *words) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_a_wrong_setting_costs_no_torch(config, tmp_path):
    program = (
        "import sys\nfrom foveal.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    assert end.code == 2 and not {'torch', 'transformers'} & sys.modules.keys(), end.code\n"
    )
    words = ["sft", "--config", str(config), "--run", str(tmp_path / "run"), "--epochs", "0"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0 and "greater than or equal to 1" in done.stderr, done.stderr
