"""What `benchmarks/search.py` searches: made-up documents with questions, and pictures with changed copies of them.

Documents are about made-up places: a name, a few facts, and words in the proportions of natural language without its
stop words. One in ten is Chinese. Every question is about one document; a third name the place, a third describe it in
the words of the document, a third in other words.
"""

import io
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from foveal.tools.search.loaders import PICTURES, read_picture
from foveal.tools.search.text import Document

_SYLLABLES = "ba cor del fen gul har il jo kan lor mur nes or pel qui ras sol tar um vel wen yor zan ish esk ov ith em"
SYLLABLES = _SYLLABLES.split()
KINDS = {
    "harbour": "port",
    "village": "small settlement",
    "fortress": "castle",
    "monastery": "abbey",
    "mine": "pit",
    "lighthouse": "beacon for ships",
    "school": "place of learning",
    "hospital": "clinic for the sick",
}
"""What a place is, in the words of its document and in other words."""
MAKES = {
    "glass": "window panes",
    "wool": "fleece of sheep",
    "clocks": "timepieces",
    "cheese": "dairy goods",
    "paper": "sheets to write on",
    "boats": "small vessels",
    "salt": "seasoning",
    "bells": "chimes",
}
"""What it is known for, likewise."""
VOCABULARY = 60_000
HAN = [chr(0x4E00 + number) for number in range(3500)]


class Question(NamedTuple):
    """A question and the one document that answers it."""

    text: str
    answer: int
    """Number of the document."""


def name(rng: random.Random, syllables: int) -> str:
    """A made-up name."""
    return "".join(rng.choice(SYLLABLES) for _ in range(syllables)).capitalize()


class Corpus:
    """Documents, the same for every run.

    Args:
        size: How many.
    """

    def __init__(self, size: int):
        rng = random.Random(0)
        self.size = size
        words = {name(rng, rng.randint(2, 4)).lower() for _ in range(2 * VOCABULARY)}
        self._words = np.array(sorted(words)[:VOCABULARY])
        rng.shuffle(self._words)
        signs, drawn = cumulated(len(HAN)), np.random.default_rng(0)
        lengths = drawn.choice((1, 2, 2, 2, 3), 30_000)
        self._lexicon = np.array(
            ["".join(HAN[np.searchsorted(signs, drawn.random())] for _ in range(n)) for n in lengths]
        )
        self._ranks, self._signs = cumulated(len(self._words)), cumulated(len(self._lexicon))
        self.documents = [self.document(number) for number in range(size)]

    def chinese(self, number: int) -> bool:
        """Whether a document is Chinese."""
        return number % 10 == 9

    def document(self, number: int) -> Document:
        """The document of a number: 20 to 60 words."""
        rng = np.random.default_rng(number)
        if self.chinese(number):
            signs = self._lexicon[np.searchsorted(self._signs, rng.random(int(rng.integers(15, 45))))]
            sentences = ["".join(signs[start : start + 8]) for start in range(0, len(signs), 8)]
            return Document(str(signs[0]), "，".join(sentences) + "。", link=f"d/{number}")
        place, founder, kind, made, year = self.facts(number)
        filler = self._words[np.searchsorted(self._ranks, rng.random(int(rng.integers(5, 45))))]
        text = (
            f"{place} is a {kind}. It was founded in {year} by {founder} and is known for {made}. {' '.join(filler)}."
        )
        return Document(place, text, link=f"d/{number}")

    def facts(self, number: int) -> tuple[str, str, str, str, int]:
        """Name, founder, kind, product and year of a place."""
        rng = random.Random(number)
        founder = f"{name(rng, 2)} {name(rng, 3)}"
        return name(rng, 4), founder, rng.choice(list(KINDS)), rng.choice(list(MAKES)), rng.randint(1100, 1950)

    def questions(self, count: int) -> list[Question]:
        """Questions about documents that are not Chinese, a third of each sort."""
        numbers = random.Random(1).sample([n for n in range(min(self.size, 500_000)) if not self.chinese(n)], count)
        return [Question(self._question(index % 3, number), number) for index, number in enumerate(numbers)]

    def _question(self, sort: int, number: int) -> str:
        place, founder, kind, made, year = self.facts(number)
        if sort == 0:
            return f"When was {place} founded, and by whom?"
        if sort == 1:
            return f"Which {kind} known for {made} was founded by {founder}?"
        mentioned = self.documents[number].text.rstrip(".").rpartition(" ")[2]
        return f"Which {KINDS[kind]} that produces {MAKES[made]} began in {year}, and has to do with {mentioned}?"

    def words_of_one(self, rng: random.Random) -> str:
        """Three words of one document: a query that has a full answer."""
        number = rng.randrange(self.size)
        words = self.documents[number - self.chinese(number)].text.replace(".", "").split()
        return " ".join(rng.sample(words[14:], 3))

    def words_of_many(self, rng: random.Random) -> str:
        """Four words as they are used, of no document together: a query that has to be filled up."""
        return " ".join(self._words[np.searchsorted(self._ranks, [rng.random() for _ in range(4)])])

    def chinese_words(self, rng: random.Random) -> str:
        """Two to six neighbouring characters of one document."""
        text = self.documents[rng.randrange(self.size // 10) * 10 + 9].text.partition("，")[0]
        start = rng.randrange(max(1, len(text) - 5))
        return text[start : start + rng.randint(2, 6)]


def weights(size: int) -> list[float]:
    """How often words are used, by rank: Zipf's law without the first fifty, which are stop words."""
    return [1 / (rank + 50) for rank in range(size)]


def cumulated(size: int) -> np.ndarray:
    """The same, summed up to 1."""
    total = np.cumsum(weights(size))
    return total / total[-1]


class Pictures(NamedTuple):
    """Pictures to index."""

    images: list[Image.Image]
    real: int
    """How many of them, the first ones, are of the user's folder."""


def pictures(folder: Path | None, count: int) -> Pictures:
    """Pictures of a folder, filled up with made ones, no side over 320 pixels."""
    found = []
    for path in sorted(folder.rglob("*")) if folder else ():
        if path.suffix.lower() in PICTURES and len(found) < count:
            image = read_picture(path)
            image.thumbnail((320, 320))
            if min(image.size) >= 64:
                found.append(image)
    return Pictures(found + [made(number) for number in range(count - len(found))], len(found))


def made(number: int) -> Image.Image:
    """A picture with soft colours and shapes, unlike every other."""
    rng = np.random.default_rng(number)
    size = int(rng.integers(200, 320)), int(rng.integers(200, 320))
    image = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, width, height = rng.integers(0, 200, 4)
        draw.ellipse((int(x), int(y), int(x + width), int(y + height)), fill=tuple(map(int, rng.integers(0, 256, 3))))
    return image


def cropped(image: Image.Image, rng: random.Random, kept: float) -> Image.Image:
    """A part of the picture, somewhere in it; `kept` of each side."""
    width, height = int(image.width * kept), int(image.height * kept)
    x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((x, y, x + width, y + height))


def saved(image: Image.Image, quality: int) -> Image.Image:
    """As JPEG and back."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def recoloured(image: Image.Image, rng: random.Random) -> Image.Image:
    """Brighter or darker by up to 30 %, more or less colour by up to 40 %, a tint of up to 12 %."""
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.7, 1.3))
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.6, 1.4))
    tint = np.array([rng.uniform(0.88, 1.12) for _ in range(3)])
    return Image.fromarray(np.clip(np.asarray(image) * tint, 0, 255).astype(np.uint8))


CHANGES: Mapping[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "same": lambda image, rng: image,
    "cropped": lambda image, rng: cropped(image, rng, 0.9),
    "rescaled": lambda image, rng: image.resize((48, 48 * image.height // image.width or 1)),
    "jpeg": lambda image, rng: saved(image, 20),
    "recoloured": recoloured,
    "blurred": lambda image, rng: image.filter(ImageFilter.GaussianBlur(6)),
    "crop 75 %": lambda image, rng: cropped(image, rng, 0.75),
    "crop 50 %": lambda image, rng: cropped(image, rng, 0.5),
    "grey": lambda image, rng: ImageOps.grayscale(image).convert("RGB"),
    "mirrored": lambda image, rng: ImageOps.mirror(image),
    "turned 10°": lambda image, rng: image.rotate(10, Image.Resampling.BICUBIC, fillcolor=(255, 255, 255)),
    "in a larger one": lambda image, rng: ImageOps.expand(image, image.width // 4, fill=(90, 120, 60)),
}
"""What is done to a picture before it is searched for."""

COUNTED = ("cropped", "rescaled", "jpeg", "recoloured")
"""The changes whose mean is the figure of the benchmark."""
