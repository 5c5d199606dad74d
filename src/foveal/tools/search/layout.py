"""The picture descriptor of the offline image index: a colour layout, in numpy only."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.trajectory import to_rgb

GRID = 8
"""Cells a side."""

SIZE = GRID * GRID * 3
"""Length of a descriptor."""


def colour_layout(image: Image.Image) -> npt.NDArray[np.float32]:
    """Mean colour of each cell of an 8x8 grid laid over the picture, whatever its shape.

    It survives rescaling, JPEG and small shifts, and tells flat, colourful drawings (flags, logos, maps) apart. It does
    not recognise an object from another view.

    Args:
        image: A picture of any mode; transparency counts as white.

    Returns:
        Shape (192,): rows of cells, then columns, then Y, Cb, Cr, each in 0..255.
    """
    small = to_rgb(image).resize((GRID, GRID), Image.Resampling.BOX)
    return np.asarray(small.convert("YCbCr"), dtype=np.float32).ravel()
