import importlib
import json
import sys

import pytest

from foveal.errors import ConfigError, MissingDependency
from foveal.train.tracker import tracker_module, tracking

RECORDER = """
class Run:
    def __init__(self, **words): self.words, self.lines, self.done = words, [], False
    def log(self, numbers, step): self.lines.append([step, numbers])
    def finish(self): self.done = True
runs = []
def init({signature}):
    if name.startswith("stranger"): raise RuntimeError("not logged in")
    runs.append(Run(**locals()))
    return runs[-1]
"""
SIGNATURES = {"trackio": "project, name, config, resume", "wandb": "project, name, config, resume, id"}


@pytest.fixture
def recorder(tmp_path):
    """Puts a package in place of a tracker that keeps what it is told, and takes the words that the tracker takes."""

    def make(tracker):
        text = RECORDER.replace("{signature}", SIGNATURES[tracker])
        (tmp_path / "packages" / f"{tracker}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        return tracker_module(tracker)

    (tmp_path / "packages").mkdir()
    sys.path.insert(0, str(tmp_path / "packages"))
    yield make
    sys.path.remove(str(tmp_path / "packages"))
    for tracker in SIGNATURES:
        sys.modules.pop(tracker, None)


@pytest.fixture
def run(tmp_path):
    """The folder of a run."""
    (tmp_path / "my_run").mkdir()
    return tmp_path / "my_run"


@pytest.mark.parametrize("tracker", SIGNATURES)
def test_a_tracker_gets_the_numbers_of_every_line_and_is_closed(recorder, run, tracker):
    module = recorder(tracker)
    with tracking(tracker, run, {"steps": 2}) as tell:
        tell({"step": 1, "reward/total": 0.5, "alarms": ["cut_short"], "policy/entropy": 1})
        tell({"step": 2, "reward/total": 1.0})
    (told,) = module.runs
    known = json.loads((run / f"{tracker}.json").read_text(encoding="utf-8"))
    own = {"id": known["id"]} if tracker == "wandb" else {}
    assert told.words == {
        "project": "foveal", "name": f"my_run-{known['id']}", "config": {"steps": 2}, "resume": "allow", **own
    }  # fmt: skip
    assert told.lines == [[1, {"reward/total": 0.5, "policy/entropy": 1}], [2, {"reward/total": 1.0}]]
    assert told.done


@pytest.mark.parametrize("tracker", SIGNATURES)
def test_a_resumed_run_is_the_same_run_there_and_tells_no_step_twice(recorder, run, tracker):
    module = recorder(tracker)
    with tracking(tracker, run, {}) as tell:
        for step in (1, 2, 3):
            tell({"step": step, "a": 0.5})
    with tracking(tracker, run, {}) as tell:  # from the checkpoint behind step 1
        for step in (2, 3, 4):
            tell({"step": step, "a": 0.5})
    first, second = module.runs
    assert first.words == second.words
    assert [step for step, _ in first.lines + second.lines] == [1, 2, 3, 4]


def test_two_runs_whose_folders_have_the_same_name_are_two_runs_there(recorder, tmp_path):
    module = recorder("trackio")
    for parent in ("a", "b"):
        (tmp_path / parent / "rl").mkdir(parents=True)
        with tracking("trackio", tmp_path / parent / "rl", {}):
            pass
    assert len({told.words["name"] for told in module.runs}) == 2


def test_a_run_that_fails_is_closed_too(recorder, run):
    module = recorder("trackio")
    with pytest.raises(ZeroDivisionError), tracking("trackio", run, {}):
        raise ZeroDivisionError
    assert module.runs[0].done


def test_a_tracker_that_is_not_installed_or_refuses_is_named(recorder, run):
    with (
        pytest.raises(MissingDependency, match="no_such_tracker is not installed"),
        tracking("no_such_tracker", run, {}),
    ):
        raise AssertionError
    recorder("wandb")
    stranger = run.rename(run.with_name("stranger"))
    with pytest.raises(ConfigError, match="wandb cannot be used: not logged in"), tracking("wandb", stranger, {}):
        raise AssertionError
