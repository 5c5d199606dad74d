import copy
from pathlib import Path

import torch

from foveal.policy.patches import PatchProjection, project_patches
from foveal.policy.transformers import load_model


def test_features_gradients_and_names_are_those_of_the_convolution(tiny_checkpoint: Path):
    tower = load_model(tiny_checkpoint).model.visual.double()
    tower.patch_embed.proj.__class__ = torch.nn.Conv3d
    fast = copy.deepcopy(tower)
    project_patches(fast)
    assert type(fast.patch_embed.proj) is PatchProjection and type(tower.patch_embed.proj) is torch.nn.Conv3d
    assert {name: value.shape for name, value in fast.state_dict().items()} == {
        name: value.shape for name, value in tower.state_dict().items()
    }
    weights = tower.patch_embed.proj.weight
    pixels, grid = torch.randn(2 * 64, weights[0].numel(), dtype=torch.float64), torch.tensor([[1, 8, 8]] * 2)
    features = [one(pixels, grid_thw=grid).pooler_output for one in (tower, fast)]
    torch.testing.assert_close(*features)
    for one in features:
        one.square().sum().backward()
    torch.testing.assert_close(tower.patch_embed.proj.weight.grad, fast.patch_embed.proj.weight.grad)


def test_other_convolutions_stay():
    overlapping = torch.nn.Conv3d(3, 4, 3, stride=1)
    project_patches(overlapping)
    assert type(overlapping) is torch.nn.Conv3d
