import asyncio
import json
from pathlib import Path

import pytest

from foveal.cli import main
from foveal.errors import ConfigError
from foveal.micro import bench, checkpoint_folder
from foveal.micro.model import new_model, save
from foveal.micro.questions import FAMILIES, sample
from foveal.policy.encoding import ChatEncoder
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter, read_run
from foveal.tools.session import Tools
from foveal.trajectory import Trajectory


def answered(policy: ScriptedPolicy, tools: Tools | None, folder: Path, count: int = 10) -> list[Trajectory]:
    items = [(str(index), item) for index, item in enumerate(sample("test", count, 0))]
    with RunWriter(folder) as writer:
        return asyncio.run(bench.ask_all(policy, items, tools, writer))


def test_figures_of_a_policy_that_always_says_red(tmp_path: Path):
    trajectories = answered(ScriptedPolicy(["<think>.</think>\n<answer>red</answer>"]), None, tmp_path)
    numbers = bench.figures(trajectories)
    right = sum(t.question.gold == ("red",) for t in trajectories)
    assert (numbers["n"], numbers["accuracy"]) == (10, right / 10)
    assert (numbers["calls_per_question"], numbers["answered"], numbers["code_error_rate"]) == (0, 1, 0)
    assert [numbers[f"family.{family}.n"] for family in FAMILIES] == [2] * 5
    assert [t.id for t in read_run(tmp_path).trajectories] and len(read_run(tmp_path).trajectories) == 10


def test_code_errors_and_calls_are_counted(real_tools: Tools, tmp_path: Path):
    turns = [
        "<code>\n```python\n1 / 0\n```\n</code>",
        "<code>\n```python\nprint(1)\n```\n</code>",
        "<answer>1</answer>",
    ]
    numbers = bench.figures(answered(ScriptedPolicy(turns), real_tools, tmp_path, count=5))
    assert numbers["code_error_rate"] == 0.5
    assert numbers["calls_per_question"] == 2


def test_without_tools_a_call_is_refused(tmp_path: Path):
    turns = ["<code>\n```python\nprint(1)\n```\n</code>", "<answer>1</answer>"]
    trajectories = answered(ScriptedPolicy(turns), None, tmp_path, count=2)
    assert all(t.turns[0].observation.error.kind == "unknown_tool" for t in trajectories)


def test_the_command_runs_a_checkpoint_folder_and_writes_the_documented_keys(encoder: ChatEncoder, tmp_path: Path):
    save(new_model(encoder, 0), encoder, tmp_path / "model")
    out = tmp_path / "figures.json"
    with pytest.raises(SystemExit) as ended:
        main(["micro", "bench", "--policy", str(tmp_path / "model"), "--n", "5", "--json", str(out)])
    assert ended.value.code == 0
    numbers = json.loads(out.read_text())
    assert numbers["n"] == 5 and 0 <= numbers["low"] <= numbers["accuracy"] <= numbers["high"] <= 1
    assert {f"family.{family}.accuracy" for family in FAMILIES} < set(numbers)


def test_a_checkpoint_that_is_not_there():
    with pytest.raises(ConfigError, match="no micro checkpoint 'sfd'"):
        checkpoint_folder("sfd")
