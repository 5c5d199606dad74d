import base64
import io
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from foveal.agent import load_picture
from foveal.curate.pictures import PictureLimits, check_picture, keep_picture, picture_bytes
from foveal.curate.rejects import Refused
from foveal.trajectory import image_ref

LIMITS = PictureLimits()


def noise(width=40, height=30, channels=3):
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8))


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise(), "JPEG", exif=exif)


def refused(data, **limits):
    with pytest.raises(Refused) as caught:
        check_picture(data, PictureLimits(**limits))
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "extension"),
    [
        (encoded(noise()), "png"),
        (encoded(noise(), "JPEG"), "jpg"),
        (encoded(noise().convert("CMYK"), "JPEG"), "jpg"),
        (encoded(noise(channels=4)), "png"),
        (encoded(noise().convert("P"), transparency=3), "png"),
        (encoded(noise(), "GIF", save_all=True, append_images=[noise().rotate(90)]), "gif"),
        (encoded(noise(), "WEBP"), "webp"),
        (encoded(noise(), "BMP"), "bmp"),
        (encoded(noise(), "TIFF"), "tif"),
        (encoded(noise(), "MPO", save_all=True, append_images=[noise()]), "jpg"),
        (encoded(noise().convert("1")), "png"),
        (rotated(), "jpg"),
    ],
)
def test_a_kept_picture_is_what_foveal_shows_later(tmp_path, data, extension):
    picture = check_picture(data, LIMITS)
    name = keep_picture(tmp_path, picture)
    assert picture.extension == extension and (tmp_path / name).read_bytes() == data
    assert picture.ref == image_ref(load_picture(tmp_path / name))


def test_a_rotated_photo_has_the_size_of_what_is_seen():
    ref = check_picture(rotated(), LIMITS).ref
    assert (ref.width, ref.height) == (30, 40)


def bomb(width, height):
    """A PNG whose header promises so many pixels; decoding it would need them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_bombs_are_refused_by_their_header(side):
    assert refused(bomb(side, side)) == "picture_size"


def test_limits_of_size():
    data = encoded(noise(300, 20))
    assert refused(data, min_side=21) == "picture_size"
    assert refused(data, max_side=299) == "picture_size"
    assert refused(data, max_pixels=5999) == "picture_size"
    assert refused(data, max_aspect=14) == "picture_size"
    assert check_picture(data, PictureLimits(min_side=20, max_side=300, max_pixels=6000, max_aspect=15))
    with pytest.raises(Refused, match="bytes"):
        picture_bytes(data, None, PictureLimits(max_bytes=len(data) - 1))


def test_a_picture_has_to_decode_to_its_end():
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        data = encoded(noise(200, 200), kind)
        assert refused(data[: len(data) * 2 // 3]) == "picture_broken", kind


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_are_refused_or_read_but_nothing_else():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 50
    kinds = [encoded(noise(24, 18), kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    kinds += [encoded(noise(24, 18), kind) for kind in ("GIF", "BMP")]
    rng = np.random.default_rng(11)
    outcomes = Counter()
    for number in range(3000):
        data = np.frombuffer(kinds[number % len(kinds)], np.uint8).copy()
        places = rng.integers(0, min(len(data), 150), rng.integers(1, 6))
        data[places] = rng.integers(0, 256, len(places))
        try:
            check_picture(data.tobytes(), LIMITS)
            outcomes["read"] += 1
        except Refused as refused_here:
            outcomes[refused_here.reason] += 1
    assert set(outcomes) == {"read", "picture_kind", "picture_size", "picture_broken"}


def test_what_is_no_picture():
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    for data in (b"", b"not a picture", svg, b"%PDF-1.7"):
        assert refused(data) == "picture_kind"
    # Foveal would show it as white.
    assert refused(encoded(Image.fromarray(np.full((30, 30), 3000, np.uint16)))) == "picture_kind"


def test_every_way_to_give_a_picture(tmp_path):
    data = encoded(noise())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "ä b.png").write_bytes(data)
    text = base64.b64encode(data).decode()
    given = [
        data,
        "sub/ä b.png",
        str(tmp_path / "sub" / "ä b.png"),
        text,
        "\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        f"data:image/png;base64,{text}",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in data),
        {"bytes": data, "path": "elsewhere.png"},
        {"bytes": None, "path": "sub/ä b.png"},
        {"bytes": text},
    ]
    for value in given:
        assert picture_bytes(value, tmp_path, LIMITS) == data


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("https://example.org/a.png", "picture_path"),
        ("../secret.png", "picture_path"),
        ("sub/../../secret.png", "picture_path"),
        ("/etc/passwd", "picture_path"),
        ("none.png", "picture_missing"),
        ("a\0b.png", "picture_missing"),
        ("x" * 5000, "picture_missing"),
        ("", "picture_missing"),
        ("data:image/png;base64", "picture_broken"),
        ("data:image/png;base64,§", "picture_broken"),
        (5, "bad_field"),
        ({"bytes": None, "path": None}, "picture_missing"),
        ({}, "picture_missing"),
        (None, "picture_missing"),
    ],
)
def test_what_gives_no_picture(tmp_path, value, reason):
    (tmp_path / "secret.png").write_bytes(encoded(noise()))
    (tmp_path / "images").mkdir()
    with pytest.raises(Refused) as caught:
        picture_bytes(value, tmp_path / "images", LIMITS)
    assert caught.value.reason == reason


def test_a_torn_picture_of_a_killed_writer_is_written_again(tmp_path):
    picture = check_picture(encoded(noise()), LIMITS)
    (tmp_path / picture.name).write_bytes(picture.data[:10])
    assert (tmp_path / keep_picture(tmp_path, picture)).read_bytes() == picture.data
