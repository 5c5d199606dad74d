import json
import sys

import pytest

from foveal.errors import MissingDependency
from foveal.train.tracker import tracking

RECORDER = """
import json
class Run:
    def __init__(self, **words): self.words, self.lines, self.done = words, [], False
    def log(self, numbers, step): self.lines.append([step, numbers])
    def finish(self): self.done = True
runs = []
def init(**words):
    runs.append(Run(**words))
    return runs[-1]
"""


@pytest.fixture
def recorder(tmp_path):
    """The name of a tracker that keeps what it is told."""
    (tmp_path / "recorder.py").write_text(RECORDER, encoding="utf-8")
    sys.path.insert(0, str(tmp_path))
    yield "recorder"
    sys.path.remove(str(tmp_path))
    sys.modules.pop("recorder", None)


def test_a_tracker_gets_the_numbers_of_every_line_and_is_closed(recorder, tmp_path):
    with tracking(recorder, tmp_path / "my_run", {"steps": 2}) as tell:
        tell({"step": 1, "reward/total": 0.5, "alarms": ["cut_short"], "policy/entropy": 1})
        tell({"step": 2, "reward/total": 1.0})
    (run,) = sys.modules["recorder"].runs
    assert run.words == {"project": "foveal", "name": "my_run", "config": {"steps": 2}, "resume": "allow"}
    assert json.loads(json.dumps(run.lines)) == [
        [1, {"reward/total": 0.5, "policy/entropy": 1}],
        [2, {"reward/total": 1.0}],
    ]
    assert run.done


def test_a_run_that_fails_is_closed_too(recorder, tmp_path):
    with pytest.raises(ZeroDivisionError), tracking(recorder, tmp_path, {}):
        raise ZeroDivisionError
    assert sys.modules["recorder"].runs[0].done


def test_a_tracker_that_is_not_installed_is_named(tmp_path):
    with (
        pytest.raises(MissingDependency, match="no_such_tracker is not installed"),
        tracking("no_such_tracker", tmp_path, {}),
    ):
        raise AssertionError
