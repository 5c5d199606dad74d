"""Every HTTP provider in one table, with answers in its vendor's shape (as documented, contents made up)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image

from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.providers.brave import BraveText
from foveal.tools.search.providers.exa import ExaText
from foveal.tools.search.providers.http import Access
from foveal.tools.search.providers.lens import Lens
from foveal.tools.search.providers.searxng import SearxngText
from foveal.tools.search.providers.serpapi import SerpApiImages, SerpApiText
from foveal.tools.search.providers.serper import SerperImages, SerperText
from foveal.tools.search.providers.tavily import TavilyText
from foveal.trajectory import ImageStore, SearchHit

KEY = "k3y-of/mine+1"
PUBLIC = "https://bucket.example/picture.jpg?X-Amz-Signature=1"


class Uploads:
    """An uploader that is never asked for long."""

    async def upload(self, image: Image.Image) -> str:
        return PUBLIC


async def no_network(host: str, port: int) -> list[str]:
    raise OSError("no network in tests")


def lens() -> Lens:
    return Lens(Uploads(), Fetcher(resolve=no_network))


def text(kind: Callable[[Access], Any]) -> Callable[..., Awaitable[list[SearchHit]]]:
    return lambda access, k, query="striped horse": kind(access).search(query, k)


def image(kind: Callable[[Access, Lens], Any]) -> Callable[..., Awaitable[list[SearchHit]]]:
    return lambda access, k: kind(access, lens()).search(Image.new("RGB", (40, 30), "red"), k, ImageStore())


@dataclass(frozen=True)
class Vendor:
    """A provider, asked for what it always is."""

    name: str
    ask: Callable[..., Awaitable[list[SearchHit]]]
    reply: Callable[[list[Any]], dict[str, Any]]
    """An answer with these results."""
    row: dict[str, Any]
    """One result, all fields there."""
    hit: SearchHit
    """What has to come of it."""
    results: str = "results"
    """The name under which `reply` puts the results."""

    def search(self, transport: httpx.AsyncBaseTransport, k: int = 5, **asked: str) -> list[SearchHit]:
        """Ask once and wait."""
        return asyncio.run(self.ask(Access(KEY, timeout=60, transport=transport), k, **asked))


def serpapi(**results: Any) -> dict[str, Any]:
    return {"search_metadata": {"id": "1", "status": "Success"}, "search_parameters": {"engine": "google"}, **results}


ZEBRA = {"title": "Zebra", "link": "https://zoo.example/zebra"}
HIT = SearchHit(title="Zebra", link="https://zoo.example/zebra", snippet="A horse with stripes.")

VENDORS = [
    Vendor(
        "serpapi",
        text(SerpApiText),
        lambda rows: serpapi(organic_results=rows),
        {**ZEBRA, "position": 1, "snippet": "A horse with stripes.", "date": "May 2, 2024", "source": "Zoo"},
        HIT.model_copy(update={"date": "May 2, 2024", "source": "Zoo"}),
        "organic_results",
    ),
    Vendor(
        "serpapi-lens",
        image(SerpApiImages),
        lambda rows: serpapi(visual_matches=rows),
        {**ZEBRA, "position": 1, "source": "Zoo", "thumbnail": "https://t.example/1.jpg"},
        HIT.model_copy(update={"snippet": None, "source": "Zoo"}),
        "visual_matches",
    ),
    Vendor(
        "serper",
        text(SerperText),
        lambda rows: {"searchParameters": {"q": "striped horse"}, "organic": rows, "credits": 1},
        {**ZEBRA, "snippet": "A horse with stripes.", "date": "May 2, 2024", "position": 1},
        HIT.model_copy(update={"date": "May 2, 2024"}),
        "organic",
    ),
    Vendor(
        "serper-lens",
        image(SerperImages),
        lambda rows: {"searchParameters": {"url": PUBLIC}, "organic": rows},
        {**ZEBRA, "source": "Zoo", "imageUrl": "https://zoo.example/1.jpg", "thumbnailUrl": "https://t.example/1"},
        HIT.model_copy(update={"snippet": None, "source": "Zoo"}),
        "organic",
    ),
    Vendor(
        "brave",
        text(BraveText),
        lambda rows: {"type": "search", "query": {"original": "x"}, "web": {"type": "search", "results": rows}},
        {
            "title": "<strong>Zebra</strong>",
            "url": "https://zoo.example/zebra",
            "description": "A horse with <strong>stripes</strong>.",
            "age": "2 weeks ago",
            "page_age": "2024-05-02T10:00:00",
            "meta_url": {"hostname": "zoo.example"},
        },
        HIT.model_copy(update={"date": "2024-05-02", "source": "zoo.example"}),
        "web",
    ),
    Vendor(
        "tavily",
        text(TavilyText),
        lambda rows: {"query": "x", "answer": None, "images": [], "results": rows, "response_time": 1.2},
        {"title": "Zebra", "url": ZEBRA["link"], "content": "A horse\nwith  stripes.", "score": 0.9},
        HIT.model_copy(update={"score": 0.9}),
    ),
    Vendor(
        "exa",
        text(ExaText),
        lambda rows: {"requestId": "1", "searchType": "auto", "results": rows, "costDollars": {"total": 0.005}},
        {
            "id": ZEBRA["link"],
            "title": "Zebra",
            "url": ZEBRA["link"],
            "text": "A horse with stripes.",
            "publishedDate": "2024-05-02T00:00:00.000Z",
            "author": None,
        },
        HIT.model_copy(update={"date": "2024-05-02"}),
    ),
    Vendor(
        "searxng",
        text(SearxngText),
        lambda rows: {"query": "x", "number_of_results": 0, "results": rows, "unresponsive_engines": []},
        {
            "title": "Zebra",
            "url": ZEBRA["link"],
            "content": "A horse with stripes.",
            "publishedDate": "2024-05-02T00:00:00",
            "engine": "duckduckgo",
        },
        HIT.model_copy(update={"date": "2024-05-02", "source": "duckduckgo"}),
    ),
]


@pytest.fixture(params=VENDORS, ids=[vendor.name for vendor in VENDORS])
def vendor(request: pytest.FixtureRequest) -> Vendor:
    """Each provider in turn."""
    found: Vendor = request.param
    return found


@pytest.fixture
def vendors() -> dict[str, Vendor]:
    """All of them by name."""
    return {vendor.name: vendor for vendor in VENDORS}


@pytest.fixture
def key() -> str:
    """The secret that every provider is given."""
    return KEY
