"""Reading the files of a user's folder: documents, pictures and their captions."""

import json
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from foveal.tools.search.pdf import read_pages
from foveal.tools.search.text import Document
from foveal.trajectory import to_rgb

DOCUMENTS = frozenset({".md", ".markdown", ".txt", ".html", ".htm", ".pdf", ".jsonl"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
CAPTIONS = "metadata.jsonl"
"""Captions of a folder's pictures, as `datasets` ImageFolder has them: `{"file_name": ..., "text": ...}` a line."""

MAX_BYTES = 20_000_000
"""Largest document file, except PDF and JSON lines, which are read page by page and line by line."""

MAX_CAPTION = 500
"""A text file beside a picture is its caption if it has at most this many characters; a longer one is a document."""

_CAMERA = re.compile(r"^(dcim|untitled|default)$|digital camera$|camera pictures$|^created with ", re.IGNORECASE)
"""Descriptions that cameras and programs put into every picture."""

Problem = Callable[[str], None]
"""Told why a file, or some lines of it, could not be read."""


T = TypeVar("T")


class Caption(NamedTuple):
    """What is known about a picture beside its pixels."""

    title: str
    link: str | None = None


def read_documents(path: Path, origin: str, problem: Problem) -> Iterator[Document]:
    """The documents of one file; what cannot be read is told to `problem`.

    Args:
        path: A file of one of the kinds `DOCUMENTS`.
        origin: Its path within the folder, kept as source and, where a document has no link of its own, as link.
        problem: Receives reasons.

    Yields:
        One document; for JSON lines one a line, for PDF one a page.
    """
    try:
        if path.suffix.lower() == ".jsonl":
            yield from _json_documents(path, origin, problem)
        elif path.suffix.lower() == ".pdf":
            yield from read_pages(path, origin, name_title(path), problem)
        else:
            title, text = _titled(path)
            yield Document(title=title, text=text, link=origin, source=origin, origin=origin)
    except (OSError, ValueError) as error:
        problem(str(error))


def read_picture(source: Path | IO[bytes]) -> Image.Image:
    """The first frame of a picture file, or of its bytes, upright, as RGB.

    Raises:
        ValueError: It is too large, damaged or no picture; the message says which.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own limit against files that unpack to gigabytes, made strict.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.simplefilter("ignore", UserWarning)  # of damaged EXIF: the picture is there
            with Image.open(source, formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")) as file:
                return to_rgb(ImageOps.exif_transpose(file))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"picture of more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ValueError("not a picture, whatever its name says") from None
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError) as error:
        raise ValueError(f"damaged picture: {error}") from error


def read_captions(path: Path, problem: Problem) -> dict[str, Caption]:
    """The captions of a `metadata.jsonl`: file name -> caption. Lines that are not understood are told to `problem`."""
    captions: dict[str, Caption] = {}

    def take(line: dict[str, str]) -> None:
        title = line.get("title") or line.get("text") or ""
        if not line.get("file_name") or not title.strip():
            raise ValueError("no file_name with a title or text")
        captions[line["file_name"]] = Caption(one_line(title), line.get("link") or line.get("url"))

    try:
        for _ in _json_lines(path, take, problem):
            pass
    except (OSError, ValueError) as error:
        problem(str(error))
    return captions


class Sidecar(NamedTuple):
    """The text file beside a picture that is its caption."""

    path: Path
    text: str


def read_sidecar(picture: Path) -> Sidecar | None:
    """The caption file of a picture, `cat.txt` or `cat.jpg.txt`, if there is one that is short enough."""
    for path in (picture.with_suffix(".txt"), picture.with_name(picture.name + ".txt")):
        try:
            if not path.is_symlink() and path.stat().st_size <= 4 * MAX_CAPTION:
                text = one_line(_text(path))
                if 0 < len(text) <= MAX_CAPTION:
                    return Sidecar(path, text)
        except (OSError, ValueError):
            continue  # Not there, or no caption: if it is a document, reading it as one will say what is wrong.
    return None


def exif_title(picture: Path) -> str | None:
    """What the EXIF of a picture file says that it shows; None if nothing, or only what cameras write by themselves."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters was told when the picture was read
            with Image.open(picture, formats=("PNG", "JPEG", "WEBP", "TIFF")) as file:
                exif = file.getexif()
                found = [exif.get(tag) for tag in (ExifTags.Base.ImageDescription, ExifTags.Base.XPTitle)]
    except (OSError, ValueError, SyntaxError, KeyError, struct.error, Image.DecompressionBombError):
        return None  # a caption is a gift; the picture itself was read, or its fault was told
    for value in found:
        text = value.decode("utf-16-le", "ignore") if isinstance(value, bytes) else value
        title = one_line(text.replace("\0", " ")) if isinstance(text, str) else ""
        if title and len(title) <= MAX_CAPTION and not _CAMERA.search(title):
            return title
    return None


def one_line(text: str) -> str:
    """Text with all runs of white space as one space."""
    return " ".join(text.split())


def name_title(path: Path) -> str:
    """A title from a file name: `red_square-2.png` becomes `red square 2`."""
    return one_line(path.stem.replace("_", " ").replace("-", " ")) or path.name


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 text: byte {error.start}") from None


def _titled(path: Path) -> tuple[str, str]:
    text = _text(path)
    title = ""
    if path.suffix.lower() in (".html", ".htm"):
        page = _Page()
        page.feed(text)
        page.close()
        title, text = one_line("".join(page.title)), "".join(page.text)
    elif path.suffix.lower() in (".md", ".markdown"):
        headings = (line.lstrip("#").strip() for line in text.splitlines() if line.startswith("#"))
        title = next((heading for heading in headings if heading), "")
    if not text.strip():
        raise ValueError("no text in it")
    return title or name_title(path), text.strip()


def _json_documents(path: Path, origin: str, problem: Problem) -> Iterator[Document]:
    def take(line: dict[str, str]) -> Document:
        text = line.get("text", "").strip()
        if not text:
            raise ValueError("no text")
        title = one_line(line.get("title", "")) or one_line(text[:80])
        link = line.get("link") or line.get("url") or origin
        return Document(title=title, text=text, link=link, date=line.get("date"), source=origin, origin=origin)

    yield from _json_lines(path, take, problem)


def _json_lines(path: Path, take: Callable[[dict[str, str]], T], problem: Problem) -> Iterator[T]:
    """`take` of the texts and numbers of each line; lines that it refuses are counted and told once."""
    bad, first = 0, ""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                value = json.loads(raw)
                if not isinstance(value, dict):
                    raise ValueError("no JSON object")
                yield take({key: str(item) for key, item in value.items() if isinstance(item, str | int | float)})
            except (ValueError, RecursionError) as error:
                bad += 1
                first = first or f"line {number}: {error}"
    if bad:
        problem(f"{bad} line{'s' if bad > 1 else ''} left out, the first is {first}")


class _Page(HTMLParser):
    """The title and the visible text of an HTML page."""

    HIDDEN = frozenset({"script", "style", "template", "noscript"})
    INLINE = frozenset(
        {"a", "abbr", "b", "cite", "code", "em", "i", "mark", "q", "s", "small", "span", "strong", "sub"}
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.text: list[str] = []
        self._hidden = 0
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self.HIDDEN
        self._in_title = self._in_title or (tag == "title" and not self.title)
        if tag not in self.INLINE:
            self.text.append("\n")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.INLINE:
            self.text.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.HIDDEN:
            self._hidden = max(0, self._hidden - 1)
        self._in_title = self._in_title and tag != "title"
        if tag not in self.INLINE:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title.append(data)
        elif not self._hidden:
            self.text.append(data)
