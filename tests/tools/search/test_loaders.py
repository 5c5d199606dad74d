import contextlib
import json
import random
import struct
import zlib

import pytest
from PIL import Image

from foveal.tools.search.loaders import (
    exif_title,
    name_title,
    read_captions,
    read_documents,
    read_picture,
    read_sidecar,
)


@pytest.fixture
def read(tmp_path):
    """Write a file, read its documents; returns them and the problems."""

    def go(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        problems = []
        return list(read_documents(path, f"sub/{name}", problems.append)), problems

    return go


def test_markdown_is_titled_by_its_first_heading(read):
    (document,), problems = read("a-note.md", "intro\n\n## Green *things*\ntext\n# Later")
    assert (document.title, document.link, document.source, document.origin) == (
        "Green *things*",
        *["sub/a-note.md"] * 3,
    )
    assert "intro" in document.text
    assert problems == []


def test_plain_text_is_titled_by_its_name(read):
    (document,), _ = read("two_red-boxes.txt", "\ufeffHello # no heading")
    assert (document.title, document.text) == ("two red boxes", "Hello # no heading")


def test_html_gives_visible_text_and_title(read):
    page = """<!doctype html><html><head><title>Tea &amp;
      cake</title><style>p{color:red}</style></head><body><h1>Menu</h1><p>Fresh <b>sco</b>nes<br>daily
      <script>track("<p>hidden</p>")</script></p><ul><li>one<li>two</ul><p>&lt;3 caf&eacute;"""
    (document,), problems = read("menu.HTML", page)
    assert document.title == "Tea & cake"
    words = document.text.split()
    assert words == ["Menu", "Fresh", "scones", "daily", "one", "two", "<3", "café"]
    assert problems == []


def test_html_without_title_takes_the_file_name(read):
    assert read("my_page.htm", "<p>text")[0][0].title == "my page"


def test_json_lines_give_one_document_each(read):
    lines = [
        {"title": "First", "text": "alpha", "link": "https://a.example", "date": "2020-01-02"},
        {"text": "beta " * 50, "url": "https://b.example"},
        {"title": 1984, "text": "gamma", "unknown": [1]},
    ]
    documents, problems = read("d.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n\n")
    assert [d.title for d in documents] == ["First", ("beta " * 16).strip(), "1984"]
    assert [d.link for d in documents] == ["https://a.example", "https://b.example", "sub/d.jsonl"]
    assert [d.date for d in documents] == ["2020-01-02", None, None]
    assert {d.origin for d in documents} == {"sub/d.jsonl"}
    assert problems == []


def test_bad_json_lines_are_counted_with_the_first_one(read):
    text = '{"text": "good"}\n{"text": ""}\n[1]\n{broken\n' + "[" * 100_000 + "\n\xff\n"
    documents, problems = read("d.jsonl", text.encode("latin-1"))
    assert [d.text for d in documents] == ["good"]
    assert len(problems) == 1
    assert problems[0].startswith("5 lines left out, the first is line 2: no text")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"caf\xe9", "not UTF-8 text: byte 3"), (b" \n ", "no text in it"), (b"", "no text in it")]
)
def test_unusable_text_is_a_problem(read, content, reason):
    assert read("x.txt", content) == ([], [reason])


def test_text_file_of_many_megabytes_is_a_problem(read, tmp_path):
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(30_000_000)
    problems = []
    assert list(read_documents(tmp_path / "big.txt", "big.txt", problems.append)) == []
    assert problems == ["larger than 20 MB"]


def test_picture_is_upright_and_rgb(tmp_path):
    image = Image.new("RGB", (30, 20), "red")
    image.paste("blue", (0, 0, 15, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to see it upright
    image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    read = read_picture(tmp_path / "turned.jpg")
    assert read.size == (20, 30)
    assert read.getpixel((10, 3))[2] > 200
    assert read.getpixel((10, 26))[0] > 200
    image.convert("P").save(tmp_path / "palette.gif")
    assert read_picture(tmp_path / "palette.gif").mode == "RGB"


def test_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for side in (10_000, 60_000):  # Pillow only warns about the first
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(ValueError, match="picture of more than"):
            read_picture(tmp_path / "bomb.png")


def test_damaged_pictures_say_so(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "a.png").read_bytes()[:1500])
    (tmp_path / "words.png").write_text("not a picture")
    (tmp_path / "script.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(ValueError, match="damaged picture"):
        read_picture(tmp_path / "torn.png")
    for name in ("words.png", "script.png"):
        with pytest.raises(ValueError, match="not a picture"):
            read_picture(tmp_path / name)


def test_captions_in_both_spellings(tmp_path):
    path = tmp_path / "metadata.jsonl"
    path.write_text(
        '{"file_name": "a.png", "text": "A  red\\nbox"}\n{"file_name": "b.png", "title": "B", "link": "b"}\n{"x": 1}\n'
    )
    problems = []
    captions = read_captions(path, problems.append)
    assert captions == {"a.png": ("A red box", None), "b.png": ("B", "b")}
    assert problems == ["1 line left out, the first is line 3: no file_name with a title or text"]


def test_sidecar_is_a_short_text_of_the_same_name(tmp_path):
    picture = tmp_path / "cat.jpg"
    assert read_sidecar(picture) is None
    (tmp_path / "cat.jpg.txt").write_text(" A cat\non a mat \n")
    assert read_sidecar(picture) == (tmp_path / "cat.jpg.txt", "A cat on a mat")
    (tmp_path / "cat.txt").write_text("long " * 200)
    assert read_sidecar(picture).path.name == "cat.jpg.txt"
    (tmp_path / "cat.jpg.txt").unlink()
    assert read_sidecar(picture) is None


def test_names_become_titles(tmp_path):
    assert name_title(tmp_path / "red_square-2.v1.png") == "red square 2.v1"
    assert name_title(tmp_path / "__.png") == "__.png"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_noise_in_exif_breaks_nothing(tmp_path, kind):
    rng, exif, picture = random.Random(0), Image.Exif(), tmp_path / "a.jpg"
    exif[270], exif[0x9C9B] = "A field of rape", "Feld".encode("utf-16-le")
    Image.new("RGB", (20, 20)).save(picture, kind, exif=exif)
    whole = picture.read_bytes()
    assert exif_title(picture) == "A field of rape"
    for _ in range(60):
        noisy = bytearray(whole)
        for _ in range(rng.randrange(1, 12)):
            noisy[rng.randrange(min(len(noisy), 400))] = rng.randrange(256)
        picture.write_bytes(noisy)
        with contextlib.suppress(ValueError):
            read_picture(picture)
        assert exif_title(picture) is None or isinstance(exif_title(picture), str)
