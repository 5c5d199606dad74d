import numpy as np
import pytest
from PIL import Image

from foveal.curate.hashes import REACH, HashIndex, HashTable, PictureHash, perceptual_hash
from foveal.curate.nearness import Rows, groups


def bits(count, size, rng):
    return sum(1 << int(place) for place in rng.choice(size, count, replace=False))


def near(table, asked):
    found = {}
    for pairs in HashIndex(table).near(asked):
        for place, other, distance in zip(*(part.tolist() for part in pairs), strict=True):
            assert (place, other) not in found  # each pair once
            found[place, other] = distance
    return found


@pytest.mark.parametrize("clustered", [False, True])
def test_the_index_finds_what_comparing_all_pairs_finds(clustered):
    rng = np.random.default_rng(5)
    centre = bits(32, 64, rng)
    hashes = []
    for _ in range(400):
        start = centre if clustered else bits(32, 64, rng)
        hashes.append(PictureHash(start ^ bits(rng.integers(0, 12), 64, rng), bits(128, 256, rng)))
    hashes += [PictureHash(entry.coarse ^ bits(n % 16, 64, rng), entry.fine) for n, entry in enumerate(hashes[:100])]
    groups = np.array([n % 2 for n in range(len(hashes))], np.uint64)
    table = HashTable(hashes, groups)
    expected = {
        (one, other): (hashes[one].fine ^ hashes[other].fine).bit_count()
        for one in range(len(hashes))
        for other in range(len(hashes))
        if (hashes[one].coarse ^ hashes[other].coarse).bit_count() <= REACH and groups[one] == groups[other]
    }
    assert near(table, table) == expected and len(expected) > len(hashes)


def test_no_hashes_at_all():
    empty, some = HashTable([]), HashTable([PictureHash(1, 1)])
    assert near(empty, some) == near(some, empty) == {}
    assert Rows([], []).near(range(0), 48) == {}


def test_very_many_pictures_that_look_alike_are_compared_in_pieces():
    rng = np.random.default_rng(1)
    centre = bits(32, 64, rng)
    hashes = [PictureHash(centre ^ (n & 0b11), n) for n in range(1500)]
    table = HashTable(hashes)
    sizes = [len(pairs.asked) for pairs in HashIndex(table).near(table)]
    assert sum(sizes) == 1500**2 and max(sizes) < 2**21


def test_the_hash_is_the_same_for_ever():
    """Kept hashes are compared with those that a later version makes."""
    across = np.add.outer(np.arange(120) ** 2 // 60, np.arange(160)) % 256
    hashed = perceptual_hash(Image.fromarray(np.stack([across] * 3, 2).astype(np.uint8)))
    assert hashed.coarse.bit_count() <= 32 and hashed.fine.bit_count() <= 128
    assert (hashed.coarse, hashed.fine % 2**32) == GOLDEN


GOLDEN = (13346512797677039, 380301686)


def test_groups_are_those_of_all_pairs_and_their_chains():
    rng = np.random.default_rng(6)
    hashes = []
    for _ in range(700):
        last = hashes[-1] if hashes and rng.random() < 0.6 else PictureHash(bits(32, 64, rng), bits(128, 256, rng))
        hashes.append(PictureHash(last.coarse ^ bits(2, 64, rng), last.fine ^ bits(10, 256, rng)))
    hashes += hashes[100:700:50]
    expected = list(range(len(hashes)))
    for one in range(len(hashes)):
        for other in range(one):
            coarse = (hashes[one].coarse ^ hashes[other].coarse).bit_count()
            if coarse <= REACH and (hashes[one].fine ^ hashes[other].fine).bit_count() <= 24:
                old, new = sorted((expected[one], expected[other]), reverse=True)
                expected = [new if first == old else first for first in expected]
    assert groups(hashes, 24) == expected and 100 < len(set(expected)) < 600
    assert groups(hashes, -1) == [*range(700), *range(100, 700, 50)] and groups([], 24) == []


def test_very_many_that_look_alike_do_not_cost_a_step_a_pair(steps):
    rng = np.random.default_rng(3)
    scenes = [PictureHash(bits(32, 64, rng), bits(128, 256, rng)) for _ in range(3)]
    alike = [
        PictureHash(scene.coarse ^ bits(2, 64, rng), scene.fine ^ bits(6, 256, rng))
        for _ in range(400)
        for scene in scenes
    ]
    assert groups(alike, 24) == [0, 1, 2] * 400
    pairs = 3 * 400 * 399 / 2
    assert steps(lambda: groups(alike, 24)) < pairs / 2


def test_a_long_chain_of_pictures_in_any_order_is_one_group():
    rng = np.random.default_rng(8)
    chain = [PictureHash(0, (1 << min(number, 256)) - 1) for number in range(0, 257, 8)]
    for order in (range(33), range(32, -1, -1), rng.permutation(33)):
        assert groups([chain[place] for place in order], 8) == [0] * 33
        assert len(set(groups([chain[place] for place in order], 7))) == 33
