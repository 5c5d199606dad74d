"""The packaged pictures and tables: flags in two drawings, logos, drawings of things, life expectancy by country.

Where each comes from, and under which licence: `assets/README.md`, and the flags' own in `foveal/micro/assets`.
"""

import functools
import io
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal, NamedTuple

from PIL import Image, ImageDraw

SIDE = 64
"""Width and height of a logo and of a thing on its sheet, in pixels."""
_COLUMNS = 20


class Logo(NamedTuple):
    """A brand as its logo shows it."""

    name: str
    colour: tuple[int, int, int]
    mask: Image.Image
    """Mode L, 64 x 64: 255 where the logo is."""

    def tile(self, side: int, share: float) -> Image.Image:
        """The logo in white (in black on pale colours) on a square of its brand's colour.

        Args:
            side: Of the square, in pixels.
            share: Of the square's side that the logo takes.
        """
        ink = (20, 20, 20) if sum(self.colour) > 600 else (255, 255, 255)
        tile = Image.new("RGB", (side, side), self.colour)
        drawn = self.mask.resize((round(side * share),) * 2, Image.Resampling.LANCZOS)
        corner = (side - drawn.width) // 2
        tile.paste(ink, (corner, corner), drawn)
        return tile


@functools.cache
def flags(drawing: Literal["scene", "index"]) -> dict[str, Image.Image]:
    """Flags of one drawing by country code, 64 pixels wide."""
    folder = _flag_folder()
    boxes = _json(folder / f"flags_{drawing}.json")["boxes"]
    sheet = _picture(folder / f"flags_{drawing}.png", "RGB")
    return {code: sheet.crop((x, y, x + w, y + h)) for code, (x, y, w, h) in boxes.items()}


@functools.cache
def unclear_flags() -> frozenset[str]:
    """Codes of flags that another one resembles too much."""
    return frozenset(_json(_flag_folder() / "ambiguous.json"))


@functools.cache
def brand_rows() -> tuple[dict[str, Any], ...]:
    """The rows of `brands.json`: name, hex, source; founded and employees where they are known."""
    return tuple(_json(_folder() / "brands.json"))


@functools.cache
def logos() -> tuple[Logo, ...]:
    """All logos, in the order of `brand_rows`."""
    sheet = _picture(_folder() / "logos.png", "L")
    return tuple(
        Logo(row["name"], _colour(row["hex"]), _cell(sheet, number)) for number, row in enumerate(brand_rows())
    )


@functools.cache
def things() -> dict[str, Image.Image]:
    """Drawings of things by name, 64 x 64, RGBA."""
    sheet = _picture(_folder() / "things.png", "RGBA")
    return {name: _cell(sheet, number) for number, name in enumerate(_json(_folder() / "things.json"))}


def sticker(thing: Image.Image, side: int) -> Image.Image:
    """A thing on a white disc, RGBA."""
    large = Image.new("RGBA", (2 * side, 2 * side))
    ImageDraw.Draw(large).ellipse((0, 0, 2 * side - 1, 2 * side - 1), fill=(255, 255, 255, 255))
    disc = large.resize((side, side), Image.Resampling.BOX)
    drawn = thing.resize((round(side * 0.74),) * 2, Image.Resampling.LANCZOS)
    corner = (side - drawn.width) // 2
    disc.alpha_composite(drawn, (corner, corner))
    return disc


@functools.cache
def life_expectancy() -> dict[str, float]:
    """Years by country code."""
    years: dict[str, float] = _json(_folder() / "life_expectancy.json")
    return years


def _folder() -> Traversable:
    return resources.files("foveal.bench.realxmini") / "assets"


def _flag_folder() -> Traversable:
    # The package's one set of flags: pictures only, nothing of the micro world is imported.
    return resources.files("foveal") / "micro" / "assets"


def _json(file: Traversable) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _picture(file: Traversable, mode: str) -> Image.Image:
    with Image.open(io.BytesIO(file.read_bytes())) as picture:
        return picture.convert(mode)


def _cell(sheet: Image.Image, number: int) -> Image.Image:
    x, y = number % _COLUMNS * SIDE, number // _COLUMNS * SIDE
    return sheet.crop((x, y, x + SIDE, y + SIDE))


def _colour(code: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(code)
    return red, green, blue
