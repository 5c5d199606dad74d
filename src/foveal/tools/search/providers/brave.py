"""Brave Search: an index of its own.

Documentation: https://api-dashboard.search.brave.com/api-reference/web/search/get and
https://api.search.brave.com/app/documentation/web-search/responses. At most 20 results, 400 characters and 50 words;
`web` is missing where there are no results. A wrong key has been seen as HTTP 422. There is no search by picture.
"""

import html
import re
from typing import Any

from foveal.tools.search.providers.http import Access, Endpoint, hit, rows
from foveal.trajectory import SearchHit

URL = "https://api.search.brave.com"

_TAG = re.compile(r"</?[a-z][^<>]{0,100}>", re.IGNORECASE)


class BraveText:
    """Text search with Brave."""

    name = "brave"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/res/v1/web/search")
        self._headers = {"X-Subscription-Token": access.key}
        self._options = {"text_decorations": "false", "result_filter": "web", **access.options}

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages.

        Raises:
            SearchError: Brave failed.
        """
        params = {"count": min(k, 20), **self._options, "q": query}
        reply = await self._endpoint.ask("GET", params=params, headers=self._headers)
        web = reply.get("web")
        if "web" not in reply and reply.get("type") != "search":
            self._endpoint.misunderstood("web")
        hits = []
        for row in rows(self._endpoint, web if isinstance(web, dict) else {}, "results"):
            where = row.get("meta_url")
            host = where.get("hostname") if isinstance(where, dict) else None
            date = row.get("page_age") or row.get("age")
            hits.append(hit(_plain(row.get("title")), row.get("url"), _plain(row.get("description")), date, host))
        return [one for one in hits if one is not None][:k]


def _plain(value: Any) -> Any:
    """Text without the marks and entities of HTML that Brave leaves in it."""
    return html.unescape(_TAG.sub("", value)) if isinstance(value, str) else value
