"""The host's ends of a session's pipes and socket. Whatever comes through them is hostile until checked."""

import fcntl
import json
import os
from typing import Any

from PIL import Image

from foveal.tools.sandbox.guest.frames import HEADER
from foveal.trajectory import to_rgb

MAX_FRAME = 1 << 20
"""Bytes of one frame from a session."""


class BrokenProtocol(Exception):
    """A session sent what its runner never sends."""


class Inbox:
    """Cuts the bytes of a stream into frames."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Add bytes; the frames that are now whole.

        Raises:
            BrokenProtocol: A frame is too long or not a JSON object.
        """
        self._data += data
        found = []
        while len(self._data) >= HEADER.size:
            size = HEADER.unpack_from(self._data)[0]
            if size > MAX_FRAME:
                raise BrokenProtocol(f"a frame of {size} bytes")
            if len(self._data) < HEADER.size + size:
                break
            body = bytes(self._data[HEADER.size : HEADER.size + size])
            del self._data[: HEADER.size + size]
            try:
                frame = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise BrokenProtocol("a frame that is not JSON") from error
            if not isinstance(frame, dict):
                raise BrokenProtocol("a frame that is not an object")
            found.append(frame)
        return found


class Capture:
    """Keeps head and tail of a stream of bytes, however long it is."""

    def __init__(self, most: int):
        self._half = most // 2
        self._head, self._tail, self._seen = bytearray(), bytearray(), 0

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        self._seen += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:][-self._half :] if room > 0 else data[-self._half :]
        del self._tail[: -self._half]

    @property
    def truncated(self) -> bool:
        """True if bytes were left out."""
        return self._seen > len(self._head) + len(self._tail)

    def text(self) -> str:
        """What was kept, with a line that says how much was left out."""
        if not self.truncated:
            return bytes(self._head + self._tail).decode(errors="replace")
        left_out = self._seen - len(self._head) - len(self._tail)
        head, tail = bytes(self._head).decode(errors="replace"), bytes(self._tail).decode(errors="replace")
        return f"{head}\n[... {left_out} bytes left out ...]\n{tail}"


class Canvas:
    """Pixels that a session shows: a file in memory of a fixed size, so that no session can grow or cut it.

    Args:
        size: Bytes of all pictures of one cell.
        most: Pictures of one cell.
    """

    def __init__(self, size: int, most: int):
        self.file = sealed_file("foveal-canvas", size)
        self._size, self._most = size, most
        self.images: list[Image.Image] = []
        self._used = 0

    def start(self) -> None:
        """Forget the pictures of the cell before."""
        self.images, self._used = [], 0

    def take(self, picture: object) -> None:
        """Read the picture that a frame announced as [width, height, offset].

        Raises:
            BrokenProtocol: It cannot be in the canvas, or the cell has shown too much.
        """
        if not (isinstance(picture, list) and len(picture) == 3 and all(type(number) is int for number in picture)):
            raise BrokenProtocol("a picture without width, height and offset")
        width, height, offset = picture
        if min(width, height) < 1 or offset < 0 or offset + width * height * 3 > self._size:
            raise BrokenProtocol("a picture outside the canvas")
        self._used += width * height * 3
        if self._used > self._size or len(self.images) == self._most:
            raise BrokenProtocol("more pictures than a cell may show")
        data = os.pread(self.file, width * height * 3, offset)
        self.images.append(Image.frombytes("RGB", (width, height), data))


def sealed_file(name: str, size: int) -> int:
    """A file in memory that keeps its size for good; it is written through its descriptor."""
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(file, size)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


def picture_file(image: Image.Image) -> int:
    """A picture for a session: a read-only PPM file in memory, so raw pixels behind a header of a line or two."""
    rgb = image if image.mode == "RGB" else to_rgb(image)
    file = os.memfd_create("foveal-picture", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(file, "wb", buffering=0, closefd=False) as out:
        out.write(f"P6\n{rgb.width} {rgb.height}\n255\n".encode())
        out.write(rgb.tobytes())
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file
