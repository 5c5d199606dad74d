"""Decoding the pictures of benchmarks."""

import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from foveal.trajectory import to_rgb


def decode(picture: bytes | Path) -> Image.Image:
    """The first frame, upright, as RGB.

    Pictures of up to 178 million pixels are decoded (Pillow's own error): those of a benchmark are known, and some of
    MME-RealWorld are beyond the 89 million that a user's picture may have.

    Raises:
        ValueError: It is too large, damaged or no picture; the message says which.
    """
    source = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")) as file:
                return to_rgb(ImageOps.exif_transpose(file))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"no picture that can be read: {error}") from None
    except (OSError, SyntaxError, MemoryError, EOFError) as error:
        raise ValueError(f"damaged picture: {error}") from error
