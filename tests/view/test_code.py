import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.view.code import Box, CropReader, highlight


def read(*cells: str, num_images: int = 2) -> list[list[Box]]:
    reader = CropReader(num_images)
    return [reader.read(cell) for cell in cells]


@pytest.mark.parametrize(
    ("code", "boxes"),
    [
        ("image_1.crop((1, 2, 30, 40))", [(1, 1, 2, 30, 40)]),
        ("image_2.crop([1, 2.5, 30, 40]).resize((9, 9))", [(2, 1, 2.5, 30, 40)]),
        ("image_1.crop(box=(-5, 0, 3, 4))", [(1, -5, 0, 3, 4)]),
        ("b = (1, 2, 3, 4)\nshow(image_1.convert('L').crop(b))", [(1, 1, 2, 3, 4)]),
        ("for i in range(2):\n    image_1.crop((1, 2, 3, 4)).show()", [(1, 1, 2, 3, 4)]),
        ("a = image_1.crop((10, 20, 90, 80))\na.crop((1, 2, 3, 4))", [(1, 10, 20, 90, 80), (1, 11, 22, 13, 24)]),
        ("same = image_1\nsame.crop((1, 2, 3, 4))", [(1, 1, 2, 3, 4)]),
        # Nothing is guessed: computed boxes, unknown pictures, resized pieces, names that were bound again.
        ("x = 4\nimage_1.crop((0, 0, x, x))", []),
        ("image_3.crop((1, 2, 3, 4))", []),
        ("open_it().crop((1, 2, 3, 4))", []),
        ("small = image_1.resize((9, 9))\nsmall.crop((1, 2, 3, 4))", []),
        ("image_1 = image_1.rotate(90)\nimage_1.crop((1, 2, 3, 4))", []),
        ("image_1.crop((1, 2, 3))", []),
        ("image_1.crop((True, 2, 3, 4))", []),
        ("image_1.crop(", []),
        ("\0", []),
        ("(" * 5000, []),
    ],
)
def test_boxes_that_code_cuts_out(code, boxes):
    assert read(code) == [[Box(*box) for box in boxes]]


def test_names_carry_over_to_the_next_cell():
    cells = "part = image_1.crop((10, 20, 90, 80))", "part.crop((0, 0, 5, 5))", "part = None", "part.crop((0, 0, 5, 5))"
    assert [len(boxes) for boxes in read(*cells)] == [1, 1, 0, 0]
    assert read(*cells)[1] == [Box(1, 10, 20, 15, 25)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_highlighting_loses_nothing_and_escapes_everything(source):
    shown = highlight(source)
    assert re.fullmatch(r'(?:[^<>]|<span class="\w\w">|</span>)*', shown)
    assert html.unescape(re.sub(r"</?span[^>]*>", "", shown)) == source


def test_the_usual_kinds_are_coloured():
    shown = highlight("def f():  # note\n    return 'a' + str(1)")
    for piece in ('kw">def', 'fn">f', 'co"># note', 'st">&#x27;', 'bi">str', 'nu">1'):
        assert piece in shown
