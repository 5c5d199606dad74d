"""The weights in the repository: what they are for must go on working, whatever is changed around them."""

import asyncio
from pathlib import Path

import pytest

from foveal.micro import CHECKPOINTS, bench, checkpoint_folder
from foveal.micro.questions import sample
from foveal.policy.transformers import TransformersPolicy
from foveal.records import RunWriter
from foveal.tools.session import Tools

MOST_BYTES = 16 * 2**20


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_weights_are_small(name: str):
    assert (checkpoint_folder(name) / "model.safetensors").stat().st_size <= MOST_BYTES


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_nothing_is_written_into_the_folders(name: str):
    beside = [path.name for path in checkpoint_folder(name).iterdir() if path.name != "model.safetensors"]
    assert all((checkpoint_folder(name) / one).is_file() for one in beside), beside
    assert sum((checkpoint_folder(name) / one).stat().st_size for one in beside) < 2**20


@pytest.mark.parametrize("name", CHECKPOINTS[1:])
def test_the_trained_models_answer_held_out_questions_and_their_code_runs(real_tools: Tools, tmp_path: Path, name: str):
    items = [(str(index), item) for index, item in enumerate(sample("test", 15, 100))]
    policy = TransformersPolicy(checkpoint_folder(name))
    with RunWriter(tmp_path) as writer:
        figures = bench.figures(asyncio.run(bench.ask_all(policy, items, real_tools, writer)))
    assert figures["accuracy"] >= 0.5, "chance is below 0.1"
    assert figures["code_error_rate"] <= 0.1
    assert figures["answered"] == 1
