import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from foveal.tools.search.image import ImageIndex
from foveal.tools.search.text import TextIndex
from foveal.trajectory import ImageStore, SearchHit


@pytest.fixture
def find() -> Callable[..., list[SearchHit]]:
    """Search a text index by words or an image index by a picture, and wait for the hits."""

    def search(index: TextIndex | ImageIndex, query: str | Image.Image, k: int = 5) -> list[SearchHit]:
        if isinstance(index, TextIndex):
            return asyncio.run(index.search(query, k))
        return asyncio.run(index.search(query, k, ImageStore()))

    return search


@pytest.fixture
def damage() -> Callable[[Path], None]:
    """Overwrite a database with noise, its first page kept, as a bad disk or an interrupted copy leaves it."""

    def overwrite(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))

    return overwrite
