"""Pictures in and out of a session: as raw RGB pixels, never through a parser on the host's side."""

import io
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

from PIL import Image

from . import frames


def load(fd: int) -> Image.Image:
    """The picture in a PPM file, decoded on first use. The file is mapped, so nothing is copied before that."""
    data = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    os.close(fd)
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the host vouches for the size
    image = Image.open(data)  # type: ignore[arg-type]  # a mapping reads and seeks like a file
    Image.MAX_IMAGE_PIXELS = limit
    return image


def prepare() -> None:
    """Do once, before the forks, what is slow the first time: Pillow's plug-ins, matplotlib's fonts."""
    Image.preinit()
    if pyplot := _pyplot():
        figure = pyplot.figure()
        pyplot.plot([1])
        render(figure)
        pyplot.close("all")


class Show:
    """Where pictures go that a cell shows: as pixels into the canvas, announced by a frame each.

    Args:
        control: Socket to the host.
        canvas: File of a fixed size in memory that is shared with the host.
        most: Pictures of one cell.
        pixels: Pixels of all pictures of one cell.
        note: Called with a line of text if a picture cannot be shown.
    """

    def __init__(self, control: int, canvas: int, most: int, pixels: int, note: Callable[[str], None]):
        self._control, self._canvas, self._most, self._pixels, self._note = control, canvas, most, pixels, note
        self.start()

    def start(self) -> None:
        """Forget the pictures of the cell before."""
        self._shown = self._used = 0
        self.cut = False

    def image(self, image: Image.Image) -> None:
        """Show a picture as it is now."""
        width, height = image.size
        if self._shown == self._most:
            return self._refuse(f"[picture not shown: a cell may show at most {self._most} pictures]")
        if self._used + width * height > self._pixels:
            megapixels = self._pixels / 1e6
            return self._refuse(
                f"[picture of {width}x{height} not shown: a cell may show at most {megapixels:.0f} megapixels; "
                "resize it first]"
            )
        if width * height == 0:
            return self._refuse(f"[picture of {width}x{height} not shown: it is empty]")
        offset, self._shown, self._used = self._used * 3, self._shown + 1, self._used + width * height
        data = memoryview(rgb(image).tobytes())
        start = offset
        while data:
            written = os.pwrite(self._canvas, data, start)
            data, start = data[written:], start + written
        frames.write(self._control, {"picture": [width, height, offset]})
        return None

    def _refuse(self, why: str) -> None:
        self.cut = True
        self._note(why)

    def figures(self) -> None:
        """Show every open matplotlib figure, and close it."""
        pyplot = _pyplot()
        for number in pyplot.get_fignums() if pyplot else ():
            figure = pyplot.figure(number)
            pyplot.close(figure)
            self.image(render(figure))

    def take_over(self) -> None:
        """Make `Image.show()`, `plt.show()` and `Figure.show()` come here."""
        Image.Image.show = lambda image, *_, **__: self.image(image)  # type: ignore[method-assign]
        if pyplot := _pyplot():
            pyplot.show = lambda *_, **__: self.figures()
            pyplot.Figure.show = lambda figure, *_, **__: self.figure(figure)

    def figure(self, figure: Any) -> None:
        """Show one figure, and close it."""
        _pyplot().close(figure)
        self.image(render(figure))


def _pyplot() -> Any:
    """Pyplot if it has been imported, else None."""
    return sys.modules.get("matplotlib.pyplot")


def render(figure: Any) -> Image.Image:
    """A matplotlib figure as Jupyter would show it: without the empty border."""
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight", pil_kwargs={"compress_level": 1})
    with Image.open(file) as image:
        return image.convert("RGB")


def rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, transparency over white."""
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def of_value(value: object) -> Image.Image | None:
    """The picture that a variable holds: a Pillow image or an array of bytes, HxW or HxWx3; None for anything else."""
    if isinstance(value, Image.Image):
        return value
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.ndarray) and value.dtype == numpy.uint8:
        shape = value.shape
        if 0 not in shape and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            return Image.fromarray(value)
    return None
