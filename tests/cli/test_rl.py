import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from foveal.cli import main

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def config(tmp_path, tiny_checkpoint):
    """A TOML file over two questions, in a folder of their own with a picture."""
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("RGB", (56, 56), "red").save(folder / "red.png")
    lines = [
        {"id": "a", "text": "Which?", "images": ["red.png"], "gold": "red", "family": "direct"},
        {"id": "b", "text": "How many?", "gold": ["1"], "family": "count"},
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    file = tmp_path / "rl.toml"
    file.write_text(
        f'model = "{tiny_checkpoint}"\nquestions = "{folder / "questions.jsonl"}"\nsteps = 7\nprompts = 2\n'
        "rollouts = 2\n[tools]\ncode = false\n[limits]\nmax_turns = 1\nmax_turn_tokens = 8\nmax_context = 800\n"
    )
    return file


def _run(*words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code


def test_it_trains_with_dotted_flags_over_the_file_and_stops_on_an_alarm_with_code_0(config, tmp_path, capsys):
    out, run = tmp_path / "out.json", tmp_path / "run"
    flags = ["--limits.max-turn-tokens", 4, "--monitors.window=1", "--monitors.patience=1", "--stop-on", "cut_short"]
    assert _run("rl", "--config", config, "--run", run, "--json", out, *flags) == 0
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert (figures["steps"], figures["model"]) == (1, str(run / "model"))
    assert figures["stopped"].startswith("cut_short: ")
    shown = capsys.readouterr().out.replace("\n", " ")
    assert "stopped by cut_short: length/cut is 1" in shown and "run/model" in shown
    saved = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    assert (saved["limits"]["max_turn_tokens"], saved["loss"]["clip_high"], saved["prompts"]) == (4, 0.3, 2)
    assert _run("rl", "--config", config, "--run", run, *flags) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(config, tmp_path, capsys):
    out = tmp_path / "out.json"
    words = [
        "rl",
        "--config",
        config,
        "--run",
        tmp_path / "run",
        "--dry-run",
        "--json",
        out,
        "--reward.preset=official",
    ]
    assert _run(*words) == 0
    shown = capsys.readouterr().out
    assert "2 questions with 1 pictures" in shown
    assert "7 steps of 2 x 2 = 4 trajectories" in shown
    assert '"search_penalty": 0.08' in shown
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert (figures["questions"], figures["family.count"], figures["trajectories"]) == (2, 1, 4)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--reward.judge.url", "judge.example", "--reward.judge.model", "m"], "'judge.example' is no address"),
        (["--tracker", "wandb"], "the package wandb is not installed"),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_what_the_run_would_be_refused_for_the_dry_run_is_too_and_no_run_is_begun(
    config, tmp_path, capsys, monkeypatch, flags, says, dry
):
    monkeypatch.setitem(sys.modules, "wandb", None)  # it may be installed here
    run = tmp_path / "run"
    assert _run("rl", "--config", config, "--run", run, *dry, *flags) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert not (run / "settings.json").exists()
    assert not (dry and run.exists())


def test_a_dry_run_tries_the_files_of_a_run_that_is_there_and_changes_none(config, tmp_path, capsys):
    run, judge = tmp_path / "run", ["--reward.judge.url", "http://127.0.0.1:9/v1", "--reward.judge.model", "m"]
    dry = ["rl", "--config", config, "--run", run, "--dry-run", *judge]
    cache = tmp_path / "cache.sqlite"
    assert _run(*dry, "--reward.judge.cache", cache) == 0
    assert not run.exists() and not cache.exists()
    cache.write_text("a diary " * 99)
    assert _run(*dry, "--reward.judge.cache", cache) == 2
    assert "cache.sqlite cannot keep verdicts" in capsys.readouterr().err.replace("\n", " ")
    run.mkdir()
    (run / "settings.json").write_text("{}")
    assert _run(*dry) == 2
    assert "already holds a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--limits.turns", "3"], "there is no setting limits.turns"),
        (["--stop-on", "boredom"], "stop_on"),
        (["--updates", "3"], "updates = 3 shares"),
        (["--temperature", "0"], "temperature"),
        (["--profile", "deepeyes-v2"], "system_prompt"),
        (["--tools.search", "nowhere"], "no index folder nowhere"),
        (["steps", "3"], "is no setting"),
    ],
)
def test_wrong_settings_end_with_code_2_and_say_which(config, tmp_path, capsys, flags, says):
    assert _run("rl", "--config", config, "--run", tmp_path / "run", *flags) == 2
    assert says in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["micro", "paper_7b"])
def test_the_recipes_are_settings(recipe):
    from foveal.config import read_settings
    from foveal.train.rl_settings import RlSettings

    settings = read_settings(RlSettings, RECIPES / recipe / "rl.toml", {})
    assert settings.loss.clip_high == 0.3 and settings.freeze_vision
    if recipe == "paper_7b":
        assert (settings.prompts, settings.rollouts, settings.learning_rate, settings.loss.kl) == (256, 16, 1e-6, 0)


def test_a_wrong_setting_costs_no_torch(config, tmp_path):
    program = (
        "import sys\nfrom foveal.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n"
        "    assert end.code == 2 and 'torch' not in sys.modules, end.code\n"
    )
    words = ["rl", "--config", str(config), "--run", str(tmp_path / "run"), "--model", str(tmp_path), "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
