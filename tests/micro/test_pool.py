import random

import numpy as np
import pytest
from PIL import Image

from foveal.micro import scenes
from foveal.micro.model import image_processor
from foveal.micro.pool import Drawn, grid_of, patchify


@pytest.mark.parametrize(("size", "view"), [((448, 448), (112, 112)), ((64, 48), (140, 112))])
def test_patches_are_those_of_the_processor(size: tuple[int, int], view: tuple[int, int]):
    image = scenes.generate(random.Random(0), ["PE"], 2, 1).image.resize(size)
    features = image_processor()(images=[image], return_tensors="np")
    seen = np.asarray(image.resize(view, Image.Resampling.BICUBIC))
    assert tuple(features["image_grid_thw"][0]) == grid_of(seen)
    np.testing.assert_array_equal(patchify(seen[None]), features["pixel_values"])


def test_crops_show_what_their_board_shows(pool: list[Drawn]):
    for drawn in pool:
        assert [crop.number for crop in drawn.crops] == [board.number for board in drawn.boards]
