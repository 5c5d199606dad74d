import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from foveal.tools.sandbox.channel import BrokenProtocol, Canvas, Capture, Inbox, picture_file
from foveal.tools.sandbox.guest import frames


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none())), st.integers(1, 50))
def test_frames_survive_any_cutting_of_the_stream(messages, step):
    stream = b"".join(frames.pack(message) for message in messages)
    inbox = Inbox()
    found = [frame for at in range(0, len(stream), step) for frame in inbox.feed(stream[at : at + step])]
    assert found == json.loads(json.dumps(messages))


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_a_broken_protocol(data):
    try:
        assert all(isinstance(frame, dict) for frame in Inbox().feed(data))
    except BrokenProtocol as error:
        assert str(error).startswith("a frame")


@given(st.lists(st.binary(max_size=40)), st.integers(2, 60))
def test_a_capture_keeps_head_and_tail(pieces, most):
    capture, whole = Capture(most), b"".join(pieces)
    for piece in pieces:
        capture.feed(piece)
    half = most // 2
    assert capture.truncated == (len(whole) > 2 * half)
    if capture.truncated:
        head, tail = whole[:half].decode(errors="replace"), whole[-half:].decode(errors="replace")
        assert capture.text() == f"{head}\n[... {len(whole) - 2 * half} bytes left out ...]\n{tail}"
    else:
        assert capture.text() == whole.decode(errors="replace")


def test_a_canvas_keeps_its_size_and_gives_pixels():
    canvas = Canvas(300, 2)
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(canvas.file, 1 << 30)
    os.pwrite(canvas.file, bytes(range(12)), 30)
    canvas.take([2, 2, 30])
    assert canvas.images[0].tobytes() == bytes(range(12))
    canvas.take([1, 1, 0])
    with pytest.raises(BrokenProtocol, match="more pictures"):
        canvas.take([1, 1, 0])
    canvas.start()
    assert canvas.images == []
    os.close(canvas.file)


def test_a_picture_file_cannot_be_written():
    file = picture_file(Image.new("RGBA", (2, 1), (0, 0, 0, 0)))
    assert os.pread(file, 100, 0) == b"P6\n2 1\n255\n" + b"\xff" * 6
    with pytest.raises(PermissionError):
        os.pwrite(file, b"x", 0)
    os.close(file)
