import shutil

import pytest

from foveal.policy.weights import STRIDE, WHOLE, checkpoint_digest


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(5 * STRIDE))
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("Mine.")
    return folder


def test_a_checkpoint_is_known_by_what_it_holds(checkpoint, tmp_path):
    digest = checkpoint_digest(checkpoint)
    (checkpoint / "README.md").write_text("Yours.")
    shutil.copytree(checkpoint, tmp_path / "elsewhere")
    assert checkpoint_digest(tmp_path / "elsewhere") == digest


@pytest.mark.parametrize("place", [0, 2 * STRIDE + STRIDE // 2, 5 * STRIDE - 1])
def test_other_weights_are_another_checkpoint(checkpoint, place):
    digest = checkpoint_digest(checkpoint)
    _write(checkpoint / "model.safetensors", place, 1)
    assert checkpoint_digest(checkpoint) != digest


@pytest.mark.parametrize("place", [0, WHOLE // 2 + 12345, WHOLE + 5 * STRIDE])
def test_of_large_weights_another_matrix_anywhere_is_seen(checkpoint, place):
    """Adapters change neither the first tensors of a file (embeddings) nor the last (vision)."""
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.truncate(WHOLE + 6 * STRIDE)
    digest = checkpoint_digest(checkpoint)
    _write(checkpoint / "model.safetensors", place, STRIDE)
    assert checkpoint_digest(checkpoint) != digest


def _write(path, place, size):
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\1" * size)


def test_another_configuration_is_another_checkpoint(checkpoint):
    digest = checkpoint_digest(checkpoint)
    (checkpoint / "config.json").write_text('{"rope_theta": 1}')
    assert checkpoint_digest(checkpoint) != digest
