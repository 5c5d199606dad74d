"""Charts of life expectancy, drawn by matplotlib from Gapminder's table; no value is printed.

A near picture is a board of nine small charts, each with a mark; a far one is a single large chart. Bars and axes are
matplotlib's; words and figures are written by `scenes.write`, so that their places are known.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydantic import JsonValue

from foveal.bench.realxmini import reader, scenes
from foveal.bench.realxmini.facts import LONGEST

NEAR_PANELS, NEAR_BARS, FAR_BARS = 9, 5, 4
FAR_LETTERS = 60
TOP_TICK = 80
MAXIMUM = 92.0
_COLOURS = ("#3b6ea5", "#b5483a", "#4a8f5c", "#8a5fa8", "#c58a2c", "#2f8f9d", "#666f7a")


class Panel(NamedTuple):
    """One chart."""

    mark: str
    """Empty: none."""
    bars: tuple[tuple[str, float], ...]
    """Names with years, from top to bottom."""


def draw(rng: random.Random, panels: Sequence[Panel], near: bool) -> scenes.Drawn:
    """One picture of nine charts, or of one."""
    size = scenes.SMALL if near else FAR_LETTERS
    red, green, blue = (rng.randint(228, 252) for _ in range(3))
    columns = 3 if near else 1
    shape = (scenes.SIZE[0] // columns, scenes.SIZE[1] // columns)
    frames = [
        _frame((number % columns * shape[0], number // columns * shape[1]), shape, size)
        for number in range(len(panels))
    ]
    canvas = _axes(panels, frames, (red, green, blue), [rng.choice(_COLOURS) for _ in panels])
    places: list[JsonValue] = [
        _label(rng, canvas, panel, frame, size, (red, green, blue)) for panel, frame in zip(panels, frames, strict=True)
    ]
    return scenes.Drawn(scenes.grainy(rng, canvas), {"size": size, "panels": places})


def _frame(corner: tuple[int, int], shape: tuple[int, int], size: int) -> tuple[int, int, int, int]:
    """Where the axes of a chart lie; beside them is room for its words."""
    left, top = corner
    return (
        left + reader.plate_size("n" * LONGEST, size)[0] + 24,
        top + size + 34,
        left + shape[0] - size - 24,
        top + shape[1] - reader.plate_height(size) - 40,
    )


def _label(
    rng: random.Random,
    canvas: Image.Image,
    panel: Panel,
    frame: tuple[int, int, int, int],
    size: int,
    paper: tuple[int, int, int],
) -> dict[str, JsonValue]:
    """Write the words of a chart; where its parts are."""
    x0, y0, x1, y1 = frame
    name_plate, tick_plate = reader.plate_size("n" * LONGEST, size), reader.plate_size("000", size)
    bars: list[JsonValue] = []
    for row, (name, _) in enumerate(panel.bars):
        middle = y0 + round((row + 0.5) * (y1 - y0) / len(panel.bars))
        at = (x0 - name_plate[0] - 14, middle - name_plate[1] // 2)
        words = scenes.write(rng, canvas, name, at, name_plate, size, paper)
        bars.append({"name": words, "at": [x0 + 3, middle]})
    ticks: list[JsonValue] = []
    for value in (0, TOP_TICK):
        x = x0 + round(value / MAXIMUM * (x1 - x0))
        at = (x - reader.plate_size(str(value), size)[0] // 2, y1 + 6)
        ticks.append([x, scenes.write(rng, canvas, str(value), at, tick_plate, size, paper)])
    parts: dict[str, JsonValue] = {"bars": bars, "ticks": ticks, "right": x1}
    if panel.mark:
        plate = reader.plate_size("W00", size)
        parts["mark"] = scenes.write(rng, canvas, panel.mark, ((x0 + x1) // 2, y0 - plate[1] - 6), plate, size, paper)
    return parts


def _axes(
    panels: Sequence[Panel],
    frames: Sequence[tuple[int, int, int, int]],
    paper: tuple[int, int, int],
    colours: Sequence[str],
) -> Image.Image:
    """Bars over grids, without words, from 0 to `MAXIMUM`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = scenes.SIZE
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="#{:02x}{:02x}{:02x}".format(*paper))
    canvas = FigureCanvasAgg(figure)
    for panel, (x0, y0, x1, y1), colour in zip(panels, frames, colours, strict=True):
        axes = figure.add_axes((x0 / width, 1 - y1 / height, (x1 - x0) / width, (y1 - y0) / height))
        values = [years for _, years in panel.bars]
        axes.barh(range(len(values)), values, height=0.62, color=colour, zorder=2)
        axes.set(xlim=(0, MAXIMUM), ylim=(len(values) - 0.5, -0.5))
        axes.set_xticks(range(0, 91, 10), labels=[])
        axes.set_yticks([])
        axes.grid(axis="x", color="#d9d9d9", linewidth=0.8, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
