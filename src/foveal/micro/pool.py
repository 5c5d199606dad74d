"""Rendered scenes and crops for pre-training, held as the small views that the model sees.

Rendering costs more than a training step can wait for, so a pool is drawn once and sampled from. The views are to the
pixel what the processor makes of the same picture (tested).
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.micro import scenes
from foveal.micro.model import MERGE, PATCH, VIEW

CROP_VIEW = (140, 112)
"""Width and height to which the processor scales a 64 x 48 crop."""
SLIP_SHARE = 0.15
"""Share of crops that miss by one step of the grid, as the model's own crops may."""

Views = npt.NDArray[np.uint8]


class Crop(NamedTuple):
    """The content of one board, cut from its scene."""

    view: Views
    """(112, 140, 3)."""
    number: int | None
    """None: a flag."""


class Drawn(NamedTuple):
    """One scene of the pool."""

    view: Views
    """(112, 112, 3)."""
    boards: tuple[scenes.Board, ...]
    ball: str
    ball_at: tuple[int, int]
    crops: tuple[Crop, ...]
    """One a board, in order."""


def draw(seed: int, count: int, codes: Sequence[str]) -> list[Drawn]:
    """Render `count` scenes with 1 to 3 number boards and 1 to 2 flag boards each."""
    rng = random.Random(seed)
    pool = []
    for _ in range(count):
        scene = scenes.generate(rng, codes, rng.randint(1, 3), rng.randint(1, 2))
        crops = tuple(_crop(rng, scene.image, board) for board in scene.boards)
        view = np.asarray(scene.image.resize((VIEW, VIEW), Image.Resampling.BICUBIC))
        pool.append(Drawn(view, scene.boards, scene.ball, scene.ball_at, crops))
    return pool


def _crop(rng: random.Random, image: Image.Image, board: scenes.Board) -> Crop:
    left, top, right, bottom = board.box
    if rng.random() < SLIP_SHARE:
        dx, dy = rng.choice([(-1, 0), (1, 0), (0, -1), (0, 1)])
        left, right = left + dx * scenes.GRID, right + dx * scenes.GRID
        top, bottom = top + dy * scenes.GRID, bottom + dy * scenes.GRID
    cut = image.crop((left, top, right, bottom)).resize(CROP_VIEW, Image.Resampling.BICUBIC)
    return Crop(np.asarray(cut), board.number)


def patchify(views: Views) -> npt.NDArray[np.float32]:
    """Views of one shape, (n, height, width, 3) uint8 -> patches (n * patches, 3 * 2 * 14 * 14) float32.

    The order is that of the Qwen2-VL processor: blocks of 2 x 2 patches that are merged, then channel, time, row,
    column; a still picture is repeated over the two time steps.
    """
    count, height, width, _ = views.shape
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    pixels = ((views.astype(np.float32) / np.float32(255)) - np.float32(0.5)) / np.float32(0.5)
    blocks = pixels.reshape(count, rows, MERGE, PATCH, columns, MERGE, PATCH, 3)
    ordered = blocks.transpose(0, 1, 4, 2, 5, 7, 3, 6)
    twice = np.repeat(ordered[:, :, :, :, :, :, None], 2, axis=6)
    return np.ascontiguousarray(twice.reshape(count * rows * columns * MERGE * MERGE, -1))


def grid_of(view: Views) -> tuple[int, int, int]:
    """Patches in time, height and width of a view."""
    return (1, view.shape[0] // PATCH, view.shape[1] // PATCH)
