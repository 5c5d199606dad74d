"""Comparing many questions with one another and with those of benchmarks, without looking at all pairs."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from foveal.curate.hashes import HashIndex, HashTable, Numbers, PictureHash, Words
from foveal.curate.texts import FLOOR, KnownText, TextIndex

CHUNK = 1024
"""Pictures that are compared with all others at a time."""
_NONE = PictureHash(0, 0)
T = TypeVar("T")


class Near(NamedTuple):
    """Something that is near."""

    place: int
    distance: int
    """Bits of 256."""


class Rows:
    """Questions among which near duplicates are looked for: the same words, and as many pictures, all of them near.

    Args:
        texts: The words of each question.
        pictures: The hashes of each question's pictures.
    """

    def __init__(self, texts: Sequence[str], pictures: Sequence[tuple[PictureHash, ...]]):
        self._same: dict[int, int] = {}
        firsts: dict[bytes, int] = {}
        for place, (text, hashed) in enumerate(zip(texts, pictures, strict=True)):
            first = firsts.setdefault(_digest(text, *hashed), place)
            if first != place:
                self._same[place] = first
        # What looks exactly as an earlier row is found already; many of them would make many pairs.
        kept = [place for place in firsts.values() if pictures[place]]
        self._places: Numbers = np.array(kept, np.int64)
        self._groups: Words = np.array(
            [int.from_bytes(_digest(texts[place], len(pictures[place]))[:6]) for place in kept], np.uint64
        )
        most = max((len(pictures[place]) for place in kept), default=1)
        self._tables = [
            HashTable([pictures[place][n] if n < len(pictures[place]) else _NONE for place in kept], self._groups)
            for n in range(most)
        ]
        self._index = HashIndex(self._tables[0])

    def near(self, places: range, farthest: int) -> dict[int, Near]:
        """The nearest earlier question of each of these, the first if several are; none is farther than `farthest`."""
        found = {place: Near(self._same[place], 0) for place in places if place in self._same}
        start, end = np.searchsorted(self._places, (places.start, places.stop))
        asked = self._tables[0].part(int(start), int(end))
        best = np.full(end - start, np.iinfo(np.int64).max)
        for pairs in self._index.near(asked):
            earlier = pairs.found < pairs.asked + start
            mine, other, distances = pairs.asked[earlier], pairs.found[earlier], pairs.distances[earlier]
            for table in self._tables[1:]:
                distances = np.maximum(distances, table.distances(mine + start, other))
            near = distances <= farthest
            np.minimum.at(best, mine[near], (distances[near] << 32) | other[near])
        for asked_place, packed in enumerate(best):
            if packed < np.iinfo(np.int64).max:
                distance, other_place = int(packed) >> 32, int(packed) & 0xFFFFFFFF
                found[int(self._places[start + asked_place])] = Near(int(self._places[other_place]), distance)
        return found


def groups(pictures: Sequence[PictureHash], farthest: int) -> list[int]:
    """For every picture the first one of its group: all that are near to one another, over however many others.

    Args:
        pictures: Their hashes.
        farthest: Bits of 256 in which two may differ that are near.
    """
    places: dict[PictureHash, int] = {}
    for place, picture in enumerate(pictures):
        places.setdefault(picture, place)
    table, firsts = HashTable(list(places)), list(places.values())
    index = HashIndex(table)
    leaders: Numbers = np.arange(len(firsts))
    for start in range(0, len(firsts), CHUNK):
        for pairs in index.near(table.part(start, start + CHUNK)):
            near = pairs.distances <= farthest
            leaders = _united(leaders, pairs.asked[near] + start, pairs.found[near])
    led = dict(zip(places, (firsts[leader] for leader in leaders.tolist()), strict=True))
    return [led[picture] for picture in pictures]


def _united(leaders: Numbers, ones: Numbers, others: Numbers) -> Numbers:
    """The leaders when each of these pairs is in one group; everyone's leader is the first of the group.

    Where many look alike, nearly all pairs are in one group already: none may cost a step of its own.
    """
    while True:
        ones, others = leaders[ones], leaders[others]
        apart = ones != others
        ones, others = ones[apart], others[apart]
        if not len(ones):
            return leaders
        np.minimum.at(leaders, np.maximum(ones, others), np.minimum(ones, others))
        while (leaders != (above := leaders[leaders])).any():
            leaders = above


class Benchmarks:
    """Questions that nothing may leak from.

    Args:
        texts: Their words.
        pictures: The hashes of each question's pictures.
    """

    def __init__(self, texts: Sequence[KnownText], pictures: Sequence[Sequence[PictureHash]]):
        self._texts = texts
        shown: dict[PictureHash, list[int]] = defaultdict(list)
        for place, hashed in enumerate(pictures):
            for picture in dict.fromkeys(hashed):
                shown[picture].append(place)
        self._shown = list(shown.values())
        """The questions of each picture."""
        self._pictures = HashIndex(HashTable(list(shown)))
        worded: dict[str, int] = {}
        for place, text in enumerate(texts):
            worded.setdefault(text.normal, place)
        self._worded = list(worded.values())
        self._index = TextIndex([texts[place] for place in self._worded])

    def near_pictures(self, asked: Sequence[Sequence[PictureHash]], farthest: int) -> dict[int, list[Near]]:
        """The benchmark questions with a picture near to one of each question asked about, nearest first."""
        owners = np.array([place for place, pictures in enumerate(asked) for _ in pictures], np.int64)
        table = HashTable([picture for pictures in asked for picture in pictures])
        found: dict[int, dict[int, int]] = defaultdict(dict)
        for pairs in self._pictures.near(table):
            near = pairs.distances <= farthest
            owned = owners[pairs.asked[near]].tolist()
            for owner, picture, bits in zip(
                owned, pairs.found[near].tolist(), pairs.distances[near].tolist(), strict=True
            ):
                found[owner][picture] = min(bits, found[owner].get(picture, bits))
        return {
            owner: [
                Near(place, bits)
                for picture, bits in sorted(pictures.items(), key=lambda item: (item[1], item[0]))
                for place in self._shown[picture]
            ]
            for owner, pictures in found.items()
        }

    def near_texts(self, words: Sequence[str]) -> list[tuple[int, float]]:
        """Benchmark questions whose words are near, and their overlap.

        Most overlap first. One that has less, and no more words, would leak under no threshold under which those
        before it do not: it is left out.
        """
        found = [(self._worded[place], overlap) for place, overlap in self._index.near(words)]
        found.sort(key=lambda item: (-item[1], -self._texts[item[0]].words, item[0]))
        return _rising(found, lambda item: self._texts[item[0]].words)

    def near_both(self, near: Sequence[Near], words: Sequence[str]) -> list[tuple[int, int, float]]:
        """Of questions with near pictures, those whose words are near, too: place, distance, overlap.

        Nearest picture first; one that is farther, and has no more overlap, is left out.
        """
        overlaps = ((place, distance, self._texts[place].overlap(words)) for place, distance in near)
        found = sorted((item for item in overlaps if item[2] >= FLOOR), key=lambda item: (item[1], -item[2], item[0]))
        return _rising(found, lambda item: item[2])


def _rising(items: Sequence[T], value: Callable[[T], float]) -> list[T]:
    """The items whose value is above that of all before them."""
    highest, kept = -math.inf, []
    for item in items:
        if value(item) > highest:
            highest = value(item)
            kept.append(item)
    return kept


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode(errors="replace")).digest()[:16]
