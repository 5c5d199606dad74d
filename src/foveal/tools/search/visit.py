"""Reading a page of the web: fetched behind the guard of `fetch`, its main text taken out by trafilatura.

Menus, advertisements and comments are left out. Scripts are not run, so a page that is written by one has no text here.
"""

import asyncio
import re
from urllib.parse import urlsplit

from foveal.errors import MissingDependency, SearchError
from foveal.tools.base import Visitor
from foveal.tools.search.cache import Answers
from foveal.tools.search.database import storable
from foveal.tools.search.fetch import Fetched, Fetcher
from foveal.tools.search.manners import Manners
from foveal.tools.search.providers.http import MAX_TITLE, text
from foveal.tools.search.replay import RecordedVisits
from foveal.tools.search.settings import Limits, VisitSettings
from foveal.trajectory import SearchHit

READ_SECONDS = 20.0
"""How long the text of one page is looked for."""

_TAG = re.compile(rb"<[a-zA-Z!/?]")


class PageVisitor:
    """Reads pages that are open to the public.

    Args:
        fetcher: Fetches them.
        max_chars: Characters of a page that are shown.

    Raises:
        MissingDependency: trafilatura is not installed.
    """

    name = "web"

    def __init__(self, fetcher: Fetcher, max_chars: int):
        try:
            import trafilatura  # noqa: F401  # now rather than at the first page
        except ImportError as error:
            raise MissingDependency(
                f"pages are read by trafilatura, which cannot be used: {error}", "pip install 'foveal[visit]'"
            ) from error
        self._fetcher = fetcher
        self._max_chars = max_chars

    async def visit(self, url: str) -> SearchHit:
        """The page at an address, its main text as snippet, with a note where it was cut.

        Raises:
            SearchError: The address is not public, cannot be read, or has no text.
        """
        fetched = await self._fetcher.get(url)
        try:
            async with asyncio.timeout(READ_SECONDS):
                return await asyncio.to_thread(self._read, fetched)
        except TimeoutError:
            raise SearchError(f"the text of the page was not found within {READ_SECONDS:g} s") from None

    def _read(self, fetched: Fetched) -> SearchHit:
        if fetched.content.startswith(b"%PDF"):
            raise SearchError("that is a PDF file, no page", of_request=True)
        if not _TAG.search(fetched.content[:2000]) and (plain := _decoded(fetched.content)):
            return self._page(fetched, plain, None, None)
        from trafilatura import extract_with_metadata

        try:
            found = extract_with_metadata(fetched.content, url=fetched.url, include_comments=False)
        except Exception as error:  # a hostile page can break a parser of HTML anywhere
            raise SearchError(f"the page cannot be read: {type(error).__name__}", of_request=True) from error
        body = storable(found.text or "").strip() if found is not None else ""
        if found is None or not body:
            raise SearchError("the page has no text that can be read: it may be written by a script", of_request=True)
        return self._page(fetched, body, found.title, found.date)

    def _page(self, fetched: Fetched, body: str, title: str | None, date: str | None) -> SearchHit:
        if len(body) > self._max_chars:
            body = f"{body[: self._max_chars]}\n[{len(body) - self._max_chars} more characters are left out]"
        named = text(title, MAX_TITLE) or fetched.url
        return SearchHit(title=named, link=fetched.url, snippet=body, date=text(date, 100))


def _decoded(content: bytes) -> str:
    """The bytes as text; empty if they are none."""
    try:
        return storable(content.decode("utf-8-sig")).strip()
    except UnicodeDecodeError:
        return ""


class PoliteVisitor:
    """Reads pages by another visitor, within limits of its own for each host; equal addresses share one visit.

    Args:
        visitor: Reads them.
        per_host: The limits.
    """

    def __init__(self, visitor: Visitor, per_host: Limits):
        self.name = visitor.name
        self._visitor, self._per_host = visitor, per_host
        self._hosts: dict[str, Manners] = {}

    async def visit(self, url: str) -> SearchHit:
        """The page at an address.

        Raises:
            SearchError: It cannot be read, or its host is down or may not be asked again.
        """
        try:
            host = urlsplit(url).hostname or ""
        except ValueError as error:
            raise SearchError(f"that is no address of a page: {error}", of_request=True) from error
        manners = self._hosts.setdefault(host, Manners(host, self._per_host))
        return await manners.share(("visit", url), lambda: self._visitor.visit(url))


def open_visitor(settings: VisitSettings, fetcher: Fetcher | None = None) -> Visitor:
    """The reader of pages that the settings name. Nothing is fetched before the first call; in mode `replay`, never.

    Args:
        settings: All of it.
        fetcher: Another one.

    Raises:
        MissingDependency: trafilatura is not installed.
        InputError: The file of recorded pages cannot be used.
    """
    reader = PageVisitor(fetcher or Fetcher(timeout=settings.timeout), settings.max_chars)
    visitor = PoliteVisitor(reader, settings.per_host)
    if settings.cache is None:
        return visitor
    return RecordedVisits(visitor, Answers(settings.cache, read_only=settings.mode == "replay"), settings)
