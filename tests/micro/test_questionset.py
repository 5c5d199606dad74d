import json
from pathlib import Path

import pytest

from foveal.cli import main
from foveal.config import read_settings
from foveal.curate.questions import read_questions
from foveal.errors import InputError
from foveal.micro import world
from foveal.micro.facts import split
from foveal.micro.model import new_model, save
from foveal.micro.questions import sample
from foveal.micro.questionset import write_world
from foveal.policy.encoding import ChatEncoder
from foveal.protocol import load_profile
from foveal.records import read_run
from foveal.train.rl_settings import RlSettings
from foveal.trajectory import ImageStore

RECIPE = Path(__file__).parents[2] / "recipes" / "micro" / "rl.toml"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, "train", 10, 2)
    return folder


def test_the_files_ask_what_the_world_asks(written: Path):
    store, other = ImageStore(), ImageStore()
    read = [question.open(store) for question in read_questions([written / "questions.jsonl"])]
    assert read == [item.question(f"train-2-{n}", other) for n, item in enumerate(sample("train", 10, 2))]
    known = {country.name for country in split("train")}
    assert {question.meta["country"] for question in read} - {None} <= known


def test_the_prompt_is_the_one_that_the_model_was_taught(written: Path):
    profile = load_profile("foveal", written / "system.txt", written / "suffix.txt")
    mine, taught = profile, world.profile(tools=True)
    assert (mine.system_prompt, mine.user_suffix) == (taught.system_prompt, taught.user_suffix)


def test_the_recipe_has_the_budgets_of_the_world():
    settings = read_settings(RlSettings, RECIPE, {})
    assert settings.limits == world.LIMITS
    assert (settings.tools.hits, settings.thumbnails) == (world.NUM_HITS, world.profile(tools=True).thumbnails)


def test_a_world_is_never_overwritten(written: Path):
    with pytest.raises(InputError, match="already holds a world"):
        write_world(written, "test", 5, 0)


def test_the_recipe_runs_on_it_with_every_tool(written: Path, encoder: ChatEncoder, tmp_path: Path):
    save(new_model(encoder, seed=0), encoder, tmp_path / "untrained")
    run = tmp_path / "run"
    files = {"questions": "questions.jsonl", "system-prompt": "system.txt", "user-suffix": "suffix.txt"}
    flags = [f"--{flag}={written / name}" for flag, name in files.items()]
    small = [
        "--steps=1",
        "--updates=1",
        "--prompts=2",
        "--rollouts=2",
        "--sampling-budget=1",
        "--limits.max-turn-tokens=20",
    ]
    words = [f"--tools.search={written / 'index'}", f"--model={tmp_path / 'untrained'}", "--limits.max-turns=2"]
    with pytest.raises(SystemExit) as end:
        main(["rl", "--config", str(RECIPE), "--run", str(run), *flags, *small, *words])
    assert end.value.code == 0
    line = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8"))
    assert (line["groups/all_wrong"], line["updates"]) == (2, 0)
    one = read_run(run / "rollouts" / "step-000001").trajectories[0]
    assert one.settings["tools"]["offered"] == ["code", "search", "image_search"]
    assert one.settings["profile"] == {"name": "foveal", "thumbnails": False}
    assert (run / "model" / "model.safetensors").stat().st_size < 9e6
