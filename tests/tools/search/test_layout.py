import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from foveal.tools.search.layout import SIZE, colour_layout, describe, distances, edge_layout


def test_cells_are_mean_colours_in_reading_order():
    image = Image.new("RGB", (80, 80), "white")
    image.paste((0, 0, 0), (0, 0, 10, 10))
    image.paste((255, 0, 0), (70, 0, 80, 10))
    layout = colour_layout(image)
    assert layout.shape == (192,)
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
    assert colour_layout(Image.new("RGB", (1, 1))).shape == (192,)


def test_distance_is_the_mean_absolute_difference():
    stored = np.stack([np.zeros(SIZE), np.full(SIZE, 255.0), np.r_[np.full(SIZE // 2, 10.0), np.zeros(SIZE // 2)]])
    away = distances(stored.astype(np.float32), np.zeros(SIZE, dtype=np.float32))
    assert away.tolist() == [0, 255, 5]
    many = np.random.default_rng(0).integers(0, 256, (1300, SIZE)).astype(np.float32)
    np.testing.assert_allclose(distances(many, many[7]), np.abs(many - many[7]).mean(axis=1), rtol=1e-5)
    assert distances(many[:0], many[7]).shape == (0,)


def striped(turn, size=(90, 90)):
    """Grey stripes, 6 pixels wide, turned by so many degrees."""
    wide = Image.new("RGB", (400, 400), (60, 60, 60))
    draw = ImageDraw.Draw(wide)
    for x in range(0, 400, 12):
        draw.rectangle((x, 0, x + 5, 400), fill=(190, 190, 190))
    return wide.rotate(turn, Image.Resampling.BICUBIC).crop((100, 100, 100 + size[0], 100 + size[1]))


def test_edges_are_told_apart_by_direction():
    main = [edge_layout(striped(turn)).reshape(16, 8).sum(axis=0).argmax() for turn in (0, 45, 90, 135)]
    assert main == [0, 6, 4, 2]  # of the slope across the edge; rows grow downwards


def test_edges_are_told_apart_by_place():
    image = Image.new("RGB", (64, 64), "white")
    image.paste(striped(0, (32, 32)), (0, 0))
    cells = edge_layout(image).reshape(4, 4, 8).sum(axis=2)
    assert cells[:2, :2].min() > 0 and cells[3].max() == cells[:, 3].max() == 0


def test_edges_do_not_know_light_or_colour():
    image = striped(30)
    for changed in (ImageEnhance.Brightness(image).enhance(0.6), ImageEnhance.Contrast(image).enhance(0.7)):
        assert np.abs(edge_layout(changed) - edge_layout(image)).max() <= 2
    assert (edge_layout(ImageOps.grayscale(image)) == edge_layout(image)).all()


def test_flat_pictures_have_no_edges_and_noise_makes_none():
    assert not edge_layout(Image.new("RGB", (50, 50), "teal")).any()
    assert not edge_layout(Image.new("RGB", (1, 1))).any()
    noise = np.random.default_rng(0).integers(118, 120, (64, 64), dtype=np.uint8)
    assert np.linalg.norm(edge_layout(Image.fromarray(noise))) < np.linalg.norm(edge_layout(striped(0))) / 2


def test_descriptor_is_both_in_whole_numbers_that_fit_a_byte():
    image = striped(20)
    both = describe(image)
    assert both.shape == (SIZE,) and both.dtype == np.float32
    assert (both[:192] == colour_layout(image)).all() and (both[192:] == edge_layout(image)).all()
    assert (both == both.astype(np.uint8)).all()
    assert (describe(image.convert("RGBA")) == both).all()


def test_a_grey_copy_is_nearer_than_another_picture_of_its_colours():
    shapes = Image.new("RGB", (80, 60), (30, 60, 160))
    ImageDraw.Draw(shapes).polygon([(5, 55), (40, 5), (75, 55)], fill=(240, 200, 40))
    stored = np.array([describe(shapes), describe(shapes.transpose(Image.Transpose.FLIP_TOP_BOTTOM).convert("L"))])
    assert distances(stored, describe(ImageOps.grayscale(shapes))).argmin() == 0
