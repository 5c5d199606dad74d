"""The guard of fetching: which addresses are public, and that the connection goes to the one that was checked."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from ipaddress import ip_address

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import SearchError
from foveal.tools.search.fetch import MAX_REDIRECTS, Fetcher, is_public, resolved

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


def never(request):
    raise AssertionError(f"connected to {request.url}")


def names(**known):
    """A resolver: `names(a_example=["1.2.3.4"])`; it counts how often it was asked."""

    async def resolve(host, port):
        resolve.asked.append((host, port))
        if (name := host.replace(".", "_")) not in known:
            raise OSError(f"no such host: {host}")
        return known[name]

    resolve.asked = []
    return resolve


def get(url, **settings):
    return asyncio.run(Fetcher(**settings).get(url))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
        *("172.16.0.1", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1"),
        *("240.0.0.1", "255.255.255.255", "168.63.129.16"),
        *(
            "::",
            "::1",
            "::7f00:1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "100::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:808:808::"),
        *("2001:0:808:808::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "4000::1"),
    ],
)
def test_addresses_that_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_that_are_public(address):
    assert is_public(ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_as_public_as_the_same_in_ipv6(address):
    assert (
        is_public(address) == is_public(ip_address(f"::ffff:{address}")) == is_public(ip_address(f"64:ff9b::{address}"))
    )
    assert not is_public(address) or not (address.is_private or address.is_loopback or address.is_link_local)


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/"),
        *("http://2130706433/", "http://0177.0.0.1/", "http://0x7f.0.0.1/", "http://0x7f000001/", "http://127.1/"),
        *("http://①②⑦.⓪.⓪.①/", "http://127。0。0。1/", "http://LOCALHOST./", "http://017700000001/"),
        *(
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://0/",
            "http://[::]/",
            "http://[fe80::1%25lo]/",
        ),
    ],
)
def test_every_spelling_of_a_local_address_is_refused_by_the_real_resolver(url):
    with pytest.raises(SearchError) as raised:
        get(url, transport=httpx.MockTransport(never))
    refusals = ("not a public address", "cannot be read", "that is no address")  # httpx or the system may refuse first
    assert any(refusal in raised.value.what for refusal in refusals)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://8.8.8.8/", "file:///etc/passwd", "gopher://8.8.8.8/", "javascript:alert(1)", "//8.8.8.8/", "", "x"),
        *(
            "http://",
            "http:///x",
            "https://user:pass@8.8.8.8/",
            "http://\x00/",
            "http://a b/",
            "http://[::1",
            "data:,x",
        ),
    ],
)
def test_what_is_no_address_of_the_web(url):
    with pytest.raises(SearchError):
        get(url, transport=httpx.MockTransport(never))


def test_the_connection_goes_to_the_address_that_was_checked():
    """DNS rebinding: the name is resolved once, and the request names the address."""
    seen = []

    def handle(request):
        seen.append(request)
        return httpx.Response(200, content=b"hi")

    resolve = names(a_example=["8.8.8.8"])
    fetched = get("https://a.example:8443/x?y#z", resolve=resolve, transport=httpx.MockTransport(handle))
    assert fetched == ("https://a.example:8443/x?y#z", b"hi")
    [request] = seen
    assert str(request.url) == "https://8.8.8.8:8443/x?y"
    assert request.headers["Host"] == "a.example:8443"
    assert request.extensions["sni_hostname"] == "a.example"
    assert resolve.asked == [("a.example", 8443)]


def test_one_private_address_among_several_is_enough_to_refuse():
    for addresses in (["8.8.8.8", "127.0.0.1"], ["2606:4700::1", "::1"]):
        with pytest.raises(SearchError, match="is at"):
            get("http://a.example/", resolve=names(a_example=addresses), transport=httpx.MockTransport(never))


def test_a_redirect_is_checked_like_the_first_address():
    def handle(request):
        return httpx.Response(302, headers={"Location": "http://inner.example/secret"})

    resolve = names(a_example=["8.8.8.8"], inner_example=["10.0.0.7"])
    with pytest.raises(SearchError, match=r"inner\.example is at 10\.0\.0\.7"):
        get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://u:p@a.example/", "ftp://a.example/", "http://[", ""])
def test_a_redirect_to_no_address_of_the_web(place):
    resolve = names(a_example=["8.8.8.8"])

    def handle(request):
        return httpx.Response(302, headers={"Location": place})

    with pytest.raises(SearchError):
        get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(handle))


def test_redirects_are_followed_within_a_limit_and_resolved_each_time():
    def handle(request):
        step = int(request.url.path.strip("/") or 0)
        if step == MAX_REDIRECTS:
            return httpx.Response(200, content=b"there")
        return httpx.Response(301, headers={"Location": f"/{step + 1}"})

    resolve = names(a_example=["8.8.8.8"])
    fetched = get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(handle))
    assert fetched == (f"http://a.example/{MAX_REDIRECTS}", b"there")
    assert len(resolve.asked) == MAX_REDIRECTS + 1
    with pytest.raises(SearchError, match="redirects more than"):
        get(
            "http://a.example/",
            resolve=resolve,
            transport=httpx.MockTransport(lambda request: httpx.Response(301, headers={"Location": "/"})),
        )


def test_a_name_that_changes_its_address_at_a_redirect_is_caught():
    turns = iter((["8.8.8.8"], ["127.0.0.1"]))

    async def resolve(host, port):
        return next(turns)

    def handle(request):
        return httpx.Response(302, headers={"Location": "/again"})

    with pytest.raises(SearchError, match=r"127\.0\.0\.1"):
        get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(handle))


def test_another_address_of_a_host_is_tried_where_the_first_does_not_answer():
    tried = []

    def handle(request):
        tried.append(request.url.host)
        if request.url.host != "1.1.1.1":
            raise httpx.ConnectError("no route")
        return httpx.Response(200, content=b"hi")

    resolve = names(a_example=["2606:4700::1", "8.8.8.8", "1.1.1.1"])
    assert get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(handle)).content == b"hi"
    assert tried == ["8.8.8.8", "1.1.1.1"]
    tried.clear()
    with pytest.raises(SearchError, match="ConnectError"):
        get("http://a.example/", resolve=names(a_example=["8.8.8.8"]), transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("trouble", [socket.gaierror("no such host"), UnicodeError("label too long"), []])
def test_a_name_that_has_no_address(trouble):
    async def resolve(host, port):
        if trouble:
            raise trouble
        return trouble

    with pytest.raises(SearchError):
        get("http://a.example/", resolve=resolve, transport=httpx.MockTransport(never))


def test_a_real_connection_goes_to_the_resolved_address_with_the_name_in_the_host_header(raw_server):
    server = raw_server(OK)

    async def client(url):
        port = int(url.rpartition(":")[2])
        fetcher = Fetcher(allowed=lambda address: str(address) == "127.0.0.1", resolve=names(a_example=["127.0.0.1"]))
        return await fetcher.get(f"http://a.example:{port}/x"), port

    fetched, port = server.play(client)
    assert fetched.content == b"hi"
    assert server.head.startswith("GET /x HTTP/1.1\r\n")
    assert f"\r\nHost: a.example:{port}\r\n" in server.head


def test_a_loopback_server_is_never_reached_by_default(raw_server):
    server = raw_server(OK)

    async def client(url):
        for place in (url, url.replace("127.0.0.1", "localhost"), url.replace("127.0.0.1", "2130706433")):
            with pytest.raises(SearchError, match="not a public address"):
                await Fetcher().get(place)

    server.play(client)
    assert server.requests == 0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"hang", "within 0.3 s"),
        (b"drip", "within 0.3 s"),
        (b"reset", "cannot be read"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, "more than 2 MB"),
        (b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n", "HTTP 302"),
    ],
    ids=["hang", "drip", "reset", "404", "huge", "nowhere"],
)
def test_servers_that_fail(raw_server, reply, said):
    async def client(url):
        with pytest.raises(SearchError, match=said):
            seconds = 0.3 if reply in (b"hang", b"drip") else 60
            await Fetcher(seconds, 2_000_000, allowed=lambda address: True).get(url)

    raw_server(reply).play(client)


def test_the_systems_resolver():
    assert asyncio.run(resolved("127.1", 80)) == ["127.0.0.1"]
    assert set(asyncio.run(resolved("localhost", 80))) <= {"127.0.0.1", "::1"}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_the_certificate_is_checked_for_the_name_though_the_connection_goes_to_an_address(tmp_path, raw_server):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a.example"]
    names_of = ["-addext", "subjectAltName=DNS:a.example", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *names_of], check=True, capture_output=True)
    trusted = ssl.create_default_context(cafile=cert)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(cert, key)
    asked_for = []
    served.sni_callback = lambda connection, name, context: asked_for.append(name)
    server = raw_server(OK)

    async def client(url):
        port = url.rpartition(":")[2]
        resolve = names(a_example=["127.0.0.1"], b_example=["127.0.0.1"])
        mine = httpx.AsyncHTTPTransport(verify=trusted)
        for transport, name, good in ((mine, "a", True), (mine, "b", False), (None, "a", False)):
            fetcher = Fetcher(allowed=lambda address: True, resolve=resolve, transport=transport)
            if good:
                assert (await fetcher.get(f"https://{name}.example:{port}/")).content == b"hi"
            else:  # another name than the certificate's; a certificate that nobody vouches for
                with pytest.raises(SearchError, match="ConnectError"):
                    await fetcher.get(f"https://{name}.example:{port}/")

    server.play(client, tls=served)
    assert asked_for == ["a.example", "b.example", "a.example"]
    assert server.requests == 1
