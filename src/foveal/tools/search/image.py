"""Offline image search: an index over pictures by colours and edges, in one SQLite file with their thumbnails."""

import asyncio
import io
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.errors import SearchError
from foveal.tools.search.database import check_database, create_database, reading, storable, writing
from foveal.tools.search.layout import SIZE, describe, distances
from foveal.trajectory import ImageStore, SearchHit, to_rgb

FILE = "pictures.db"
"""Name of the image index in an index folder."""

THUMBNAIL = 224
"""Longest side of a stored picture in pixels; smaller ones are kept as they are."""

SCHEMA = """
create table pictures(
    id integer primary key autoincrement, title text, link text, source text, origin text, layout blob, thumbnail blob);
create index origins on pictures(origin)
"""

_BROKEN = "delete the index folder and build it again with: foveal index build DIR"


class Picture(NamedTuple):
    """One picture to find."""

    title: str
    image: Image.Image
    link: str | None = None
    source: str | None = None
    """Where it comes from, as shown with the hit."""
    origin: str | None = None
    """The file that it was read from; all pictures of one origin can be removed together."""


class ImageIndex:
    """An image index in a folder. The descriptors are held in memory, the thumbnails stay on disk.

    Pictures that another process adds are seen after the index is opened anew.
    """

    name = "offline image index"

    def __init__(self, path: Path):
        self._path = path
        self._load()

    @classmethod
    def create(cls, folder: Path) -> "ImageIndex":
        """Make an empty index in a folder, which is made too if need be.

        Raises:
            InputError: The folder holds an image index already, or cannot be written.
        """
        create_database(folder / FILE, "picture", SCHEMA)
        return cls(folder / FILE)

    @staticmethod
    def check(folder: Path) -> None:
        """Check that a folder holds an index that `open` can open, without reading its descriptors.

        Raises:
            InputError: The folder holds none, or one of another version.
            SearchError: The file is damaged.
        """
        check_database(folder / FILE, "picture")

    @classmethod
    def open(cls, folder: Path) -> "ImageIndex":
        """Open the index of a folder.

        Raises:
            InputError: The folder holds none, or one of another version.
            SearchError: The file is damaged.
        """
        cls.check(folder)
        return cls(folder / FILE)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._ids)

    def add(self, pictures: Iterable[Picture]) -> int:
        """Add pictures to those that are there: all of them, or none if the iterable or SQLite raises.

        Returns:
            How many were added.

        Raises:
            SearchError: The index cannot be written.
        """
        added = 0
        with writing(self._path) as connection:
            for picture in pictures:
                layout = describe(picture.image).astype(np.uint8).tobytes()
                about = [value and storable(value) for value in (picture.title, *picture[2:])]
                connection.execute(
                    "insert into pictures(title, link, source, origin, layout, thumbnail) values (?, ?, ?, ?, ?, ?)",
                    (*about, layout, _png(shrunk(picture.image))),
                )
                added += 1
        self._load()
        return added

    def remove(self, origins: Iterable[str]) -> None:
        """Remove all pictures of some origins; an origin that has none is no error.

        Raises:
            SearchError: The index cannot be written.
        """
        with writing(self._path) as connection:
            connection.executemany("delete from pictures where origin = ?", ((storable(origin),) for origin in origins))
        self._load()

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The `k` pictures with the most similar colours and edges, best first; thumbnails are put into `images`.

        A hit's score is 1 for the same descriptor, 0 for the most different one.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, image, k, images)

    def _search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        away = distances(self._layouts, describe(image))
        order = np.argsort(away, kind="stable")[: max(k, 0)]
        return picture_hits(self._path, [(self._ids[place], 1 - float(away[place]) / 255) for place in order], images)

    def _load(self) -> None:
        """Read all descriptors: 1280 bytes a picture."""
        with reading(self._path) as connection:
            rows = connection.execute("select id, layout from pictures order by id").fetchall()
        if any(not isinstance(layout, bytes) or len(layout) != SIZE for _, layout in rows):
            raise SearchError(f"index file {self._path} holds a descriptor that is not {SIZE} bytes", _BROKEN)
        flat = np.frombuffer(b"".join(layout for _, layout in rows), dtype=np.uint8)
        self._ids = [int(row) for row, _ in rows]
        self._layouts: npt.NDArray[np.float32] = flat.reshape(-1, SIZE).astype(np.float32)


def picture_hits(path: Path, found: Iterable[tuple[int, float]], images: ImageStore) -> list[SearchHit]:
    """Hits of an image index from row ids and scores; their thumbnails are put into `images`.

    Raises:
        SearchError: The index is damaged or gone, or a row is.
    """
    hits = []
    with reading(path) as connection:
        for row, score in found:
            about = connection.execute("select title, link, source from pictures where id = ?", (row,)).fetchone()
            if about is None:
                raise SearchError(f"index file {path} was changed while it was open", "open the index anew")
            title, link, source = about
            thumbnail = images.put(read_thumbnail(connection, row, path))
            hits.append(SearchHit(title=title, link=link, source=source, thumbnail=thumbnail, score=round(score, 4)))
    return hits


def read_thumbnail(connection: sqlite3.Connection, row: int, path: Path) -> Image.Image:
    """The stored picture of a row.

    Raises:
        SearchError: It cannot be read.
    """
    title, stored = connection.execute("select title, thumbnail from pictures where id = ?", (row,)).fetchone()
    try:
        with Image.open(io.BytesIO(stored), formats=("PNG",)) as file:
            return file.convert("RGB")
    except (OSError, TypeError) as error:
        raise SearchError(f"thumbnail of {title!r} in {path} cannot be read: {error}", _BROKEN) from error


def shrunk(image: Image.Image) -> Image.Image:
    """The picture as it is stored: RGB, no side longer than `THUMBNAIL`."""
    small = to_rgb(image)
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return small


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
