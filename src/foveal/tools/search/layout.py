"""The picture descriptor of the offline image index: layouts of colours and of edges, in numpy only."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.trajectory import to_rgb

Array = npt.NDArray[np.float32]

GRID = 8
"""Cells a side of the colour layout."""
CELLS = 4
"""Cells a side of the edge layout."""
DIRECTIONS = 8
"""Directions of an edge that are told apart, over half a turn."""
VIEW = 32
"""Pixels a side of the grey picture whose edges are looked for: finer ones do not outlast a JPEG or a blur."""

SIZE = GRID * GRID * 3 + CELLS * CELLS * DIRECTIONS
"""Length of a descriptor."""

_FAINT = 40.0
"""Norm of the edges below which a picture counts as flat; without it, the noise of a plain wall would be its shape."""
_SCALE = 400.0
"""Weighs edges against colours. Above it, recall of photographs still rises a little, but flags that colours tell apart
begin to be mistaken for others of the same pattern."""

_BLOCK = 512
"""Descriptors compared at a time: their differences stay in the processor's cache, which takes half the time."""


def describe(image: Image.Image) -> Array:
    """Colours and edges of a picture: what is compared in the index.

    It survives rescaling, JPEG, another light, the loss of colour and crops by up to a quarter. It does not recognise
    an object from another view.

    Args:
        image: A picture of any mode; transparency counts as white.

    Returns:
        Shape (320,): whole numbers in 0..255, first the colour layout, then the edge layout.
    """
    picture = to_rgb(image)
    return np.concatenate([colour_layout(picture), edge_layout(picture)])


def colour_layout(image: Image.Image) -> Array:
    """Mean colour of each cell of an 8x8 grid laid over the picture, whatever its shape.

    Args:
        image: A picture of any mode; transparency counts as white.

    Returns:
        Shape (192,): rows of cells, then columns, then Y, Cb, Cr, each in 0..255.
    """
    small = to_rgb(image).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(small.convert("YCbCr"), dtype=np.float32).ravel()


def edge_layout(image: Image.Image) -> Array:
    """How much edge of each direction there is in each cell of a 4x4 grid, as shares of all edges of the picture.

    Shares, and their square roots, so that neither light nor one hard contour decides. A pixel counts in its cell and
    the neighbours by nearness: an edge near a border between cells must not change sides with the crop.

    Args:
        image: A picture of any mode; transparency counts as white.

    Returns:
        Shape (128,): rows of cells, then columns, then directions, each in 0..255.
    """
    grey = to_rgb(image).resize((VIEW, VIEW), Image.Resampling.BOX).convert("L")
    light = np.asarray(grey, dtype=np.float32)
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, 1:-1] = light[:, 2:] - light[:, :-2]
    down[1:-1] = light[2:] - light[:-2]
    strength = np.hypot(across, down)
    turn = np.arctan2(down, across) % np.pi * (DIRECTIONS / np.pi)
    ways = np.arange(DIRECTIONS, dtype=np.float32)[:, None, None]
    apart = np.abs(turn - ways)
    near = np.clip(1 - np.minimum(apart, DIRECTIONS - apart), 0, 1) * strength  # (directions, rows, columns)
    centres = (np.arange(CELLS) + 0.5) * VIEW / CELLS
    from_centre = np.abs(np.arange(VIEW) + 0.5 - centres[:, None]) * CELLS / VIEW
    window = np.clip(1 - from_centre, 0, 1).astype(np.float32)  # (cells, pixels)
    edges = np.sqrt((window @ near @ window.T).transpose(1, 2, 0)).ravel()
    share = edges / max(float(np.linalg.norm(edges)), _FAINT)
    whole: Array = np.round(np.minimum(share * _SCALE, 255)).astype(np.float32)
    return whole


def distances(stored: Array, query: Array) -> Array:
    """Mean absolute difference of a descriptor from each stored one, 0 (same) to 255.

    Absolute rather than squared: a crop that misses an edge changes a few cells a lot, and squaring would let those few
    decide. Over flags in another drawing a third fewer countries are ever mistaken than with squares.

    Args:
        stored: Shape (n, size), such as `SIZE`.
        query: Shape (size,).

    Returns:
        Shape (n,).
    """
    away: Array = np.empty(len(stored), dtype=np.float32)
    for start in range(0, len(stored), _BLOCK):
        part = stored[start : start + _BLOCK] - query
        np.abs(part, out=part).mean(axis=1, out=away[start : start + _BLOCK])
    return away
