"""A policy over the tiny checkpoint, and pictures."""

import numpy as np
import pytest
from PIL import Image

from foveal.trajectory import ImagePart, ImageStore, Message, TextPart


@pytest.fixture(scope="session")
def policy(tiny_checkpoint):
    from foveal.policy.transformers import TransformersPolicy

    return TransformersPolicy(tiny_checkpoint, device="cpu")


@pytest.fixture
def store() -> ImageStore:
    return ImageStore()


@pytest.fixture
def picture(store):
    """A noise picture of a size and a seed, put into the store."""

    def make(width: int, height: int, seed: int = 0):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return store.put(Image.fromarray(pixels))

    return make


@pytest.fixture
def message():
    """A message of texts and pictures."""

    def make(role: str, *parts):
        wrapped = [TextPart(text=part) if isinstance(part, str) else ImagePart(image=part) for part in parts]
        return Message(role=role, parts=tuple(wrapped))

    return make
