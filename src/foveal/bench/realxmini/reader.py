"""How words are written into pictures, and how they are read again; also what is measured on a chart.

The oracle sends the source of this module into the sandbox, so it needs numpy, Pillow and matplotlib's font only. It
reads by matching: a word is what, drawn with the same letters, resembles the pixels most. Nothing is known beforehand
but the font, its size, and the place of the plate that a word stands on.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Box = Sequence[int]
"""Left, top, right, bottom, in pixels."""
Pixels = npt.NDArray[np.float64]

BASE_VIEW = 336
"""Longest side of a picture at the base view: what can be told without looking closer is told there."""
PAD = 3
"""Pixels between the edge of a plate and the first letter."""
DIGITS = "0123456789"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, at a size in pixels."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), size)


def advance(letter: str, size: int) -> int:
    """Pixels from the beginning of a letter to that of the next one: whole ones, the same beside any neighbour."""
    return round(font(size).getlength(letter))


@functools.cache
def glyph(letter: str, size: int) -> Image.Image:
    """A letter's ink on its own cell: mode L, as wide as its advance, as high as a plate."""
    cell = Image.new("L", (advance(letter, size), plate_height(size)))
    ImageDraw.Draw(cell).text((0, round(size * 1.02)), letter, fill=255, font=font(size), anchor="ls")
    return cell


def plate_height(size: int) -> int:
    """Height of a plate for letters of a size, in pixels."""
    return round(size * 1.3) + 2


def plate_size(text: str, size: int) -> tuple[int, int]:
    """Width and height of a plate that holds a text."""
    return sum(advance(letter, size) for letter in text) + 2 * PAD, plate_height(size)


def lettering(text: str, size: int, width: int) -> Image.Image:
    """A text as it stands on a plate of a width: mode L, 255 where the ink is."""
    mask = Image.new("L", (width, plate_height(size)))
    x = PAD
    for letter in text:
        mask.paste(glyph(letter, size), (x, 0))
        x += advance(letter, size)
    return mask


def base_view(image: Image.Image, longest: int = 0) -> Image.Image:
    """The picture with what the base view leaves of it, in its own size.

    Args:
        image: The picture, or a part of one.
        longest: Longest side of the whole picture in pixels; 0: that of `image`.
    """
    scale = BASE_VIEW / (longest or max(image.size))
    small = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)


class Reader:
    """Reads a picture.

    Args:
        image: The picture.
        size: Of its letters, in pixels.
        far: It shows no more than the base view: letters are compared as blurred as they are there.
    """

    def __init__(self, image: Image.Image, size: int, far: bool = False):
        self.image = image
        self.size = size
        self.blur = 0.4 * max(image.size) / BASE_VIEW if far else 0.0

    def find(self, boxes: Sequence[Box], text: str) -> int:
        """Which of the plates says most likely `text`."""
        scores = []
        for box in boxes:
            ink = self._ink(box)
            scores.append(self._match(ink, text) / (float(np.linalg.norm(ink)) + 1e-9))
        return int(np.argmax(scores))

    def number(self, box: Box) -> str:
        """The digits on a plate."""
        return self._read(box, {0: {letter: 0 for letter in DIGITS}})

    def name(self, box: Box) -> str:
        """The words on a plate, each with a capital at its beginning."""
        within = {**dict.fromkeys(LETTERS.lower(), 1), " ": 0}
        return self._read(box, {0: dict.fromkeys(LETTERS, 1), 1: within})

    def bars(self, panel: Mapping[str, Any]) -> list[float]:
        """How long the bars of a chart are, in units of its axis, by the places that `charts` gives."""
        (x0, first), (x1, last) = panel["ticks"]
        low, high = float(self.number(first) or 0), float(self.number(last) or 1)
        ends = [self._end(bar["at"], panel["right"]) for bar in panel["bars"]]
        return [low + (end - x0) / (x1 - x0) * (high - low) for end in ends]

    def alike(self, box: Box, others: Iterable[Box]) -> int:
        """How many other places show the same thing as `box`."""
        wanted = self._thumbnail(box)
        return sum(float(np.abs(self._thumbnail(other) - wanted).mean()) < ALIKE for other in others)

    def _thumbnail(self, box: Box) -> Pixels:
        """What lies in the middle of a place: within the disc of a sticker."""
        x0, y0, x1, y1 = box
        edge = round(0.16 * (x1 - x0))
        inner = self.image.crop((x0 + edge, y0 + edge, x1 - edge, y1 - edge))
        return np.asarray(inner.resize((12, 12), Image.Resampling.BOX).convert("RGB"), dtype=np.float64)

    def _end(self, at: Sequence[int], right: int) -> float:
        """Where the bar that begins at `at` gives way to the ground."""
        x, y = at
        strip = self.image.crop((x, y - 2, right, y + 3)).convert("RGB")
        row = np.asarray(strip, dtype=np.float64).mean(0)
        bar = row[2:6].mean(0)
        away = np.abs(row - bar).sum(1)
        beyond = np.flatnonzero(away[5:] > 0.5 * np.abs(row[-4:].mean(0) - bar).sum())
        return float(x + (beyond[0] + 5 if len(beyond) else len(row)))

    def _ink(self, box: Box) -> Pixels:
        """How much darker than the plate each pixel is."""
        plate = np.asarray(self.image.crop(tuple(box)).convert("L"), dtype=np.float64)  # type: ignore[arg-type]
        return np.median(plate) - plate

    def _match(self, ink: Pixels, text: str) -> float:
        """How well a text explains the ink: the same whatever its darkness."""
        drawn = self._seen(lettering(text, self.size, ink.shape[1]))
        return float((ink * drawn).sum() / (np.linalg.norm(drawn) + 1e-9))

    def _seen(self, mask: Image.Image) -> Pixels:
        """Ink as this view shows it, 0 to 1."""
        if self.blur:
            mask = mask.filter(ImageFilter.GaussianBlur(self.blur))
        return np.asarray(mask, dtype=np.float64) / 255

    def _read(self, box: Box, following: dict[int, dict[str, int]]) -> str:
        """The text that leaves least of the ink unexplained, found by going through all texts column by column.

        Args:
            box: Of the plate.
            following: State to the letters that may come next, each with the state behind it; the first state is 0.
        """
        ink = self._ink(box)
        width = ink.shape[1]
        strength = float(np.percentile(ink, 99.5))
        energy = np.concatenate([[0.0], np.cumsum((ink**2).sum(0))])
        glyphs = {letter: self._seen(glyph(letter, self.size)) for letters in following.values() for letter in letters}
        costs = {}
        for letter, drawn in glyphs.items():
            window = np.lib.stride_tricks.sliding_window_view(ink, drawn.shape[1], axis=1)
            likeness = np.einsum("hxw,hw->x", window, drawn)
            held = energy[drawn.shape[1] :] - energy[: -drawn.shape[1]]
            costs[letter] = held - 2 * strength * likeness + strength**2 * (drawn**2).sum()
        best: dict[tuple[int, int], tuple[float, str]] = {(PAD, 0): (float(energy[PAD]), "")}
        for x in range(PAD, width):
            for state, letters in following.items():
                if (x, state) not in best:
                    continue
                cost, text = best[x, state]
                for letter, behind in letters.items():
                    end = x + glyphs[letter].shape[1]
                    if end > width:
                        continue
                    reached = (cost + float(costs[letter][x]), text + letter)
                    if (end, behind) not in best or reached < best[end, behind]:
                        best[end, behind] = reached
        # Whatever stands behind the last letter is unexplained.
        ends = [(cost + float(energy[-1] - energy[x]), text) for (x, _), (cost, text) in best.items()]
        return min(ends)[1].strip()


ALIKE = 26.0
"""Mean difference of 12 x 12 pixels, of 255, below which two drawings are of the same thing."""
