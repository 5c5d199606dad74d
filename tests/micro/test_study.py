import json
import sqlite3
import tomllib
from pathlib import Path

import pytest

from foveal import __version__
from foveal.errors import ConfigError, InputError
from foveal.micro.model import new_model, save
from foveal.micro.questions import FAMILIES
from foveal.micro.settings import StudySettings
from foveal.micro.study import ARMS, CURVES, rl_settings, run_study, take_over, training_figures
from foveal.micro.studypage import text
from foveal.policy.encoding import ChatEncoder
from foveal.records import read_run
from foveal.train.rl_settings import RlSettings

ROOT = Path(__file__).parents[2]
TINY = StudySettings(
    seeds=1, steps=1, prompts=1, rollouts=2, updates=1, questions=5, held_out=5, taught=5, worlds=1, epochs=1
)


def test_a_whole_study_of_one_step(encoder: ChatEncoder, tmp_path: Path):
    base, run = tmp_path / "base", tmp_path / "study"
    save(new_model(encoder, seed=0), encoder, base)
    figures = run_study(TINY, base, run, jobs=2)
    for name, arm in ARMS.items():
        assert figures[f"{name}.0.n"] == 5
        assert {f"{name}.0.family.{family}.call_rate" for family in FAMILIES} < set(figures)
        assert {f"{name}.0.sampled.family.{family}.code" for family in FAMILIES} < set(figures)
        assert (f"{name}.0.alarms" in figures) == (arm.rl is not None)
        assert figures[f"{name}.0.code"].startswith(__version__)
        for how, temperature in (("held_out", 0.0), ("sampled", 1.0)):
            asked = read_run(run / name / "seed-0" / how).trajectories
            assert {trajectory.question.id for trajectory in asked} == {f"test-0-{index}" for index in range(5)}
            drawn = [trajectory.settings["sampling"] for trajectory in asked]
            assert {one["temperature"] for one in drawn} == {temperature} and len({one["seed"] for one in drawn}) == 5
    began = {name: run / name / "seed-0" / "rl" / "settings.json" for name, arm in ARMS.items() if arm.rl is not None}
    starts = {name: json.loads(file.read_text())["model"] for name, file in began.items()}
    assert {name for name in starts if starts[name] == str(base)} == {"direct", "direct-bonus"}
    assert "foveal micro study" in text(figures, "foveal micro study")

    done = {name: run / name / "seed-0" / "done.json" for name in ARMS}
    before = {name: file.stat().st_mtime_ns for name, file in done.items()}
    done["clip-0.2"].unlink()  # the arm that was interrupted
    assert run_study(TINY, base, run, jobs=1).keys() == figures.keys()
    assert [name for name, file in done.items() if file.stat().st_mtime_ns != before[name]] == ["clip-0.2"]
    more = TINY.model_copy(update={"seeds": 2, "arms": ("base",)})
    found = run_study(more, base, run, jobs=1)
    assert found["base.seeds"] == [0, 1] and found["direct.seeds"] == [0] and not (run / "direct" / "seed-1").exists()
    assert "Seeds so far: base 2, direct 1" in text(found, "foveal micro study")
    with sqlite3.connect(run / "world" / "index" / "pictures.db") as old:
        old.execute("pragma user_version = 1")
    assert run_study(more, base, run, jobs=1) == found, "nothing is left to do"
    with pytest.raises(ConfigError, match=r"cannot go on: .*index version 1"):
        run_study(TINY.model_copy(update={"seeds": 3}), base, run, jobs=1)
    with pytest.raises(ConfigError, match="steps was 1"):
        run_study(TINY.model_copy(update={"steps": 2}), base, run, jobs=1)

    data, elsewhere = tmp_path / "page.json", tmp_path / "elsewhere"
    data.write_text(json.dumps({"command": "foveal micro study", **found}))
    (elsewhere / "base" / "seed-1").mkdir(parents=True)
    (elsewhere / "base" / "seed-1" / "done.json").write_text('{"n": 7}')
    assert "base:1" not in take_over(more, base, elsewhere, data), "what is done here stays"
    assert take_over(more, base, elsewhere, data) == []
    assert run_study(more, base, elsewhere, jobs=1) == {
        **{key: value for key, value in found.items() if not key.startswith("base.1.")},
        "base.1.n": 7,
    }
    with pytest.raises(ConfigError, match=r"settings\.steps is 1 there and 2 here"):
        take_over(TINY.model_copy(update={"steps": 2}), base, tmp_path / "new", data)
    save(new_model(encoder, seed=1), encoder, base)
    with pytest.raises(ConfigError, match="base_sha256 is"):
        take_over(more, base, elsewhere, data)
    data.write_text("[]")
    with pytest.raises(InputError, match="no figures of a study"):
        take_over(more, base, elsewhere, data)


def test_the_arms_can_all_be_named():
    assert StudySettings().arms == tuple(ARMS)


def test_the_arms_differ_in_what_they_say_and_in_nothing_else(tmp_path: Path):
    plain = rl_settings(StudySettings(), ARMS["cold-start-rl"], tmp_path, tmp_path, 0).model_dump()
    changed = {}
    for name, arm in ARMS.items():
        if arm.rl is not None:
            found = rl_settings(StudySettings(), arm, tmp_path, tmp_path, 0).model_dump()
            changed[name] = {key for key in found if found[key] != plain[key]}
    assert changed == {
        "direct": set(),
        "direct-bonus": {"reward"},
        "cold-start-rl": set(),
        "no-dynamic-sampling": {"dynamic_sampling"},
        "clip-0.2": {"loss"},
    }


def test_the_recipe_is_the_arm_of_the_paper():
    recipe = RlSettings.model_validate(tomllib.loads((ROOT / "recipes" / "micro" / "rl.toml").read_text()))
    world, start = Path("runs/micro_world"), Path("src/foveal/micro/checkpoints/sft")
    arm = rl_settings(StudySettings(), ARMS["cold-start-rl"], world, start, 0)
    assert recipe == arm


def test_alarms_are_told_with_their_first_step_and_gaps_stay_gaps():
    lines = [
        {"step": 1, "alarms": [], "rollouts/sampled": 8, "calls/mean": 1.0},
        {"step": 2, "alarms": ["cut_short"], "rollouts/sampled": 16},
        {"step": 3, "alarms": ["cut_short", "crashing_code"], "rollouts/sampled": 8, "calls/mean": 0.5},
    ]
    found = training_figures("".join(json.dumps(line) + "\n" for line in lines))
    assert found["alarms"] == {"cut_short": 2, "crashing_code": 3}
    assert found["trajectories"] == 32
    assert found["curve.calls/mean"] == [1.0, None, 0.5]
    assert {name for name in found if name.startswith("curve.")} == {f"curve.{name}" for name in CURVES}
