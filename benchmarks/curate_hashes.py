"""Measures which changes of a picture its perceptual hash survives, and which different pictures it takes for the same.

    python benchmarks/curate_hashes.py FOLDER... [--most N] [--json FILE]

Each folder is one kind of picture (photos, charts, pages of text); its pictures should all differ, or pairs of equal
ones count as mistakes. Figures are for the distance at which `foveal curate check` sees a leak.

Keys of the JSON file, by folder: `pictures`; for each change the share of changed copies that are found; `wrong_pairs`
of `pairs`: different pictures within the distance.
"""

import argparse
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from foveal.curate.hashes import REACH, PictureHash, perceptual_hash
from foveal.curate.leaks import CheckSettings
from foveal.tools.search.loaders import PICTURES, read_picture

SMALLEST = 40
"""Pixels; smaller pictures are left out."""


def saved(quality: int) -> Callable[[Image.Image], Image.Image]:
    """The picture out of a JPEG file of this quality."""

    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return change


def cut(share: float, left: float = 1.0) -> Callable[[Image.Image], Image.Image]:
    """The picture without this share of its sides; `left` = 0 cuts on the right alone."""

    def change(image: Image.Image) -> Image.Image:
        x, y = int(image.width * share), int(image.height * share)
        return image.crop((int(x * left), int(y * left), image.width - x, image.height - int(y * left)))

    return change


def small(image: Image.Image) -> Image.Image:
    """The picture in 100 pixels."""
    copy = image.copy()
    copy.thumbnail((100, 100))
    return copy


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half": lambda image: image.reduce(2),
    "100 pixels": small,
    "JPEG 20": saved(20),
    "JPEG 5": saved(5),
    "gamma 0.7": lambda image: image.point([int(255 * (value / 255) ** 0.7) for value in range(256)] * 3),
    "1 % cut": cut(0.01),
    "2 % cut": cut(0.02),
    "3 % cut": cut(0.03),
    "5 % cut": cut(0.05),
    "5 % cut on the right": cut(0.05, left=0.0),
}


def near(one: PictureHash, other: PictureHash) -> bool:
    """Whether `check` takes them for the same picture."""
    close = (one.coarse ^ other.coarse).bit_count() <= REACH
    return close and (one.fine ^ other.fine).bit_count() <= CheckSettings().picture_distance


def measure(folder: Path, most: int) -> dict[str, float]:
    """The figures of one folder."""
    hashes: list[PictureHash] = []
    found: dict[str, int] = defaultdict(int)
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES):
        try:
            image = read_picture(path)
        except ValueError as problem:
            print(f"{path}: {problem}")
            continue
        if min(image.size) < SMALLEST or len(hashes) == most:
            continue
        hashes.append(perceptual_hash(image))
        for name, change in CHANGES.items():
            found[name] += near(hashes[-1], perceptual_hash(change(image)))
    wrong = sum(near(one, other) for one, other in itertools.combinations(hashes, 2))
    shares = {name: found[name] / max(len(hashes), 1) for name in CHANGES}
    return {"pictures": len(hashes), **shares, "wrong_pairs": wrong, "pairs": len(hashes) * (len(hashes) - 1) // 2}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--most", type=int, default=200, help="pictures of a folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    figures = {folder.name: measure(folder, args.most) for folder in args.folders}
    for folder, values in figures.items():
        print(folder)
        for name, value in values.items():
            print(f"  {name:26} {value:10.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
