"""Generated scenes: coloured boards that carry a number or a flag, and one ball, on a soft background.

A scene has 448 x 448 pixels; the micro model sees it at 112 x 112, where colours and places can be told and numbers
and flags cannot: they are legible only in a crop. Contents of boards are 64 x 48 pixels and lie on a 16-pixel grid,
one board at most in each of the 4 x 4 cells.
"""

import functools
import io
import json
import random
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

SIZE, CELL, GRID = 448, 112, 16
CONTENT = (64, 48)
FRAME = 12
BALL_RADIUS = 34
COLOURS = {
    "red": (215, 35, 40),
    "green": (35, 160, 60),
    "blue": (45, 75, 215),
    "yellow": (235, 210, 40),
    "purple": (140, 55, 190),
    "orange": (240, 135, 25),
    "pink": (245, 130, 190),
    "black": (25, 25, 28),
}


class Board(NamedTuple):
    """A coloured frame with its content; `x`, `y` is the top left corner of the content, in scene pixels."""

    colour: str
    x: int
    y: int
    number: int | None
    flag: str | None
    """Country code."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The content's box: left, top, right, bottom."""
        return (self.x, self.y, self.x + CONTENT[0], self.y + CONTENT[1])


class Scene(NamedTuple):
    """A picture and the truth about it."""

    image: Image.Image
    boards: tuple[Board, ...]
    ball: str
    """Colour of the ball."""
    ball_at: tuple[int, int]
    """Centre of the ball, in scene pixels."""


def sprites(drawing: str) -> dict[str, Image.Image]:
    """Flags of one drawing (`scene` or `index`) by country code."""
    folder = resources.files("foveal.micro") / "assets"
    boxes = json.loads((folder / f"flags_{drawing}.json").read_text(encoding="utf-8"))["boxes"]
    with Image.open(io.BytesIO((folder / f"flags_{drawing}.png").read_bytes())) as file:
        sheet = file.convert("RGB")
    return {code: sheet.crop((x, y, x + w, y + h)) for code, (x, y, w, h) in boxes.items()}


@functools.cache
def _scene_flags() -> dict[str, Image.Image]:
    return sprites("scene")


def generate(rng: random.Random, codes: Sequence[str], numbers: int, flags: int) -> Scene:
    """A scene with so many number boards and flag boards, all of different colours.

    Args:
        rng: Source of all randomness.
        codes: Countries whose flags may appear.
        numbers: How many boards carry a number from 10 to 99.
        flags: How many boards carry a flag.
    """
    image = _background(rng)
    draw = ImageDraw.Draw(image)
    places = _places(rng, numbers + flags + 1)
    ball, ball_colour = places.pop(), rng.choice(list(COLOURS))
    centre = (ball[0] + CONTENT[0] // 2, ball[1] + CONTENT[1] // 2)
    draw.ellipse(
        (centre[0] - BALL_RADIUS, centre[1] - BALL_RADIUS, centre[0] + BALL_RADIUS, centre[1] + BALL_RADIUS),
        fill=COLOURS[ball_colour],
    )
    boards = []
    kinds = ["number"] * numbers + ["flag"] * flags
    for colour, kind, (x, y) in zip(rng.sample(list(COLOURS), len(kinds)), kinds, places, strict=True):
        number = rng.randint(10, 99) if kind == "number" else None
        flag = rng.choice(codes) if kind == "flag" else None
        board = Board(colour, x, y, number, flag)
        _paint(image, draw, board, rng)
        boards.append(board)
    rng.shuffle(boards)
    return Scene(image, tuple(boards), ball_colour, centre)


def _places(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Corners on the grid, one a cell, whose frames do not touch."""
    found: list[tuple[int, int]] = []
    right, bottom = SIZE - CONTENT[0] - FRAME, SIZE - CONTENT[1] - FRAME
    while len(found) < count:
        cells = rng.sample([(i, j) for i in range(4) for j in range(4)], 16)
        found = []
        for i, j in cells:
            x = i * CELL + GRID * rng.randrange(CELL // GRID)
            y = j * CELL + GRID * rng.randrange(CELL // GRID)
            apart = all(abs(x - u) > CONTENT[0] + 2 * FRAME or abs(y - v) > CONTENT[1] + 2 * FRAME for u, v in found)
            if GRID <= x <= right and GRID <= y <= bottom and apart:
                found.append((x, y))
            if len(found) == count:
                break
    return found


def _paint(image: Image.Image, draw: ImageDraw.ImageDraw, board: Board, rng: random.Random) -> None:
    left, top, right, bottom = board.box
    frame = (left - FRAME, top - FRAME, right + FRAME - 1, bottom + FRAME - 1)
    draw.rounded_rectangle(frame, 8, fill=COLOURS[board.colour])
    if board.flag is not None:
        image.paste(_scene_flags()[board.flag], (left, top))
        return
    shade = rng.randint(225, 255)
    draw.rectangle((left, top, right - 1, bottom - 1), fill=(shade, shade, shade))
    ink = rng.randint(0, 60)
    at = (left + CONTENT[0] // 2 + rng.randint(-3, 3), top + CONTENT[1] // 2 + rng.randint(-2, 2))
    draw.text(at, str(board.number), fill=(ink, ink, ink), font=_font(), anchor="mm")


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=17)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("Pillow was built without FreeType, so scenes cannot be drawn")
    return font


def _background(rng: random.Random) -> Image.Image:
    """A soft landscape of pale colours with faint clutter."""
    coarse = Image.frombytes("RGB", (6, 6), bytes(rng.randint(185, 235) for _ in range(6 * 6 * 3)))
    image = coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randint(4, 10)):
        x, y, w, h = (rng.randint(-40, SIZE), rng.randint(-40, SIZE), rng.randint(8, 120), rng.randint(8, 120))
        fill = tuple(rng.randint(150, 240) for _ in range(3))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)((x, y, x + w, y + h), fill=fill)
    return image
