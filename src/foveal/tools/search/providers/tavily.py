"""Tavily: search made for models; its snippets are extracts of pages.

Documentation: https://docs.tavily.com/api-reference/endpoint/search and
https://help.tavily.com/articles/8645538886-understanding-http-errors. At most 20 results. A used-up plan is HTTP 432, a
used-up pay-as-you-go limit 433; what went wrong stands in `detail.error`.
"""

from foveal.tools.search.providers.http import Access, Endpoint, hit, rows
from foveal.trajectory import SearchHit

URL = "https://api.tavily.com"


class TavilyText:
    """Text search with Tavily."""

    name = "tavily"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/search")
        self._headers = {"Authorization": f"Bearer {access.key}"}
        self._options = access.options

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages.

        Raises:
            SearchError: Tavily failed.
        """
        body = {"max_results": min(k, 20), **self._options, "query": query}
        reply = await self._endpoint.ask("POST", body=body, headers=self._headers)
        if "results" not in reply:
            self._endpoint.misunderstood("results")
        hits = [
            hit(row.get("title"), row.get("url"), row.get("content"), row.get("published_date"), score=row.get("score"))
            for row in rows(self._endpoint, reply, "results")
        ]
        return [one for one in hits if one is not None][:k]
