import shutil

import pytest

from foveal.policy.weights import ENDS, checkpoint_digest


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(5 * ENDS))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("Mine.")
    return folder


def test_a_checkpoint_is_known_by_what_it_holds(checkpoint, tmp_path):
    digest = checkpoint_digest(checkpoint)
    (checkpoint / "README.md").write_text("Yours.")
    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert checkpoint_digest(tmp_path / "elsewhere") == digest


@pytest.mark.parametrize("place", [0, ENDS - 1, 4 * ENDS, 5 * ENDS - 1])
def test_other_weights_are_another_checkpoint(checkpoint, place):
    digest = checkpoint_digest(checkpoint)
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(place)
        file.write(b"\1")
    assert checkpoint_digest(checkpoint) != digest


def test_another_configuration_is_another_checkpoint(checkpoint):
    digest = checkpoint_digest(checkpoint)
    (checkpoint / "config.json").write_text('{"rope_theta": 1}')
    assert checkpoint_digest(checkpoint) != digest
