import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from foveal.errors import ConfigError, InputError
from foveal.files import alone
from foveal.micro.coldstart import cold_start
from foveal.micro.model import new_model, save
from foveal.micro.settings import ColdStartSettings
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import load_model
from foveal.records import read_run

TINY = ColdStartSettings(questions=10, worlds=2, epochs=1, batch_size=2, threads=1)


def test_from_the_teacher_to_a_checkpoint_and_again(encoder: ChatEncoder, tmp_path: Path):
    base, run = tmp_path / "base", tmp_path / "run"
    save(new_model(encoder, seed=0), encoder, base)
    said: list[str] = []
    folder = cold_start(TINY, base, run, False, said.append)

    taught = read_run(run / "teacher").trajectories
    assert {t.question.id.split("-")[2] for t in taught} == {"0", "1"}, "both worlds are asked about"
    assert f"teacher: {len(taught)} of 10 trajectories kept" in said
    assert json.loads((run / "training" / "result.json").read_text())["fits"]["whole"] == len(taught) >= 8
    before, after = load_file(base / "model.safetensors"), load_file(folder / "model.safetensors")
    moved = {name.split(".")[1] for name in before if not before[name].equal(after[name])}
    assert moved == {"language_model"}, "vision tower and projector are frozen"
    load_model(folder, "cpu")

    assert cold_start(TINY, base, run, True, said.append) == folder
    assert read_run(run / "teacher").trajectories == taught, "the teacher is not asked again"
    again = load_file(folder / "model.safetensors")
    assert all(again[name].equal(after[name]) for name in after)

    shutil.rmtree(run / "training")
    (run / "training" / "checkpoints").mkdir(parents=True)  # as if killed before the training had begun
    cold_start(TINY, base, run, True, said.append)
    again = load_file(folder / "model.safetensors")
    assert all(again[name].equal(after[name]) for name in after)
    with alone(run), pytest.raises(InputError, match="another process"):
        cold_start(TINY, base, run, True, said.append)

    for changed in ({"questions": 11}, {"worlds": 3}, {"seed": 2}, {"teachers": ("near",)}):
        with pytest.raises(ConfigError, match=r"10 questions of seed 1 in 2 worlds \(near, far\)"):
            cold_start(TINY.model_copy(update=changed), base, run, True, said.append)
    with pytest.raises(ConfigError):  # what the training itself depends on
        cold_start(TINY.model_copy(update={"epochs": 2}), base, run, True, said.append)
