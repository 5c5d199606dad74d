"""recipes/micro/curation.py: the pipeline at its smallest, and what its page says."""

import importlib
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from foveal.config import read_settings
from foveal.curate.settings import CurateSettings
from foveal.errors import ConfigError, TrainingError
from foveal.micro import CHECKPOINTS, checkpoint_folder, world
from foveal.micro.questions import FAMILIES
from foveal.records import RunWriter, scan_run
from foveal.trajectory import Question, StopReason, Trajectory

RECIPES = Path(__file__).parents[2] / "recipes" / "micro"


@pytest.fixture
def curation(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(RECIPES)
    return importlib.import_module("curation")


@pytest.fixture
def page(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(RECIPES)
    return importlib.import_module("curation_page")


@pytest.fixture
def shell(curation, tmp_path) -> Iterator[Any]:
    with curation.Shell(tmp_path, 1) as opened:
        yield opened


def test_the_settings_are_those_of_the_world():
    settings = read_settings(CurateSettings, RECIPES / "curation.toml", {})
    limits = settings.limits.model_dump(exclude={"wall_seconds"})
    assert limits == world.LIMITS.model_dump(exclude={"wall_seconds"})
    assert settings.tools.hits == world.NUM_HITS and not settings.prompt.thumbnails
    assert {teacher.policy for teacher in settings.teachers} == {"sft", "rl"}
    assert settings.student is not None and settings.student.policy == "base"


def figures(**models: list[float]) -> dict[str, Any]:
    """Figures of two seeds with 40 questions, of models that are right so often in each."""
    out: dict[str, Any] = {"titles": {name: name.upper() for name in models}, "arms": list(models), "seeds": 2}
    out["settings.questions"] = 20
    for model, shares in models.items():
        for seed, share in enumerate(shares):
            prefix = f"{model}.{seed}."
            out |= {f"{prefix}accuracy": share, f"{prefix}rows": 10, f"{prefix}rows.right": 0.5}
            out |= {
                f"{prefix}rows.available": 12 + seed,
                f"{prefix}rows.shared": 9 - seed,
                f"{prefix}rows.family.search": 10,
            }
            for family in FAMILIES:
                out |= {f"{prefix}family.{family}.n": 8, f"{prefix}family.{family}.accuracy": share}
    for seed in range(2):
        out |= {f"funnel.{seed}.difficulty.rows_in": 20, f"funnel.{seed}.difficulty.rows_out": 16 + seed}
        out |= {f"funnel.{seed}.difficulty.dropped.too easy": 4 - seed, f"funnel.{seed}.sft.train": 10}
        out[f"funnel.{seed}.rl.train"] = 3
        out |= {f"seconds.{seed}.benefit": 5.0, f"seconds.{seed}.a.sft": 7.0, f"seconds.{seed}.b.sft": 1.0}
    return out


def answered(run: Path, found: dict[str, Any], *models: str) -> None:
    """Write answers that are right as often as the figures say."""
    for model in models:
        for seed in range(2):
            with RunWriter(run / f"seed-{seed}" / "held-out" / model, pictures=False) as writer:
                for family, number in itertools.product(FAMILIES, range(8)):
                    name, right = (
                        f"test-{seed}-{family}-{number}",
                        8 * found[f"{model}.{seed}.family.{family}.accuracy"],
                    )
                    writer.write(
                        Trajectory(
                            id=name, question=Question(id=name, text="?", family=family), policy="p", profile="foveal",
                            stop_reason=StopReason.ANSWERED, reward={"accuracy": float(number < right)},
                        )
                    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([0.25, 0.25], [0.5, 0.5], "better (+25.0 points"),
        ([0.5, 0.5], [0.25, 0.25], "**worse** (-25.0 points"),
        ([0.25, 0.25], [0.25, 0.375], "no difference is shown (+6.2 points"),
        (
            [0.125, 0.375],
            [0.875, 0.25],
            "no difference is shown (+31.2 points",
        ),  # large, but one seed points the other way
    ],
)
def test_a_difference_is_shown_or_not(page, tmp_path, first, second, said):
    found = figures(a=first, b=second)
    answered(tmp_path, found, "a", "b")
    against = page.compared(found, tmp_path, "a", "b", FAMILIES)
    assert against["n"] == 80 and against["difference"] == pytest.approx((sum(second) - sum(first)) / 2)
    found |= {f"against.b.a.all.{key}": value for key, value in against.items()}
    (sentence,) = page.sentences(found | page.judged(found), "all")
    assert not list(page.sentences(found, "tools"))
    assert sentence.startswith(f"**B**, against **A**: {said}")


def test_models_are_compared_on_the_questions_that_need_a_tool_too(page, tmp_path):
    found = figures(a=[0.5, 0.5], b=[0.25, 0.25])
    found |= {f"b.{seed}.family.direct.accuracy": 1.0 for seed in range(2)}
    answered(tmp_path, found, "a", "b")
    against = {asked: page.compared(found, tmp_path, "a", "b", families) for asked, families in page.ASKED.items()}
    assert [against[asked]["n"] for asked in ("all", "tools")] == [80, 64]
    assert against["tools"]["difference"] == -0.25 and against["tools"]["seeds"] == [-0.25, -0.25]
    assert against["all"]["difference"] == pytest.approx(-0.1)


@pytest.mark.parametrize(("near", "said"), [(0.5, "better"), (0.25, "no difference is shown")])
def test_a_difference_has_to_be_larger_than_that_of_an_arm_with_nearly_the_same_rows(page, tmp_path, near, said):
    found = figures(whole=[1.0, 1.0], near=[near, near], other=[0.375, 0.375])
    found |= {f"near.{seed}.rows.shared": 10 for seed in range(2)}
    answered(tmp_path, found, "whole", "near", "other")
    for first in ("near", "other"):
        against = page.compared(found, tmp_path, first, "whole", FAMILIES)
        found |= {f"against.whole.{first}.all.{key}": value for key, value in against.items()}
    found |= page.judged(found)
    chance, of_other = page.sentences(found, "all")
    assert (
        "nearly the same rows, so this is what chance makes" in chance
        and found["against.whole.near.all.shown"] is False
    )
    assert f"**OTHER**: {said} (+62.5 points" in of_other


def test_arms_with_the_same_rows_are_one_model(page, tmp_path):
    found = figures(a=[0.25, 0.5], b=[0.25, 0.5]) | {f"b.{seed}.same_as": "a" for seed in range(2)}
    answered(tmp_path, found, "a")
    against = page.compared(found, tmp_path, "a", "b", FAMILIES)
    assert (against["same"], against["difference"]) == (2, 0)
    found |= {f"against.b.a.tools.{key}": value for key, value in against.items()}
    (sentence,) = page.sentences(found | page.judged(found), "tools")
    assert "the same rows in every seed" in sentence


def test_an_empty_window_is_told(page):
    found = figures(a=[0.25, 0.5])
    assert list(page.sentences(found, "all")) == []
    (sentence,) = page.sentences(found | {"funnel.1.rl.train": 0}, "all")
    assert sentence.startswith("**No reinforcement learning**") and "(seed 1)" in sentence


def test_the_page_has_every_figure(page, tmp_path):
    found = figures(a=[0.25, 0.5], b=[0.5, 0.5])
    written = page.write_page(found, "python x.py", tmp_path).read_text()
    assert "| A | **37.5 %** | 27.7 - 48.5 % | 25.0, 50.0 | 37.5 |" in written
    assert "| difficulty: **out** | 16 | 17 |" in written and "| - too easy | 4 | 3 |" in written
    assert "| A | 12, 13 | 10, 10 | 9, 8 | 50 % | 0 | 0 | 20 | 0 | 0 |" in written
    assert "| sft | 16 |" in written and "| **all** | **26** |" in written
    assert json.loads((tmp_path / "curation.json").read_text())["command"] == "python x.py"
    assert (tmp_path / "curation.svg").read_text().startswith("<?xml")


def test_a_command_runs_until_it_has_succeeded_once(shell, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"q": "Which?", "a": "1"}\n')
    config = tmp_path / "c.toml"
    flags = {"config": config, "folder": "curation"}
    with pytest.raises(TrainingError, match="ended with code 2"):
        shell.once("add", "curate add", **flags)
    assert "error" in (tmp_path / "log.txt").read_text()
    config.write_text('[[sources]]\nname = "s"\npath = "q.jsonl"\ncolumns = { question = "q", answer = "a" }\n')
    first = shell.once("add", "curate add", **flags, skip=("check", "window"))
    assert first["rows_out"] == 1
    config.unlink()
    assert shell.once("add", "curate add", **flags) == first


def test_nobody_works_in_a_folder_where_a_command_of_a_killed_script_still_does(curation, tmp_path):
    shell = curation.Shell(tmp_path, 1)
    with pytest.raises(ConfigError, match="is in use"):
        curation.Shell(tmp_path, 1)
    left = subprocess.Popen(["sleep", "30"], pass_fds=(shell._lock.fileno(),))
    shell._lock.close()  # as the end of its process does
    with pytest.raises(ConfigError, match="is in use"):
        curation.Shell(tmp_path, 1)
    left.kill()
    left.wait()
    with curation.Shell(tmp_path, 1):
        pass


def test_an_arm_has_verdicts_of_its_own_and_the_answers_of_all(curation, shell, tmp_path):
    (tmp_path / "curation" / "verdicts").mkdir(parents=True)
    (tmp_path / "curation" / "verdicts" / "check.jsonl").write_text("1")
    (tmp_path / "curation" / "questions.jsonl").write_text("2")
    (tmp_path / "arms" / "full.part").mkdir(parents=True)  # of a killed session
    seed = curation.Seed(curation.QUICK, 0, shell)
    folder = tmp_path / seed.arm("full")
    (folder / "verdicts" / "check.jsonl").write_text("3")
    assert tmp_path / seed.arm("full") == folder, "made once"
    assert (folder / "verdicts" / "check.jsonl").read_text() == "3"
    assert (tmp_path / "curation" / "verdicts" / "check.jsonl").read_text() == "1"
    assert (folder / "questions.jsonl").is_symlink() and (folder / "questions.jsonl").read_text() == "2"


def test_a_folder_of_other_sizes_is_refused(curation, tmp_path):
    (tmp_path / "settings.json").write_text(curation.QUICK.model_dump_json())
    with pytest.raises(ConfigError, match="samples was 2"):
        curation.run_all(curation.QUICK.model_copy(update={"samples": 3, "seeds": 2}), tmp_path, 1)


def test_a_mistake_ends_it_with_code_2_before_any_work(tmp_path):
    command = [sys.executable, str(RECIPES / "curation.py"), str(tmp_path / "run"), "--quick", "--seeds", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "--quick has sizes of its own" in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()


SMALLEST = (
    *("--seeds", "1", "--questions", "20", "--samples", "2", "--rows", "8", "--epochs", "1"),
    *("--steps", "1", "--prompts", "4", "--rollouts", "2", "--lowest", "0", "--held-out", "5"),
)


@pytest.mark.slow
def test_the_whole_pipeline_at_its_smallest(curation, tmp_path):
    run, command = tmp_path / "run", [sys.executable, str(RECIPES / "curation.py"), str(tmp_path / "run"), *SMALLEST]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    log = run / "seed-0" / "log.txt"
    assert all(file.is_file() for name in CHECKPOINTS for file in checkpoint_folder(name).iterdir()), "only read"
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + log.read_text()[-3000:]
    found = json.loads((run / "page" / "curation.json").read_text())
    rows = {arm: found[f"{arm}.0.rows"] for arm in curation.ARMS}
    available = {arm: found[f"{arm}.0.rows.available"] for arm in curation.ARMS}
    shared = {arm: found[f"{arm}.0.rows.shared"] for arm in curation.ARMS}
    assert shared["full"] == 8 > shared["unfiltered"] and max(shared.values()) == 8
    assert set(rows.values()) == {8} and min(available.values()) >= 8 and available["unfiltered"] == 20
    assert all(found[f"{arm}.0.rows.right"] == 1 for arm, one in curation.ARMS.items() if "verify" not in one.skip)
    assert all(found[f"{model}.0.n"] == 5 for model in curation.TITLES)
    sets = [run / "seed-0" / "arms" / arm / "rl" / "train.jsonl" for arm in ("full", "unfiltered")]
    asked = [{json.loads(line)["id"] for line in file.read_text().splitlines()} for file in sets]
    assert len(asked[0]) == len(asked[1]) > 0
    for arm, names in zip(("full", "unfiltered"), asked, strict=True):
        learned = {one.question.id for one in scan_run(run / "seed-0" / "arms" / arm / "sft" / "train")}
        assert len(learned) == 8 and not learned & names

    shutil.rmtree(run / "page")
    (run / "seed-0" / "figures" / "full-rl.bench.json").unlink()  # killed in it
    said = log.read_text()
    assert subprocess.run(command, capture_output=True, text=True, timeout=3600).returncode == 0
    again = [line for line in log.read_text().removeprefix(said).splitlines() if line.startswith("$ ")]
    assert len(again) == 1 and "micro bench" in again[0]
    timed = ("seconds_per_question", "wall_seconds", "seconds.")
    same = {key: value for key, value in found.items() if not any(word in key for word in timed)}
    assert same.items() <= json.loads((run / "page" / "curation.json").read_text()).items()
