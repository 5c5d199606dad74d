"""Pictures of any source as files that every program reads alike."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from foveal.agent import load_picture
from foveal.errors import InputError
from foveal.integrations.formats.dialogue import Picture, Unfit
from foveal.trajectory import ImageRef, ImageStore

_ORIENTATION = 0x0112


def portable(picture: Picture, scratch: Path | None = None) -> bytes:
    """A picture as a PNG or JPEG file, RGB and upright: its own file if it is that already, else a new PNG.

    Args:
        picture: A file or its content.
        scratch: Where to put a content for a moment; needed for bytes.

    Raises:
        Unfit: It cannot be read.
    """
    image = read(picture, scratch)
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    with Image.open(io.BytesIO(content)) as file:
        if file.format in ("PNG", "JPEG") and file.mode == "RGB" and file.getexif().get(_ORIENTATION, 1) == 1:
            return content
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def stored(images: ImageStore, folder: Path, ref: ImageRef) -> bytes:
    """The PNG file of a picture of a run, after its pixels were compared with its name.

    Raises:
        RecordError: It is missing, or holds other pixels.
    """
    images.get(ref)
    return (folder / f"{ref.sha256}.png").read_bytes()


def read(picture: Picture, scratch: Path | None = None) -> Image.Image:
    """A picture as people see it.

    Args:
        picture: A file or its content.
        scratch: Where to put a content for a moment; needed for bytes.

    Raises:
        Unfit: It cannot be read.
    """
    if isinstance(picture, bytes):
        assert scratch is not None
        scratch.write_bytes(picture)
        path, name = scratch, f"a picture of {len(picture)} bytes"
    else:
        path, name = picture, f"picture {picture}"
    try:
        return load_picture(path)
    except InputError as error:
        cause = error.__cause__ or "there is no such file"
        raise Unfit(f"{name} cannot be used: {cause}") from error
    except OSError as error:  # the name is too long for one, or its folder is closed
        raise Unfit(f"{name} cannot be used: {error.strerror}") from error


def write_by_content(folder: Path, content: bytes) -> str:
    """Write a file named by its content, once, and return its name."""
    suffix = ".png" if content.startswith(b"\x89PNG") else ".jpg"
    name = hashlib.sha256(content).hexdigest() + suffix
    if not (folder / name).exists():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return name
