"""The patch projection of a vision tower as one matrix product.

transformers writes it as a convolution whose windows do not overlap, which torch computes many times slower: six times
on a CPU, and on some GPUs and versions thousands of times (transformers issue 45750).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class PatchProjection(nn.Conv3d):
    """A convolution over patches of just its kernel's size. Weights keep their names and shapes."""

    def forward(self, input: Tensor) -> Tensor:
        """(patches, channels, time, height, width) -> (patches, features, 1, 1, 1)."""
        return linear(input.flatten(1), self.weight.flatten(1), self.bias)[:, :, None, None, None]


def project_patches(model: torch.nn.Module) -> None:
    """Turn the patch projections of a model of the Qwen-VL family into matrix products, in place."""
    for module in model.modules():
        if type(module) is nn.Conv3d and module.kernel_size == module.stride and module.groups == 1:
            module.__class__ = PatchProjection
