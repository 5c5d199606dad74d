"""One request to a vendor: JSON comes back, or a `Trouble` that says what kind of failure it was.

A request goes straight through an httpx transport, for two reasons: the client of httpx logs every address, and
SerpApi takes its key in the address; and a search tool has no moment at which a client could be closed. Redirects are
not followed, so a key never goes to another host.
"""

import asyncio
import functools
import json
import re
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn
from urllib.parse import quote

import httpx

from foveal import __version__
from foveal.errors import ConfigError, SearchError
from foveal.retry import retry_after
from foveal.tools.search.database import storable
from foveal.tools.search.loaders import one_line
from foveal.trajectory import SearchHit

MAX_BYTES = 10_000_000
"""Largest answer of a vendor."""
MAX_TITLE = 300
MAX_SNIPPET = 1000
MAX_LINK = 2000
"""Caps of one hit, in characters."""
MAX_MESSAGE = 300
"""Characters of what a vendor says about a failure."""

Kind = Literal["passing", "key", "quota", "query", "shape"]
Options = Mapping[str, str | int | float | bool]

_QUOTA = re.compile(r"quota|credits?\b|run out|(plan|usage|spend\w*|budget) (limit|exceeded)|budget_exceeded", re.I)
_KEY = re.compile(r"api.?key|subscription.?token|unauthori[sz]ed", re.I)
_ISO_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T")


class Trouble(SearchError):
    """A request that failed.

    Args:
        what: What failed.
        fix: What mends it.
        kind: `passing` may be tried again; `query` is about this one query; the others are there to stay.
        wait: Seconds that the provider asks to wait.
    """

    def __init__(self, what: str, fix: str | None = None, kind: Kind = "passing", wait: float | None = None):
        super().__init__(what, fix, of_request=kind == "query")
        self.kind = kind
        self.wait = wait


@dataclass(frozen=True)
class Access:
    """How a provider is reached.

    Raises:
        ConfigError: The key cannot be one.
    """

    key: str = field(default="", repr=False)
    """Secret; empty if the provider wants none, or is never asked."""
    url: str | None = None
    """Another address than the provider's own."""
    options: Options = field(default_factory=dict)
    """Further parameters of every request."""
    timeout: float = 20.0
    """Seconds for one request, from the first byte to the last."""
    transport: httpx.AsyncBaseTransport | None = None
    """Another httpx transport."""

    def __post_init__(self) -> None:
        if not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise ConfigError("the key of the search provider holds characters that no key has", "copy it again")


class Endpoint:
    """An address of a vendor.

    Args:
        name: Of the provider, for errors.
        access: How it is reached; its key is cut out of everything that is said about failures.
        url: The provider's own address.
        path: Behind either address.
        fixes: What mends a status, where the provider has advice of its own.

    Raises:
        ConfigError: The address is none.
    """

    def __init__(self, name: str, access: Access, url: str, path: str, fixes: Mapping[int, str] | None = None):
        self.name = name
        self.url = check_url(access.url or url) + path
        self._access = access
        self._fixes = fixes or {}

    async def ask(
        self,
        method: Literal["GET", "POST"],
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send one request and return the JSON object that comes back.

        Raises:
            Trouble: Anything else came back, or nothing.
        """
        ours = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"foveal/{__version__}"}
        try:
            request = httpx.Request(method, self.url, params=params, json=body, headers={**ours, **(headers or {})})
        except (ValueError, TypeError, httpx.InvalidURL):
            raise Trouble(f"{self.name} cannot be asked this: it cannot be put into a request", kind="query") from None
        try:
            async with asyncio.timeout(self._access.timeout):
                response, content = await exchange(request, self._access.transport, MAX_BYTES)
        except TimeoutError:
            raise Trouble(f"{self.name} did not answer within {self._access.timeout:g} s", "raise timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            said = self._quoted(f"{type(error).__name__} {error}")
            raise Trouble(f"{self.name} cannot be reached: {said}", "check the network and the address") from None
        value = _json(content)
        if response.status_code != 200:
            self._refuse(response, self._quoted(_said(value) or content.decode("utf-8", "replace")))
        if value is None:
            start = self._quoted(content.decode("utf-8", "replace"))[:100]  # cut last, or half a key could remain
            raise Trouble(f"{self.name} answered something that is no JSON: {start}", "check the address")
        if not isinstance(value, dict):
            self.misunderstood("a JSON object")
        return value

    def misunderstood(self, missing: str) -> NoReturn:
        """Raise the error of an answer without what belongs there: not the same as no results.

        Raises:
            Trouble: Always.
        """
        raise Trouble(
            f"{self.name} answered in another form than it documents: {missing} is missing",
            "check the address, and look for a newer foveal",
            kind="shape",
        )

    def failed(self, message: str, fix: str | None = None, kind: Kind = "passing") -> NoReturn:
        """Raise the error of a failure that the vendor tells in an answer with status 200.

        Raises:
            Trouble: Always.
        """
        raise Trouble(f"{self.name} failed: {self._quoted(message)}", fix, kind)

    def _refuse(self, response: httpx.Response, message: str) -> NoReturn:
        """Raise the error of a status other than 200."""
        status = response.status_code
        fix: str | None
        kind: Kind
        wait: float | None = None
        if status in (402, 432, 433) or (400 <= status < 500 and _QUOTA.search(message)):
            kind, fix = "quota", "the quota of this key is used up: raise it, or use another provider"
        elif status in (401, 403) or (400 <= status < 500 and status != 429 and _KEY.search(message)):
            kind, fix = "key", f"give {self.name} a key that it accepts"
        elif status in (408, 425, 429) or status >= 500:
            kind, fix, wait = "passing", "search less at a time: lower concurrency or rate", retry_after(response)
        elif status in (400, 413, 414, 422):
            kind, fix = "query", "ask for something else, or check options"
        else:
            kind, fix = "shape", "check the address of the provider"
        raise Trouble(f"{self.name} answered HTTP {status}: {message}", self._fixes.get(status, fix), kind, wait)

    def _quoted(self, message: str) -> str:
        """The words of others, on one line, short, without the key."""
        if key := self._access.key:
            for form in (key, quote(key, safe=""), key.replace("/", "\\/")):  # as it is, in an address, in JSON
                message = message.replace(form, "***")
        return one_line(message)[:MAX_MESSAGE] or "(nothing)"


async def exchange(
    request: httpx.Request, transport: httpx.AsyncBaseTransport | None, max_bytes: int
) -> tuple[httpx.Response, bytes]:
    """Send a request, nothing logged, and read the body of what comes back.

    Args:
        request: The request.
        transport: None: the real one, through the proxy of the environment if there is one.
        max_bytes: Largest body.

    Raises:
        Trouble: The body is larger, or the proxy cannot be used.
        httpx.HTTPError: The network failed.
    """
    if transport is None:
        try:
            transport = httpx.AsyncHTTPTransport(verify=certificates(), proxy=_proxy(request.url))
        except (ImportError, ValueError):  # its address may hold a password, so it is not shown
            raise Trouble("the proxy of the environment cannot be used", "correct HTTPS_PROXY", "shape") from None
        async with transport:
            return await exchange(request, transport, max_bytes)
    response = await transport.handle_async_request(request)
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > max_bytes:
                raise Trouble(f"{request.url.host} sent more than {max_bytes // 1_000_000} MB", kind="shape")
    finally:
        await response.aclose()
    return response, bytes(content)


def check_url(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        ConfigError: It is none, or holds a password or a query.
    """
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise ConfigError("the address of a search provider is none", "write it as https://host/path, and nothing else")
    return url.rstrip("/")


def rows(endpoint: Endpoint, reply: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The results under a key; none if the key is missing or null. What is no object among them is left out.

    Raises:
        Trouble: Something else than a list is there.
    """
    found = reply.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        endpoint.misunderstood(f"a list of {key}")
    return [row for row in found if isinstance(row, dict)]


def hit(
    title: Any,
    link: Any,
    snippet: Any = None,
    date: Any = None,
    source: Any = None,
    score: Any = None,
) -> SearchHit | None:
    """A hit from fields that may be missing or of any type; None if there is neither a title nor a link."""
    address = text(link, MAX_LINK)
    name = text(title, MAX_TITLE) or address
    if name is None:
        return None
    day = text(date, 100)
    if day and (iso := _ISO_TIME.match(day)):
        day = iso[1]
    is_number = isinstance(score, int | float) and not isinstance(score, bool) and abs(score) < 1e12  # no NaN either
    return SearchHit(
        title=name,
        link=address,
        snippet=text(snippet, MAX_SNIPPET),
        date=day,
        source=text(source, MAX_TITLE),
        score=float(score) if is_number else None,
    )


def text(value: Any, limit: int) -> str | None:
    """A string on one line, cut to `limit` characters, that any file can hold; None if there is nothing to read."""
    if not isinstance(value, str):
        return None
    line = one_line(storable(value))
    return (line if len(line) <= limit else line[: limit - 1] + "…") or None


def _json(content: bytes) -> Any:
    """The value, or None if the bytes are no JSON in any Unicode encoding."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _said(value: Any) -> str | None:
    """What a JSON answer says about a failure, wherever vendors put it."""
    for _ in range(3):
        if not isinstance(value, dict):
            break
        value = next((value[name] for name in ("error", "message", "detail") if value.get(name)), None)
    return value if isinstance(value, str) else None


@functools.cache
def certificates() -> ssl.SSLContext:
    """The certificates that are trusted, read once: that takes longer than a request on a slow machine."""
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> str | None:
    """The proxy that the environment names for an address."""
    if urllib.request.proxy_bypass(url.host):
        return None
    return urllib.request.getproxies().get(url.scheme)
