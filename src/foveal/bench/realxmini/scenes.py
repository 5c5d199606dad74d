"""Scenes: cards with a flag, a logo or a thing, a mark, and words or a number, hung over a cluttered ground.

Near scenes are 1600 x 1200 pixels with a dozen cards of about one hundredth of the area, whose words can be read
only there; far scenes hold three large cards that can be read at the base view (`reader.BASE_VIEW`).
"""

import functools
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw
from pydantic import JsonValue

from foveal.bench.realxmini import assets, reader
from foveal.bench.realxmini.facts import LONGEST

SIZE = (1600, 1200)
SMALL, LARGE = 12, 76
"""Size of letters in near and far scenes, in pixels."""
SMALL_SIDE, LARGE_SIDE = (64, 48), (200, 150)
"""Width and height of what is on a card, in pixels."""
NEAR_CARDS, FAR_CARDS = 12, 3
LOGO_SHARE = 0.62
"""Of its tile that a logo takes in scenes; another one than in the index."""
MARK_LETTERS, MARK_DIGITS = "ABCDEFHKLMNPRTUVXY", "35689"
"""Digits of one outline: at the base view none can be told from another."""


class Card(NamedTuple):
    """What a card shows."""

    mark: str
    content: Image.Image | None
    words: str
    """A number or a name."""


class Drawn(NamedTuple):
    """A picture, and where what lies on it: no truths, only places."""

    image: Image.Image
    layout: dict[str, JsonValue]


def marks(rng: random.Random, count: int) -> list[str]:
    """Different marks of one picture: the same letter and two digits, such as K58."""
    letter = rng.choice(MARK_LETTERS)
    return rng.sample([f"{letter}{a}{b}" for a in MARK_DIGITS for b in MARK_DIGITS], count)


def draw(rng: random.Random, cards: Sequence[Card], near: bool, loose: Sequence[Image.Image] = ()) -> Drawn:
    """A scene of cards, with things that lie loose between them."""
    size, side = (SMALL, SMALL_SIDE) if near else (LARGE, LARGE_SIDE)
    canvas = ground(rng)
    longest = "n" * LONGEST if any(not card.words.isdigit() for card in cards) else "0000"
    plates = {"mark": reader.plate_size("W00", size), "words": reader.plate_size(longest, size)}
    width = max(plates["words"][0], plates["mark"][0], side[0]) + 20
    has_content = any(card.content is not None for card in cards)
    height = plates["mark"][1] + plates["words"][1] + (side[1] + 8 if has_content else 0) + 24
    bulk = 44 if near else 120
    taken: list[tuple[int, int, int, int]] = []
    boards: list[JsonValue] = []
    for card in cards:
        place = _place(rng, (width, height), taken)
        boards.append(_hang(rng, canvas, card, place, plates, size, side if has_content else None))
    lying: list[JsonValue] = []
    for thing in loose:
        x, y, _, _ = _place(rng, (bulk, bulk), taken)
        sticker = assets.sticker(thing, bulk)
        canvas.paste(sticker, (x, y), sticker)
        lying.append([x, y, x + bulk, y + bulk])
    return Drawn(_weathered(rng, canvas), {"size": size, "boards": boards, "loose": lying})


def _hang(
    rng: random.Random,
    canvas: Image.Image,
    card: Card,
    place: tuple[int, int, int, int],
    plates: dict[str, tuple[int, int]],
    size: int,
    side: tuple[int, int] | None,
) -> dict[str, JsonValue]:
    """Draw one card; where its parts are."""
    left, top, right, bottom = place
    pen = ImageDraw.Draw(canvas)
    pen.rectangle((left + 4, top + 5, right + 4, bottom + 5), fill=(40, 38, 36))
    shade = tuple(rng.randint(150, 245) for _ in range(3))
    pen.rounded_rectangle((left, top, right, bottom), 5, fill=shade, outline=(90, 85, 80), width=2)
    parts: dict[str, JsonValue] = {}
    y = top + 7
    if side is not None:
        if card.content is not None:
            content = fitted(card.content, side)
            x = left + (right - left - content.width) // 2
            canvas.paste(content, (x, y), content if content.mode == "RGBA" else None)
            parts["content"] = [x, y, x + content.width, y + content.height]
        y += side[1] + 8
    for name, text in (("mark", card.mark), ("words", card.words)):
        shape = plates[name]
        parts[name] = write(rng, canvas, text, (left + 10, y), shape, size)
        y += shape[1] + 4
    return parts


def fitted(content: Image.Image, side: tuple[int, int]) -> Image.Image:
    """What is on a card in its size there: flags fill the place, square contents keep their shape."""
    shape = (side[1], side[1]) if content.width == content.height else side
    return content.resize(shape, Image.Resampling.LANCZOS)


def write(
    rng: random.Random,
    canvas: Image.Image,
    text: str,
    at: tuple[int, int],
    shape: tuple[int, int],
    size: int,
    paper: tuple[int, int, int] | None = None,
) -> list[JsonValue]:
    """Write a text on a plate, pale unless `paper` says which colour; the plate's box."""
    pale, dark = rng.randint(226, 250), rng.randint(10, 60)
    plate = Image.new("RGB", shape, paper or (pale, pale, pale - rng.randint(0, 20)))
    plate.paste((dark, dark, dark), (0, 0), reader.lettering(text, size, shape[0]))
    canvas.paste(plate, at)
    return [at[0], at[1], at[0] + shape[0], at[1] + shape[1]]


def ground(rng: random.Random) -> Image.Image:
    """A wall of bricks, a street of houses or a store of shelves, with clutter before it; soft, as out of focus."""
    width, height = SIZE[0] // 2, SIZE[1] // 2  # nothing on it is finer
    values = np.random.default_rng(rng.getrandbits(32))
    tone = values.integers(90, 200, 3)
    rough = (tone + values.integers(-28, 29, (45, 60, 3))).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(rough).resize((width, height), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(canvas)
    rng.choice((_bricks, _houses, _shelves))(rng, pen, (width, height))
    for _ in range(rng.randint(25, 45)):
        x, y = rng.randint(-40, width), rng.randint(-40, height)
        w, h = rng.randint(5, 80), rng.randint(5, 80)
        colour = _shade(rng, 30, 220)
        match rng.randrange(4):
            case 0:
                pen.ellipse((x, y, x + w, y + w), fill=colour)
            case 1:
                pen.rounded_rectangle((x, y, x + w, y + h), 4, fill=colour)
            case 2:
                pen.line((x, y, x + 3 * w, y + rng.randint(-100, 100)), fill=colour, width=rng.randint(1, 4))
            case _:
                pen.rectangle((x, y, x + 4, y + 4 * h), fill=colour)
    return canvas.resize(SIZE, Image.Resampling.BILINEAR)


def _shade(rng: random.Random, low: int, high: int) -> tuple[int, int, int]:
    """A colour that is not too loud."""
    grey = rng.randint(low, high)
    red, green, blue = (min(255, max(0, grey + rng.randint(-45, 45))) for _ in range(3))
    return red, green, blue


def _bricks(rng: random.Random, pen: ImageDraw.ImageDraw, shape: tuple[int, int]) -> None:
    tone, step = _shade(rng, 80, 170), rng.randint(18, 34)
    for row, y in enumerate(range(0, shape[1], step)):
        for x in range(-step if row % 2 else 0, shape[0], 2 * step):
            off = rng.randint(-14, 14)
            pen.rectangle((x, y, x + 2 * step - 3, y + step - 3), fill=tuple(part + off for part in tone))


def _houses(rng: random.Random, pen: ImageDraw.ImageDraw, shape: tuple[int, int]) -> None:
    x = -rng.randint(0, 60)
    while x < shape[0]:
        wide, top = rng.randint(70, 150), rng.randint(20, shape[1] // 2)
        pen.rectangle((x, top, x + wide, shape[1]), fill=_shade(rng, 90, 190))
        glass = _shade(rng, 40, 230)
        for y in range(top + 14, shape[1] - 60, 34):
            for left in range(x + 10, x + wide - 18, 28):
                pen.rectangle((left, y, left + 14, y + 20), fill=glass)
        x += wide + rng.randint(0, 12)
    pen.rectangle((0, shape[1] - 50, *shape), fill=_shade(rng, 70, 120))


def _shelves(rng: random.Random, pen: ImageDraw.ImageDraw, shape: tuple[int, int]) -> None:
    board = _shade(rng, 60, 150)
    for y in range(rng.randint(60, 100), shape[1] + 100, rng.randint(90, 130)):
        x = 0
        while x < shape[0]:
            wide, tall = rng.randint(14, 44), rng.randint(30, 78)
            pen.rounded_rectangle((x, y - tall, x + wide, y), 3, fill=_shade(rng, 50, 220))
            x += wide + rng.randint(1, 10)
        pen.rectangle((0, y, shape[0], y + 9), fill=board)


def _place(
    rng: random.Random, shape: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """A free place, which is taken then.

    Raises:
        RuntimeError: The scene is full: a mistake of who planned it.
    """
    for _ in range(4000):
        x = rng.randint(10, SIZE[0] - shape[0] - 20)
        y = rng.randint(10, SIZE[1] - shape[1] - 20)
        box = (x, y, x + shape[0], y + shape[1])
        if all(x > c + 14 or box[2] < a - 14 or y > d + 14 or box[3] < b - 14 for a, b, c, d in taken):
            taken.append(box)
            return box
    raise RuntimeError("no room is left in the scene")


def _weathered(rng: random.Random, canvas: Image.Image) -> Image.Image:
    """Uneven light, and the grain of a camera."""
    values = np.random.default_rng(rng.getrandbits(32))
    light = Image.fromarray(values.integers(228, 256, (3, 4), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    return grainy(rng, ImageChops.multiply(canvas, Image.merge("RGB", (light,) * 3)))


def grainy(rng: random.Random, canvas: Image.Image) -> Image.Image:
    """The picture with the same faint noise in all colours."""
    grain = ImageChops.offset(_grain(), rng.randrange(SIZE[0]), rng.randrange(SIZE[1]))
    return ImageChops.add(canvas, grain, 1.0, -GRAIN_MEAN)


@functools.cache
def _grain() -> Image.Image:
    noise = np.random.default_rng(0).normal(GRAIN_MEAN, 2.5, (SIZE[1], SIZE[0])).clip(0, 255).astype(np.uint8)
    return Image.merge("RGB", (Image.fromarray(noise),) * 3)


GRAIN_MEAN = 20
"""Of the noise as it is stored, where it cannot be negative."""
