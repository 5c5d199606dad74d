import random

import numpy as np
import pytest
from PIL import Image

from foveal.micro import scenes, world


def test_same_seed_same_picture():
    first, second = (scenes.generate(random.Random(5), ["PE", "FR"], 2, 2) for _ in range(2))
    assert first[1:] == second[1:]
    assert first.image.tobytes() == second.image.tobytes()


@pytest.mark.parametrize("seed", range(20))
def test_boards_lie_on_the_grid_apart_and_inside(seed: int):
    scene = scenes.generate(random.Random(seed), ["PE", "FR"], 3, 2)
    assert len({board.colour for board in scene.boards}) == 5
    cells = set()
    for board in scene.boards:
        left, top, right, bottom = board.box
        assert left % 16 == 0 and top % 16 == 0
        assert left >= scenes.FRAME and right + scenes.FRAME <= scenes.SIZE
        assert top >= scenes.FRAME and bottom + scenes.FRAME <= scenes.SIZE
        cells.add((left // scenes.CELL, top // scenes.CELL))
        # The frame around the content has the board's colour on all four sides.
        for at in ((left - 6, top + 20), (right + 5, top + 20), (left + 20, top - 6), (left + 20, bottom + 5)):
            assert scene.image.getpixel(at) == scenes.COLOURS[board.colour]
    assert len(cells) == 5


def test_a_flag_board_holds_the_flag_to_the_pixel():
    scene = scenes.generate(random.Random(1), ["PE"], 1, 1)
    board = next(board for board in scene.boards if board.flag)
    assert scene.image.crop(board.box).tobytes() == scenes.sprites("scene")["PE"].tobytes()


def test_numbers_are_legible_in_a_crop_and_not_in_the_view():
    """The ink of a number spans under 4 of the view's rows, and over 25 rows of the view of its crop."""
    image = Image.new("RGB", (scenes.SIZE, scenes.SIZE), "white")
    scenes._paint(image, scenes.ImageDraw.Draw(image), scenes.Board("red", 128, 128, 47, None), random.Random(0))
    ink = np.asarray(image.crop((128, 128, 192, 176)).convert("L")) < 128
    rows = int(ink.any(1).sum())
    assert rows / 4 < 4
    assert rows * 112 / 48 > 25


def test_the_world_knows_its_scenes_and_nothing_else():
    for seed in range(10):
        assert world.knows(scenes.generate(random.Random(seed), ["PE"], 1, 1).image)
    noise = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    assert not world.knows(Image.fromarray(noise))
    assert not world.knows(Image.new("RGB", (448, 448), "white"))
    assert not world.knows(scenes.generate(random.Random(0), ["PE"], 1, 1).image.resize((640, 480)))
