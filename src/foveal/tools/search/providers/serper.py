"""Serper: results of Google, and of Google Lens for a picture.

Requests as in the playground of https://serper.dev/ (it has no other public reference): `POST /search` with `q` and
`num`, `POST /lens` with `url`, key in `X-API-KEY`. A wrong key is HTTP 403; used-up credits are HTTP 400 and say
"Not enough credits". Lens results have been seen under `organic`, `visual_matches` and `visualMatches`.
"""

from PIL import Image

from foveal.tools.search.providers.http import Access, Endpoint, hit, rows
from foveal.tools.search.providers.lens import Lens, Match
from foveal.trajectory import ImageStore, SearchHit

URL = "https://google.serper.dev"


class SerperText:
    """Text search with Serper."""

    name = "serper"

    def __init__(self, access: Access):
        self._endpoint = Endpoint(self.name, access, URL, "/search")
        self._headers = {"X-API-KEY": access.key}
        self._options = access.options

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The best `k` pages of Google.

        Raises:
            SearchError: Serper failed.
        """
        reply = await self._endpoint.ask("POST", body={"num": k, **self._options, "q": query}, headers=self._headers)
        if "organic" not in reply:
            self._endpoint.misunderstood("organic")
        found = rows(self._endpoint, reply, "organic")
        hits = [hit(row.get("title"), row.get("link"), row.get("snippet"), row.get("date")) for row in found]
        return [one for one in hits if one is not None][:k]


class SerperImages:
    """Image search with Google Lens through Serper."""

    name = "serper"

    def __init__(self, access: Access, lens: Lens):
        self._endpoint = Endpoint(self.name, access, URL, "/lens")
        self._headers = {"X-API-KEY": access.key}
        self._options = access.options
        self._lens = lens

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The `k` pages with the most similar pictures.

        Raises:
            SearchError: The picture could not be made public, or Serper failed.
        """
        address = await self._lens.publish(image)
        reply = await self._endpoint.ask("POST", body={**self._options, "url": address}, headers=self._headers)
        key = next((name for name in ("organic", "visual_matches", "visualMatches") if name in reply), None)
        if key is None:
            self._endpoint.misunderstood("organic")
        matches = []
        for row in rows(self._endpoint, reply, key):
            one = hit(row.get("title"), row.get("link"), source=row.get("source"))
            if one is not None:
                matches.append(Match(one, row.get("thumbnailUrl") or row.get("imageUrl")))
        return await self._lens.with_thumbnails(matches[:k], images)
