"""Pictures of raw rows: found, checked and kept.

What is kept are the bytes as they came, under their SHA-256. A picture counts as good if foveal can show it: the whole
of its first frame decodes, and it is no larger than the limits, which are held against the header before decoding.
"""

import base64
import binascii
import contextlib
import hashlib
import io
import os
import re
import threading
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import Field

from foveal.config import Settings
from foveal.curate.rejects import Refused, shorten
from foveal.files import write_content
from foveal.trajectory import ImageRef, image_ref, to_rgb

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are opened: those of `foveal.tools.search.loaders`."""
EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif"}

PILLOW_LIMIT = 89_478_485
"""Pixels above which Pillow takes a file for a decompression bomb, and the rest of foveal refuses it."""
LARGE = 2**23
"""Pictures of more pixels are decoded one at a time."""

_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk|SUkq|TU0A)[A-Za-z0-9+/\s]{60,}={0,2}\s*")
"""Beginnings of JPEG, PNG, GIF, WebP, BMP and TIFF files in base64, then only letters of base64."""

_one_large = threading.Lock()


class PictureLimits(Settings):
    """What pictures may be kept."""

    min_side: int = Field(8, ge=1)
    """Pixels."""
    max_side: int = Field(32_768, ge=1)
    """Pixels."""
    max_pixels: int = Field(50_000_000, ge=1, le=PILLOW_LIMIT)
    max_aspect: float = Field(200.0, ge=1)
    """Longer side over shorter; Qwen's picture processors take no more than 200."""
    max_bytes: int = Field(50_000_000, ge=1)
    """Of a file."""


class CheckedPicture(NamedTuple):
    """A picture that may be kept."""

    data: bytes
    """The file as it came."""
    extension: str
    ref: ImageRef
    """Size and hash of the pixels as foveal shows them."""

    @property
    def name(self) -> str:
        """The name under which it is kept."""
        return f"{hashlib.sha256(self.data).hexdigest()}.{self.extension}"


def picture_bytes(value: Any, folder: Path, limits: PictureLimits) -> bytes:
    """The bytes of a picture as a row gives it.

    Args:
        value: Bytes, a path, `{bytes, path}`, base64 or a data URL.
        folder: Where paths begin; none may lead out of it.
        limits: The largest number of bytes.

    Raises:
        Refused: It is none of these, or there is no such file.
    """
    if isinstance(value, dict):
        inner = value.get("bytes")
        value = inner if inner is not None else value.get("path")
    if isinstance(value, str):
        if value[:5].lower() == "data:":
            value = _data_url(value)
        elif _BASE64.fullmatch(value):
            value = _base64(value)
        else:
            value = _file(value, folder, limits.max_bytes)
    if value is None:
        raise Refused("picture_missing", "a picture that is null")
    if not isinstance(value, bytes):
        raise Refused("bad_field", f"a picture is given as {type(value).__name__}")
    if len(value) > limits.max_bytes:
        raise Refused("picture_size", f"a picture file of {len(value)} bytes; the limit is {limits.max_bytes}")
    return value


def check_picture(data: bytes, limits: PictureLimits) -> CheckedPicture:
    """A picture that is good; its size is looked at before it is decoded, then all of it is decoded.

    Raises:
        Refused: It is not; reason and message say why.
    """
    image, extension = open_picture(data, limits)
    return CheckedPicture(data, extension, image_ref(image))


def open_picture(data: bytes, limits: PictureLimits) -> tuple[Image.Image, str]:
    """A picture as foveal shows it, and the extension of its format. Safe in threads.

    Raises:
        Refused: It is damaged, no picture, or beyond the limits.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            _check_header(file, limits)
            with _one_large if file.width * file.height > LARGE else contextlib.nullcontext():
                return to_rgb(ImageOps.exif_transpose(file)), EXTENSIONS[file.format or ""]
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Refused("picture_size", f"a picture of more than {PILLOW_LIMIT} pixels") from None
    except UnidentifiedImageError:
        raise Refused("picture_kind", f"a picture that is none of {', '.join(FORMATS)}") from None
    except Refused:
        raise
    except Exception as error:  # decoders raise whatever they run into: struct.error, zlib.error, IndexError, ...
        raise Refused("picture_broken", f"a damaged picture: {shorten(str(error))}") from None


def keep_picture(folder: Path, picture: CheckedPicture) -> str:
    """Write a picture, whole or not at all; one that is there stays. Its name is returned."""
    path = folder / picture.name
    if not (path.exists() and path.stat().st_size == len(picture.data)):
        write_content(path, picture.data)
    return path.name


def _check_header(file: Image.Image, limits: PictureLimits) -> None:
    width, height = file.size
    short, long = sorted((width, height))
    size = f"a picture of {width} x {height} pixels"
    if short < limits.min_side:
        raise Refused("picture_size", f"{size}; no side may have less than {limits.min_side}")
    if long > limits.max_side:
        raise Refused("picture_size", f"{size}; no side may have more than {limits.max_side}")
    if width * height > limits.max_pixels:
        raise Refused("picture_size", f"{size}; the limit is {limits.max_pixels} in all")
    if long > limits.max_aspect * short:
        raise Refused("picture_size", f"{size}; one side may be {limits.max_aspect:g} times the other")
    if file.mode in ("I", "F") or file.mode.startswith("I;16"):
        # Converted to 8 bits without knowing their range, such pictures come out white.
        raise Refused("picture_kind", f"a grey picture of more than 8 bits (mode {file.mode}); save it with 8")


def _data_url(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if not comma:
        raise Refused("picture_broken", "a data URL without data")
    return _base64(body) if head.lower().endswith(";base64") else unquote_to_bytes(body)


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("picture_broken", f"base64 that is none: {error}") from None


def _file(name: str, folder: Path, max_bytes: int) -> bytes:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", name):
        raise Refused("picture_path", f"{shorten(name)} is an address; download the pictures first")
    base = os.path.normpath(folder.absolute())
    path = Path(os.path.normpath(Path(base) / name))
    # By name, not by where links lead: folders of a hub's cache are made of links.
    if not path.is_relative_to(base):
        raise Refused("picture_path", f"{shorten(name)} is outside of {folder}; set image_folder")
    try:
        if not path.is_file():
            raise Refused("picture_missing", f"there is no file {shorten(name)} in {folder}")
        if path.stat().st_size > max_bytes:
            raise Refused("picture_size", f"{shorten(name)} is larger than {max_bytes} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise Refused("picture_missing", f"{shorten(name)} cannot be read: {error}") from None
