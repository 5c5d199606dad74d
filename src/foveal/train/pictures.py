"""A frozen vision tower sees every picture once: features in place of patches."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from foveal.policy.encoding import ChatEncoder, Patches
from foveal.trajectory import ImageRef, ImageStore

PATCHES_AT_ONCE = 8192
"""Patches that go through the tower together; a larger picture goes alone."""


def encode(model: Any, encoder: ChatEncoder, pictures: Iterable[tuple[ImageRef, ImageStore]]) -> dict[str, Patches]:
    """Features of pictures by their hash, as `Patches` whose values are (pad tokens, hidden size).

    Args:
        model: Its vision tower.
        encoder: Makes the patches.
        pictures: Each with the store that holds it.
    """
    found: dict[str, Patches] = {}
    waiting: dict[str, Patches] = {}
    for ref, store in pictures:
        if ref.sha256 in found or ref.sha256 in waiting:
            continue
        patches = encoder.patches(ref, store)
        if waiting and sum(len(one.values) for one in waiting.values()) + len(patches.values) > PATCHES_AT_ONCE:
            found |= _features(model, waiting)
            waiting = {}
        waiting[ref.sha256] = patches
    return found | _features(model, waiting) if waiting else found


def _features(model: Any, pictures: dict[str, Patches]) -> dict[str, Patches]:
    pixels = torch.from_numpy(np.concatenate([one.values for one in pictures.values()])).to(model.device)
    grids = torch.tensor([one.grid for one in pictures.values()], device=model.device)
    with torch.inference_mode():
        encoded = model.get_image_features(pixels, grids).pooler_output
    return {
        name: Patches(features.float().cpu().numpy(), one.grid)
        for (name, one), features in zip(pictures.items(), encoded, strict=True)
    }


def with_features(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch whose pictures are features already, as the model takes it."""
    inputs = dict(batch)
    if "pixel_values" in inputs:
        features, _ = inputs.pop("pixel_values"), inputs.pop("image_grid_thw")
        inputs["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=(features,))}  # type: ignore[arg-type]
    return inputs
