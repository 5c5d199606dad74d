import pytest

from foveal.reward.cells import is_placeholder, parse_code
from foveal.trajectory import CellResult, ImageRef

SILENT = CellResult(status="ok")
SAID = CellResult(status="ok", stdout="said\n")
SEEN = CellResult(status="ok", images=(ImageRef(sha256="a" * 64, width=4, height=4),))


@pytest.mark.parametrize(
    ("code", "cell"),
    [
        ("# no code is needed here", SILENT),
        ("", SILENT),
        ("pass", SILENT),
        ('"""The answer is plain to see."""', CellResult(status="ok", result="'The answer is plain to see.'")),
        ('print("No code is needed.")', SAID),
        ("answer = 'red'\nprint(f'the answer is {answer}')", SAID),
        ("x = -1\nprint(x, sep='')", SAID),
        ("import math\nprint('done')", SAID),
        ("w = image_1.width", SILENT),
        ("def look(image):\n    return image.crop((0, 0, 9, 9))", SILENT),
        ("print()", CellResult(status="ok", stdout="\n")),
    ],
)
def test_cells_without_effect(code, cell):
    assert is_placeholder(code, cell, [])
    assert is_placeholder(code, cell, ["print(image_2.size)"])


@pytest.mark.parametrize(
    ("code", "cell"),
    [
        ("print(3 * 4)", SAID),
        ("print(image_1.size)", SAID),
        ("print(seen)", SAID),  # a name of an earlier cell
        ("image_1.crop((0, 0, 9, 9))", SEEN),
        ("len(image_1.getcolors())", CellResult(status="ok", result="7")),
        ("for n in range(3):\n    print(n)", SAID),
        ("import os\nprint(os.getcwd())", SAID),
        ("# nothing", CellResult(status="timeout")),
        ("w = image_9.width", CellResult(status="error", stderr="NameError")),
        ("this is no python", SILENT),
    ],
)
def test_cells_with_an_effect_or_a_failure(code, cell):
    assert not is_placeholder(code, cell, [])


@pytest.mark.parametrize(
    ("code", "later"),
    [
        ("box = (10, 20, 30, 40)", "image_1.crop(box)"),
        ("import numpy as np", "print(np.zeros(3))"),
        ("from PIL import Image, ImageOps as ops", "ops.invert(image_1)"),
        ("import os.path", "print(os.path.sep)"),
        ("def look(n):\n    return n", "print(look(1))"),
        ("seen.append(1)", "print(seen)"),
        ("found['a'].sizes[0] = 3", "print(found)"),
        ("del seen[0]", "print(seen)"),
        ("w, h = image_1.size", "print(w)"),
    ],
)
def test_a_silent_cell_has_an_effect_if_a_later_one_uses_what_it_made(code, later):
    assert not is_placeholder(code, SILENT, ["print(1 + 1)", later])
    assert is_placeholder(code, SILENT, ["print(1 + 1)", "this is no python", "box2 = 1"])


def test_a_name_that_is_only_made_again_was_not_used():
    assert is_placeholder("w = image_1.width", SILENT, ["w = 3\nh = 4"])


@pytest.mark.parametrize("code", ["(" * 5000, "x = " + "-" * 100_000 + "1", "\0", "x = '\udc80'"])
def test_code_that_no_parser_takes_is_none(code):
    assert parse_code(code) is None


def test_odd_escapes_in_the_models_code_do_not_warn():
    assert parse_code(r"x = '\d'") is not None
