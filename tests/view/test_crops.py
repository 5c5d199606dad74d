import pytest

from foveal.view.crops import Box, CropReader


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
        ("x, y = 120, 340\nimage_1.crop((x, y, x + 64, y + 48))", [(1, 120, 340, 184, 388)]),
        ("w = 8 * 2\nimage_1.crop((0, 0, w // 3, -w / -2 - 1))", [(1, 0, 0, 5, 7)]),
        ("x, y = 1, 2\nx, y = y, x\nimage_1.crop((x, y, 3, 4))", [(1, 2, 1, 3, 4)]),
        # Nothing is guessed: computed boxes, unknown pictures, resized pieces, names that were bound again.
        ("x = size()\nimage_1.crop((0, 0, x, x))", []),
        ("x = 4\nfor x in range(9):\n    image_1.crop((0, 0, x, x))", []),
        ("x = 4\nx += 1\nimage_1.crop((0, 0, x, x))", []),
        ("x = 4\nif y:\n    x = 5\nimage_1.crop((0, 0, x, x))", []),
        ("x = 4\n[image_1.crop((0, 0, x, x)) for x in range(9)]", []),
        ("x = 4\ndef f(x):\n    image_1.crop((0, 0, x, x))", []),
        ("x = 4\nimport x\nimage_1.crop((0, 0, x, x))", []),
        ("x, y = 4, 5\nx, y = both()\nimage_1.crop((0, 0, x, y))", []),
        ("x = 10 ** 99\nimage_1.crop((0, 0, x, x))", []),
        ("x = 99999 * 99999 * 99999\nimage_1.crop((0, 0, x, x))", []),
        ("image_1.crop((0, 0, 1 / 0, 5))", []),
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
