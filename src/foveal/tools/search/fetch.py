"""Fetching from addresses that strangers chose: results of a search name them, and none may lead into this network.

The host is resolved once, every address that it has must be public, and the connection goes to exactly that address:
a name that resolves to something else a moment later (DNS rebinding) gains nothing. A redirect is a new address and is
checked like the first one. Odd spellings of an address (decimal, octal, hexadecimal, shortened) are resolved like any
name. Proxies of the environment are not used, as a proxy would resolve the name again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

import httpx

from foveal import __version__
from foveal.errors import SearchError
from foveal.tools.search.providers.http import Trouble, certificates, exchange

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_REDIRECTS = 5
MAX_ADDRESSES = 3
"""Addresses of one host that are tried."""
BUSY = (408, 425, 429)
"""Statuses below 500 that say nothing about the page."""
NO_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
"""What the resolver answers for a name that nobody has; on some machines also for every name while it is away."""
KNOWN_HOST = "example.com"
"""A name that somebody has for good (RFC 2606)."""

_SPECIAL = tuple(map(IPv4Network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")))
"""What older Pythons take for public: Azure's host, the range with Oracle's metadata, and a dead relay."""
_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


class Fetched(NamedTuple):
    """What an address gave."""

    url: str
    """Where it came from in the end."""
    content: bytes


class Fetcher:
    """Fetches from public addresses only.

    Args:
        timeout: Seconds for everything together, redirects included.
        max_bytes: Largest body.
        allowed: Which addresses may be connected to.
        resolve: Addresses of a host and port, as text.
        transport: Another httpx transport; requests to it name the address, and the host in the header `Host`.
    """

    def __init__(
        self,
        timeout: float = 10.0,
        max_bytes: int = 5_000_000,
        allowed: Callable[[Address], bool] | None = None,
        resolve: Resolve | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._allowed = allowed or is_public
        self._resolve = resolve or resolved
        self._transport = transport

    async def get(self, url: str) -> Fetched:
        """What an address gives, with status 200, after at most `MAX_REDIRECTS` redirects.

        Raises:
            SearchError: It is not allowed, cannot be reached, too large or too slow, or answers something else.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._follow(_web(url))
        except TimeoutError:
            raise SearchError(f"nothing whole came back within {self._timeout:g} s") from None
        except Trouble as error:  # it is too large
            raise SearchError(error.what, of_request=True) from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            own = isinstance(error, httpx.InvalidURL | UnicodeError | _NoSuchHost)
            name = "gaierror" if isinstance(error, _NoSuchHost) else type(error).__name__
            raise SearchError(f"the address cannot be read: {name}", of_request=own) from None

    async def _follow(self, url: httpx.URL) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            response, content = await self._hop(url)
            if response.has_redirect_location:
                url = _web(response.headers["Location"], url)
                continue
            if response.status_code != 200:
                own = response.status_code < 500 and response.status_code not in BUSY
                raise SearchError(f"{url.host} answered HTTP {response.status_code}", of_request=own)
            return Fetched(str(url), content)
        raise SearchError(f"{url.host} redirects more than {MAX_REDIRECTS} times", of_request=True)

    async def _hop(self, url: httpx.URL) -> tuple[httpx.Response, bytes]:
        *others, last = await self._addresses(url)
        for address in others:
            try:
                return await self._ask(url, address)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # the next one of the same host
        return await self._ask(url, last)

    async def _ask(self, url: httpx.URL, address: str) -> tuple[httpx.Response, bytes]:
        request = httpx.Request(
            "GET",
            url.copy_with(host=address, fragment=None),
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": f"foveal/{__version__}",
                "Accept-Encoding": "identity",
            },
            extensions={"sni_hostname": url.raw_host.decode("ascii")},  # whose certificate is checked
        )
        if self._transport is not None:
            return await exchange(request, self._transport, self._max_bytes)
        async with httpx.AsyncHTTPTransport(verify=certificates(), trust_env=False) as transport:
            return await exchange(request, transport, self._max_bytes)

    async def _look_up(self, host: str, port: int) -> list[str]:
        try:
            return await self._resolve(host, port)
        except socket.gaierror as error:
            if error.errno in NO_HOST and await self._resolve(KNOWN_HOST, port):
                raise _NoSuchHost(host) from None
            raise

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """The addresses of the host, all of them allowed."""
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        found = [ip_address(text.partition("%")[0]) for text in await self._look_up(host, port)]
        if not found:
            raise SearchError(f"{host} has no address", of_request=True)
        if refused := next((address for address in found if not self._allowed(address)), None):
            told = f"{host} is at {refused}, which is not a public address: it is never fetched from"
            raise SearchError(told, of_request=True)
        return [str(address) for address in sorted(found, key=lambda address: address.version)][:MAX_ADDRESSES]


class _NoSuchHost(OSError):
    """A name that nobody has, told by a resolver that knows others."""


def is_public(address: Address) -> bool:
    """True for an address of the public internet; the IPv4 address inside an IPv6 one decides for it."""
    if isinstance(address, IPv4Address):
        special = address.is_multicast or any(address in network for network in _SPECIAL)
        return address.is_global and not special
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST and address not in _SIX_TO_FOUR and address.is_global


async def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _web(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """The address, if it is one of the web and carries no name or password.

    Raises:
        SearchError: It is not.
    """
    try:
        parsed = base.join(url) if base is not None else httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise SearchError("that is no address", of_request=True) from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise SearchError("only http and https addresses without a user name are fetched", of_request=True)
    return parsed
