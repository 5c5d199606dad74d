"""Length-prefixed JSON frames between the host and a session. Never pickle."""

import json
import os
import struct
from typing import Any

HEADER = struct.Struct("!I")

# A cell may replace `os.write` or `json.dumps`; its answer must still get out.
_read, _write, _encode, _decode = os.read, os.write, json.JSONEncoder().encode, json.JSONDecoder().decode


def pack(message: dict[str, Any]) -> bytes:
    """One frame: four bytes of length, then UTF-8 JSON."""
    body = _encode(message).encode()
    return HEADER.pack(len(body)) + body


def write(fd: int, message: dict[str, Any]) -> None:
    """Write a whole frame to a blocking file descriptor."""
    view = memoryview(pack(message))
    while view:
        view = view[_write(fd, view) :]


def read(fd: int) -> dict[str, Any] | None:
    """Read a frame from a blocking file descriptor; None at its end."""
    header = _exactly(fd, HEADER.size)
    if header is None:
        return None
    body = _exactly(fd, HEADER.unpack(header)[0])
    return None if body is None else _decode(body.decode())


def _exactly(fd: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = _read(fd, size - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)
