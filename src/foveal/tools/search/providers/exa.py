"""Exa: search by meaning; its snippets are the beginnings of pages.

Documentation: https://exa.ai/docs/reference/search and https://exa.ai/docs/reference/error-codes. At most 100 results.
Used-up credits are HTTP 402.
"""

from foveal.tools.search.providers.http import MAX_SNIPPET, Access, Endpoint, hit, rows
from foveal.trajectory import SearchHit

URL = "https://api.exa.ai"


class ExaText:
    """Text search with Exa."""

    name = "exa"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/search")
        self._headers = {"x-api-key": access.key}
        self._options = {"contents": {"text": {"maxCharacters": MAX_SNIPPET}}, **access.options}

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages.

        Raises:
            SearchError: Exa failed.
        """
        body = {"numResults": min(k, 100), **self._options, "query": query}
        reply = await self._endpoint.ask("POST", body=body, headers=self._headers)
        if "results" not in reply:
            self._endpoint.misunderstood("results")
        hits = [
            hit(row.get("title"), row.get("url"), row.get("text"), row.get("publishedDate"), score=row.get("score"))
            for row in rows(self._endpoint, reply, "results")
        ]
        return [one for one in hits if one is not None][:k]
