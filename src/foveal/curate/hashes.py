"""Perceptual hashes of pictures, and the search for near ones.

A hash is the sign pattern of the lowest frequencies (DCT) of a small grey copy, 64 bits of a copy of 32 x 32 to find
candidates and 256 bits of one of 64 x 64 to compare them. It stays nearly the same when a picture is scaled or saved
again; `docs/curation-sources.md` has what was measured.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.trajectory import image_ref

Words = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

VERSION = 1
"""Of the hashes; those that were kept by another version are made anew."""
FLAT = 2.0
"""Standard deviation of the grey copy (0 to 255) below which a picture has no pattern to speak of."""
BITS = 256
"""Bits that two pictures can differ in."""

REACH = 11
"""Candidates differ in at most so many of the 64 bits."""
BANDS = 4
"""Parts of 16 bits; two hashes within `REACH` differ in at most two bits of one of them."""
BLOCK = 2**20
"""Pairs that are compared at a time."""


class PictureHash(NamedTuple):
    """What stands for the looks of a picture."""

    coarse: int
    """64 bits."""
    fine: int
    """256 bits."""


def perceptual_hash(image: Image.Image) -> PictureHash:
    """The hash of an RGB picture. That of a picture of nearly one colour is a hash of its pixels: near to no other."""
    grey = image.convert("L")
    if np.asarray(grey.resize((32, 32), Image.Resampling.BOX)).std() < FLAT:
        digest = int(image_ref(image).sha256, 16)
        return PictureHash(digest >> 192, digest)
    return PictureHash(_signs(grey, 8), _signs(grey, 16))


def _signs(grey: Image.Image, kept: int) -> int:
    """A bit for each of the lowest kept x kept frequencies: is it above their median?"""
    copy = np.asarray(grey.resize((4 * kept, 4 * kept), Image.Resampling.BOX), np.int64)
    waves = _waves(kept)
    low = waves @ copy @ waves.T
    low[0, 0] = low[0, kept]  # the mean is no pattern: the next higher frequency stands in its place
    low = low[:kept, :kept].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes())


@cache
def _waves(kept: int) -> Numbers:
    """DCT rows of the lowest kept + 1 frequencies, in whole numbers: the same bits on every machine."""
    waves = np.cos(math.pi / (4 * kept) * np.outer(np.arange(kept + 1), np.arange(4 * kept) + 0.5))
    whole: Numbers = np.rint(waves * 4096).astype(np.int64)
    return whole


class HashTable:
    """Hashes of many pictures as arrays.

    Args:
        hashes: In order.
        groups: A number below 2^48 for each; pictures are near only to those of their group. One group by default.
    """

    def __init__(self, hashes: list[PictureHash], groups: Words | None = None):
        fine = b"".join(entry.fine.to_bytes(BITS // 8) for entry in hashes)
        self.coarse: Words = np.array([entry.coarse for entry in hashes], np.uint64)
        self.fine: Words = np.frombuffer(fine, np.uint64).reshape(len(hashes), BITS // 64)
        self.groups: Words = np.zeros(len(hashes), np.uint64) if groups is None else groups

    def part(self, start: int, end: int) -> "HashTable":
        """The hashes from one place to another."""
        part = HashTable([])
        part.coarse, part.fine, part.groups = (whole[start:end] for whole in (self.coarse, self.fine, self.groups))
        return part

    def distances(self, places: Numbers, others: Numbers, table: "HashTable | None" = None) -> Numbers:
        """Bits in which the pictures at `places` differ from those at `others`, of this table or another."""
        differing = self.fine[places] ^ (table or self).fine[others]
        bits: Numbers = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
        return bits

    def keys(self, band: int) -> Words:
        """Group and one band of the coarse hash, as one number."""
        part = (self.coarse >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        return (self.groups << np.uint64(16)) | part


class Pairs(NamedTuple):
    """Near pictures: places in the table that was asked about, places in the index, and distances in bits of 256."""

    asked: Numbers
    found: Numbers
    distances: Numbers


class HashIndex:
    """Finds the near pictures of a table without comparing all pairs.

    Args:
        table: The pictures that can be found.
    """

    def __init__(self, table: HashTable):
        self.table = table
        self._orders = [np.argsort(table.keys(band), kind="stable") for band in range(BANDS)]
        self._keys = [table.keys(band)[order] for band, order in enumerate(self._orders)]
        self._flips = np.array([flip for flip in range(2**16) if flip.bit_count() <= REACH // BANDS], np.uint64)

    def near(self, asked: HashTable) -> Iterator[Pairs]:
        """All pairs of pictures whose coarse hashes are within `REACH`, each once, in blocks of bounded size."""
        for band, (order, keys) in enumerate(zip(self._orders, self._keys, strict=True)):
            wanted = (asked.keys(band)[:, None] ^ self._flips).ravel()
            first = np.searchsorted(keys, wanted, "left")
            counts = np.searchsorted(keys, wanted, "right") - first
            for hit in _blocks(np.flatnonzero(counts), counts):
                repeats = counts[hit]
                places = np.repeat(hit // len(self._flips), repeats)
                ends = np.cumsum(repeats)
                offsets = np.arange(ends[-1]) - np.repeat(ends - repeats, repeats)
                found = order[np.repeat(first[hit], repeats) + offsets]
                yield self._compare(asked, places, found, band)

    def _compare(self, asked: HashTable, places: Numbers, found: Numbers, band: int) -> Pairs:
        differing = asked.coarse[places] ^ self.table.coarse[found]
        kept = np.bitwise_count(differing) <= REACH
        for earlier in range(band):  # a pair that agrees in several bands was given with the first
            part = (differing >> np.uint64(16 * earlier)) & np.uint64(0xFFFF)
            kept &= np.bitwise_count(part) > REACH // BANDS
        places, found = places[kept], found[kept]
        return Pairs(places, found, asked.distances(places, found, self.table))


def _blocks(hits: Numbers, counts: Numbers) -> Iterator[Numbers]:
    """The hits in pieces of about `BLOCK` pairs."""
    if len(hits):
        numbers = np.cumsum(counts[hits]) // BLOCK
        yield from np.split(hits, np.flatnonzero(np.diff(numbers)) + 1)
