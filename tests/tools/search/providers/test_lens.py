"""Thumbnails of search hits: fetched behind the guard, small, and never the reason that a hit is lost."""

import asyncio
import base64
import contextlib
import io
import struct
import zlib

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.providers.lens import THUMBNAIL, Lens, Match, small_picture
from foveal.trajectory import ImageStore, SearchHit


def file(picture, form="PNG"):
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


def bomb(width, height):
    """A PNG of a few bytes that says it is huge."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.fixture
def shown():
    """Thumbnails of hits whose addresses give these bytes: `shown(bytes, ...)` -> pictures or None."""

    def fetch(*contents, resolve=None):
        async def public(host, port):
            return ["8.8.8.8"]

        def handle(request):
            return httpx.Response(200, content=contents[int(request.url.path[1:])])

        lens = Lens(None, Fetcher(resolve=resolve or public, transport=httpx.MockTransport(handle)))
        matches = [Match(SearchHit(title=str(n)), f"https://t.example/{n}") for n in range(len(contents))]
        store = ImageStore()
        hits = asyncio.run(lens.with_thumbnails(matches, store))
        assert [hit.title for hit in hits] == [str(n) for n in range(len(contents))]
        return [store.get(hit.thumbnail) if hit.thumbnail is not None else None for hit in hits]

    return fetch


def test_thumbnails_in_the_order_of_the_hits(shown):
    red, blue = shown(file(Image.new("RGB", (44, 40), "red")), file(Image.new("RGB", (50, 40), "blue"), "WEBP"))
    assert (red.size, red.getpixel((5, 5))) == ((44, 40), (255, 0, 0))
    assert blue.size == (50, 40)


def test_what_is_no_picture_loses_its_thumbnail_only(shown):
    good = file(Image.new("RGB", (40, 30)))
    broken = shown(good, b"", b"<html>", good[:60], bomb(100_000, 100_000), bomb(9000, 9000), b"<svg/>", good)
    assert [picture is not None for picture in broken] == [True, False, False, False, False, False, False, True]


def test_a_whole_picture_of_too_many_pixels_is_not_decoded(shown):
    largest, too_large = (file(Image.new("1", (5000, height))) for height in (4000, 4001))
    assert [picture is not None for picture in shown(largest, too_large)] == [True, False]


def test_large_and_thin_thumbnails_are_made_fit_for_vision_models(shown):
    large, thin, tiny = (shown(file(Image.new("RGB", size)))[0] for size in ((3000, 1500), (2000, 3), (1, 1)))
    assert large.size == (THUMBNAIL, THUMBNAIL // 2)
    for picture in (thin, tiny):
        assert min(picture.size) >= 32 and max(picture.size) <= 200 * min(picture.size)


def test_a_thumbnail_that_leads_into_this_network_is_not_fetched(shown):
    async def local(host, port):
        return ["127.0.0.1"]

    assert shown(file(Image.new("RGB", (40, 30))), resolve=local) == [None]


@pytest.mark.parametrize("address", [None, 5, {}, "", "data:", "data:image/png;base64,%%%", "file:///etc/passwd", "x"])
def test_an_address_that_is_none(address):
    [hit] = asyncio.run(Lens(None).with_thumbnails([Match(SearchHit(title="a"), address)], ImageStore()))
    assert hit.thumbnail is None


def test_a_thumbnail_inside_its_address():
    address = f"data:image/png;base64,{base64.b64encode(file(Image.new('RGB', (40, 30), 'red'))).decode()}"
    store = ImageStore()
    [hit] = asyncio.run(Lens(None).with_thumbnails([Match(SearchHit(title="a"), address)], store))
    assert store.get(hit.thumbnail).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("cut", range(0, 400, 40))
def test_a_picture_cut_anywhere_is_a_picture_or_a_value_error(cut):
    content = file(Image.effect_noise((60, 60), 50), "JPEG")[:cut]
    with pytest.raises(ValueError, match="picture"):
        small_picture(content)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]),
    st.lists(st.tuples(st.integers(0, 900), st.binary(max_size=8))),
)
def test_a_file_that_was_made_to_break_decoders_is_a_picture_or_a_value_error(form, changes):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    kept = {"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}
    Image.linear_gradient("L").resize((40, 60)).convert("RGB").save(buffer, form, **kept)
    content = bytearray(buffer.getvalue())
    for place, change in changes:
        content[place : place + len(change)] = change
    with contextlib.suppress(ValueError):
        assert small_picture(bytes(content)).mode == "RGB"
