"""SearXNG: a search engine of your own that asks others, without a key.

Documentation: https://docs.searxng.org/dev/search_api.html. The number of results cannot be set. An answer without
results names the engines that did not answer; where there are any, that is a failure and not an empty answer.
"""

from foveal.tools.search.providers.http import Access, Endpoint, hit, rows, text
from foveal.trajectory import SearchHit

URL = "http://127.0.0.1:8080"

_FIXES = {403: "allow JSON in its settings.yml: search.formats has to name json"}


class SearxngText:
    """Text search with SearXNG."""

    name = "searxng"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/search", _FIXES)
        self._options = access.options

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages of the engines together.

        Raises:
            SearchError: SearXNG failed, or none of its engines answered.
        """
        reply = await self._endpoint.ask("GET", params={**self._options, "q": query, "format": "json"})
        if "results" not in reply:
            self._endpoint.misunderstood("results")
        hits = [
            hit(row.get("title"), row.get("url"), row.get("content"), row.get("publishedDate"), row.get("engine"))
            for row in rows(self._endpoint, reply, "results")
        ]
        if not hits and (silent := reply.get("unresponsive_engines")):
            self._endpoint.failed(f"no engine answered: {text(str(silent), 200)}")
        return [one for one in hits if one is not None][:k]
