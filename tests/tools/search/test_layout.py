import numpy as np
from PIL import Image

from foveal.tools.search.layout import SIZE, colour_layout, distances


def test_cells_are_mean_colours_in_reading_order():
    image = Image.new("RGB", (80, 80), "white")
    image.paste((0, 0, 0), (0, 0, 10, 10))
    image.paste((255, 0, 0), (70, 0, 80, 10))
    layout = colour_layout(image)
    assert layout.shape == (SIZE,)
    cells = layout.reshape(8, 8, 3)
    assert cells[0, 0].tolist() == [0, 128, 128]
    assert cells[7, 7].tolist() == [255, 128, 128]
    assert cells[0, 7].tolist() == list(Image.new("RGB", (1, 1), (255, 0, 0)).convert("YCbCr").getpixel((0, 0)))


def test_shape_of_the_picture_does_not_matter():
    wide = Image.new("RGB", (160, 16), "navy")
    wide.paste("yellow", (80, 0, 160, 16))
    tall = wide.resize((16, 160), Image.Resampling.NEAREST)
    assert np.abs(colour_layout(wide) - colour_layout(tall)).max() <= 1


def test_transparency_counts_as_white_and_modes_are_alike():
    clear = Image.new("RGBA", (9, 9), (255, 0, 0, 0))
    assert (colour_layout(clear) == colour_layout(Image.new("RGB", (9, 9), "white"))).all()
    grey = Image.new("L", (9, 9), 77)
    assert (colour_layout(grey) == colour_layout(grey.convert("RGB"))).all()
    assert colour_layout(Image.new("RGB", (1, 1))).shape == (SIZE,)


def test_distance_is_the_mean_absolute_difference():
    stored = np.stack([np.zeros(SIZE), np.full(SIZE, 255.0), np.r_[np.full(SIZE // 2, 10.0), np.zeros(SIZE // 2)]])
    away = distances(stored.astype(np.float32), np.zeros(SIZE, dtype=np.float32))
    assert away.tolist() == [0, 255, 5]
