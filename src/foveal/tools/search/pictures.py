"""Search by picture with the vectors of a model, in place of the descriptor that every image index has.

Vectors are made of the thumbnails in the index, so that they need nothing else, and can be made anew by another model.
A query is made as small as they are.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from foveal.errors import SearchError
from foveal.tools.search.database import reading
from foveal.tools.search.image import FILE, ImageIndex, picture_hits, read_thumbnail, shrunk
from foveal.tools.search.vectors import Array, Model, read_vectors, store_vectors
from foveal.trajectory import ImageStore, SearchHit

TOGETHER = 32
"""Pictures between two commits."""


class PictureEmbedder(Model, Protocol):
    """A model that turns pictures into vectors: `policy.tower.Tower`, or any object with these three."""

    def embed(self, pictures: Sequence[Image.Image]) -> Array:
        """The vectors of some RGB pictures, of any length above 0: (pictures, size). Called from any thread."""


def embed_pictures(folder: Path, embedder: PictureEmbedder, progress: Callable[[int], None] = lambda done: None) -> int:
    """Give every picture of an index folder that has none a vector. Vectors of another model are replaced.

    Args:
        folder: An index folder.
        embedder: The model.
        progress: Told how many are done.

    Returns:
        How many were embedded.

    Raises:
        InputError: The folder holds no image index, or the model makes no vectors of its size.
        SearchError: The index is damaged or cannot be written.
    """
    path = folder / FILE
    ImageIndex.check(folder)

    def embed(connection: sqlite3.Connection, ids: Sequence[int]) -> Array:
        return _units(embedder, [read_thumbnail(connection, row, path) for row in ids])

    return store_vectors(path, "pictures", embedder, embed, TOGETHER, progress)


class EmbeddedImages:
    """Image search by the vectors of a model alone.

    Args:
        folder: An index folder whose pictures have vectors.
        embedder: The model that made them.

    Raises:
        InputError: There are no vectors, they are of another model, or some pictures have none.
        SearchError: The index is damaged.
    """

    def __init__(self, folder: Path, embedder: PictureEmbedder):
        self.name = f"{ImageIndex.name} with {embedder.name}"
        self._path, self._embedder = folder / FILE, embedder
        ImageIndex.check(folder)
        fix = f"embed them with: foveal index embed-images {folder} CHECKPOINT (or embed_pictures, in Python)"
        self._vectors = read_vectors(self._path, "pictures", embedder, fix)

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The `k` pictures nearest by cosine, which is a hit's score, best first; thumbnails are put into `images`.

        Raises:
            SearchError: The index is damaged or gone.
        """
        return await asyncio.to_thread(self._search, image, k, images)

    def _search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        if k < 1 or not self._vectors.ids:
            return []
        query = _units(self._embedder, [shrunk(image)])[0]
        near = self._vectors.nearest(query, k)
        with reading(self._path) as connection:
            if not all(self._vectors.holds(connection, row) for row, _ in near):
                raise SearchError(f"index file {self._path} was changed while it was open", "open the index anew")
        return picture_hits(self._path, near, images)


def _units(embedder: PictureEmbedder, pictures: Sequence[Image.Image]) -> Array:
    """The vectors of some pictures, of length 1."""
    vectors = np.asarray(embedder.embed(pictures), dtype=np.float32)
    units: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return units
