import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.bench.realxmini import assets, charts, reader, scenes
from foveal.bench.realxmini.reader import Reader


def written(text: str, size: int, width: int = 0) -> tuple[Image.Image, list[int]]:
    """A picture with one plate, and the plate's box."""
    shape = (width or reader.plate_size(text, size)[0] + 40, reader.plate_height(size))
    image = Image.new("RGB", (shape[0] + 40, shape[1] + 40), (90, 120, 60))
    box = scenes.write(random.Random(0), image, text, (20, 20), shape, size)
    return image, [int(str(side)) for side in box]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([12, 20, 60]))
def test_numbers_are_read_as_they_were_written(number, size):
    image, box = written(str(number), size)
    assert Reader(image, size).number(box) == str(number)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=7), min_size=1, max_size=2))
def test_names_are_read_as_they_were_written(words):
    name = " ".join(word.capitalize() for word in words)
    image, box = written(name, 12)
    assert Reader(image, 12).name(box) == name


def test_an_empty_plate_says_nothing():
    image, box = written("", 12, 60)
    assert Reader(image, 12).number(box) == ""


def test_a_mark_is_found_among_others_close_by_but_only_by_chance_at_the_base_view():
    right = {"close": 0, "far": 0}
    for seed in range(6):
        rng = random.Random(seed)
        marks = scenes.marks(rng, 12)
        drawn = scenes.draw(rng, [scenes.Card(mark, None, "12") for mark in marks], near=True)
        boxes = [board["mark"] for board in drawn.layout["boards"]]
        close = Reader(drawn.image, 12)
        far = Reader(reader.base_view(drawn.image), 12, far=True)
        right["close"] += sum(close.find(boxes, mark) == i for i, mark in enumerate(marks))
        right["far"] += sum(far.find(boxes, mark) == i for i, mark in enumerate(marks))
    assert right["close"] == 72
    assert right["far"] <= 15  # chance is 6; P(more than 15 by chance) < 0.001


def test_large_words_are_read_at_the_base_view():
    rng = random.Random(3)
    cards = [
        scenes.Card(mark, None, name)
        for mark, name in zip(("K35", "K53", "K98"), ("Salta", "Graz", "Espoo"), strict=True)
    ]
    drawn = scenes.draw(rng, cards, near=False)
    far = Reader(reader.base_view(drawn.image), drawn.layout["size"], far=True)
    boards = drawn.layout["boards"]
    assert [far.name(board["words"]) for board in boards] == ["Salta", "Graz", "Espoo"]
    assert [far.find([board["mark"] for board in boards], mark) for mark in ("K98", "K35")] == [2, 0]


@pytest.mark.parametrize("near", [True, False])
def test_bars_are_measured_within_a_year(near):
    rng = random.Random(5)
    count = charts.NEAR_PANELS if near else 1
    years = [40.0, 55.5, 71.2, 83.9, 62.0]
    panels = [charts.Panel(f"K{i}3" if near else "", tuple(zip("ABCDE", years, strict=True))) for i in range(count)]
    drawn = charts.draw(rng, panels, near)
    found = Reader(drawn.image, drawn.layout["size"]).bars(drawn.layout["panels"][-1])
    assert found == pytest.approx(years, abs=1)


def test_the_same_thing_is_told_from_others():
    rng = random.Random(7)
    names = rng.sample(sorted(assets.things()), 12)
    cards = [
        scenes.Card(mark, assets.sticker(assets.things()[name], 192), "12")
        for mark, name in zip(scenes.marks(rng, 12), names, strict=True)
    ]
    drawn = scenes.draw(rng, cards, True, [assets.things()[name] for name in names[:1] * 5 + names[1:2] * 3])
    eye = Reader(drawn.image, drawn.layout["size"])
    found = [eye.alike(board["content"], drawn.layout["loose"]) for board in drawn.layout["boards"]]
    assert found == [5, 3] + [0] * 10
