"""SerpApi: results of Google, and of Google Lens for a picture.

Documentation: https://serpapi.com/search-api, https://serpapi.com/organic-results, https://serpapi.com/google-lens-api,
https://serpapi.com/api-status-and-error-codes. The key goes into the address, as SerpApi takes it nowhere else. An
answer without results has `search_metadata.status` Success and an `error` that says so. The number of results cannot
be set.
"""

from typing import Any

from PIL import Image

from foveal.tools.search.providers.http import Access, Endpoint, hit, rows
from foveal.tools.search.providers.lens import Lens, Match
from foveal.trajectory import ImageStore, SearchHit

URL = "https://serpapi.com"


class SerpApiText:
    """Text search with SerpApi's `google` engine."""

    name = "serpapi"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/search.json")
        self._params = {"engine": "google", **access.options, "api_key": access.key}

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages of Google.

        Raises:
            SearchError: SerpApi failed.
        """
        reply = await self._endpoint.ask("GET", params={**self._params, "q": query})
        _check(self._endpoint, reply)
        hits = [
            hit(row.get("title"), row.get("link"), row.get("snippet"), row.get("date"), row.get("source"))
            for row in rows(self._endpoint, reply, "organic_results")
        ]
        return [one for one in hits if one is not None][:k]


class SerpApiImages:
    """Image search with SerpApi's `google_lens` engine."""

    name = "serpapi"

    def __init__(self, access: Access, lens: Lens):
        self._endpoint = Endpoint(self.name, access, URL, "/search.json")
        self._params = {"engine": "google_lens", **access.options, "api_key": access.key}
        self._lens = lens

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The `k` pages with the most similar pictures; if there are any, those with the very same picture last.

        Raises:
            SearchError: The picture could not be made public, or SerpApi failed.
        """
        address = await self._lens.publish(image)
        reply = await self._endpoint.ask("GET", params={**self._params, "url": address})
        _check(self._endpoint, reply)
        matches = []
        for key in ("visual_matches", "exact_matches"):
            for row in rows(self._endpoint, reply, key):
                one = hit(row.get("title"), row.get("link"), date=row.get("date"), source=row.get("source"))
                if one is not None:
                    matches.append(Match(one, row.get("thumbnail")))
        return await self._lens.with_thumbnails(matches[:k], images)


def _check(endpoint: Endpoint, reply: dict[str, Any]) -> None:
    """Tell an empty answer from a failed one.

    Raises:
        Trouble: SerpApi failed.
    """
    about = reply.get("search_metadata")
    if not isinstance(about, dict):
        endpoint.misunderstood("search_metadata")
    if about.get("status") != "Success":
        error = reply.get("error")
        endpoint.failed(error if isinstance(error, str) else f"the search is {about.get('status')}")
