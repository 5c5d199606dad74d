import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from foveal.errors import PolicyError
from foveal.policy.tower import Tower
from foveal.policy.transformers import load_model


@pytest.fixture(scope="module")
def tower(tiny_checkpoint):
    return Tower(tiny_checkpoint, device="cpu")


def pictures():
    rng = np.random.default_rng(0)
    sizes = [(60, 40), (30, 90), (200, 120)] * 7  # more than go through at a time
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


def copied(tiny_checkpoint, folder, change):
    """The checkpoint with other weights."""
    shutil.copytree(tiny_checkpoint, folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    return folder


def test_vectors_are_means_of_what_the_whole_model_sees(tiny_checkpoint, tower, policy):
    model, encoder = load_model(tiny_checkpoint, "cpu"), policy.encoder
    expected = []
    for picture in pictures():
        patches = encoder.image(picture)
        with torch.inference_mode():
            seen = model.get_image_features(torch.from_numpy(patches.values), torch.tensor([patches.grid]))
        mean = seen.pooler_output[0].mean(0).numpy()
        expected.append(mean / np.linalg.norm(mean))
    ours = tower.embed(pictures())
    assert ours.shape == (21, tower.size) == (21, 64) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert tower.embed([]).shape == (0, 64)


def test_pictures_of_any_shape_and_mode_are_taken(tower):
    odd = [Image.new("RGB", (900, 2), "red"), Image.new("RGB", (1, 1)), Image.new("RGB", (1, 450), "blue")]
    assert np.isfinite(tower.embed([*odd, Image.new("L", (40, 40), 7)])).all()


def test_name_is_that_of_the_tower_and_its_view_not_of_the_language_model(tiny_checkpoint, tower, tmp_path):
    def other(part):
        return lambda weights: {name: w + 1 if part in name else w for name, w in weights.items()}

    assert Tower(copied(tiny_checkpoint, tmp_path / "rl", other("language_model")), "cpu").name == tower.name
    assert Tower(copied(tiny_checkpoint, tmp_path / "eyes", other("visual.merger")), "cpu").name != tower.name
    nearer = copied(tiny_checkpoint, tmp_path / "view", lambda weights: weights)
    settings = json.loads((nearer / "preprocessor_config.json").read_text())
    settings["size"] = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 4}
    (nearer / "preprocessor_config.json").write_text(json.dumps(settings))
    assert Tower(nearer, "cpu").name != tower.name


def test_released_checkpoints_name_their_weights_in_another_way(tiny_checkpoint, tower, tmp_path):
    def released(weights):
        return {name.replace("model.visual", "visual").replace("language_model.", ""): w for name, w in weights.items()}

    same = Tower(copied(tiny_checkpoint, tmp_path / "released", released), "cpu")
    assert same.name == tower.name
    assert (same.embed(pictures()[:2]) == tower.embed(pictures()[:2])).all()


def test_half_precision_is_computed_in_full_on_a_cpu(tiny_checkpoint, tower, tmp_path):
    half = copied(tiny_checkpoint, tmp_path / "half", lambda ws: {name: w.to(torch.bfloat16) for name, w in ws.items()})
    assert np.abs(Tower(half, "cpu").embed(pictures()[:3]) - tower.embed(pictures()[:3])).max() < 0.02


def test_the_older_family_has_a_tower_too(tiny_checkpoint, tmp_path):
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    folder = tmp_path / "older"
    shutil.copytree(tiny_checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 4, "mlp_ratio": 2, "patch_size": 14}
    text = {key: value for key, value in config["text_config"].items() if key not in ("model_type", "layer_types")}
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision)).eval()
    model.save_pretrained(folder)
    older = Tower(folder, "cpu")
    patches = older._encoder.image(pictures()[0])
    with torch.inference_mode():
        seen = model.get_image_features(torch.from_numpy(patches.values), torch.tensor([patches.grid])).pooler_output[0]
    mean = seen.mean(0).numpy()
    np.testing.assert_allclose(older.embed(pictures()[:1])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_nothing_is_reported_of_what_is_left_out(tiny_checkpoint, capfd):
    Tower(tiny_checkpoint, "cpu")
    assert capfd.readouterr() == ("", "")


def test_folders_without_a_tower_are_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(PolicyError, match="no preprocessor_config"):
        Tower(tmp_path)
    lacking = copied(
        tiny_checkpoint, tmp_path / "lacking", lambda ws: {name: w for name, w in ws.items() if "merger" not in name}
    )
    with pytest.raises(PolicyError, match="lacks 5 weights of its vision tower") as caught:
        Tower(lacking, "cpu")
    assert "copy every file" in caught.value.fix
    torn = tmp_path / "torn"
    shutil.copytree(tiny_checkpoint, torn)
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(PolicyError, match="cannot be loaded"):
        Tower(torn, "cpu")
    (torn / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(PolicyError, match="is a bert"):
        Tower(torn, "cpu")
