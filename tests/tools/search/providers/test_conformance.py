"""What every HTTP provider has to do with every answer, right or wrong."""

import gzip
import json
import logging
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.errors import ConfigError, SearchError
from foveal.tools.search.providers.http import MAX_BYTES, MAX_SNIPPET, Access, Trouble, certificates
from foveal.trajectory import SearchHit


def answer(status=200, content=b"", **headers):
    """A transport that gives the same answer to every request, and the requests that it saw."""
    seen = []

    def handle(request):
        seen.append(request)
        return httpx.Response(status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})

    transport = httpx.MockTransport(handle)
    transport.seen = seen
    return transport


def packed(value):
    return json.dumps(value).encode()


def test_an_answer_in_the_vendors_shape(vendor):
    transport = answer(content=packed(vendor.reply([vendor.row] * 7)))
    assert vendor.search(transport) == [vendor.hit] * 5
    assert len(transport.seen) == 1
    assert vendor.search(transport, k=1) == [vendor.hit]


def test_no_results_is_an_answer(vendor):
    assert vendor.search(answer(content=packed(vendor.reply([])))) == []


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": "Invalid API key."}, "key"),
        (403, {"message": "Unauthorized.", "statusCode": 403}, "key"),
        (
            422,
            {"error": {"code": "SUBSCRIPTION_TOKEN_INVALID", "detail": "The provided subscription token is invalid."}},
            "key",
        ),
        (402, {"error": "You have no more credits", "tag": "NO_MORE_CREDITS"}, "quota"),
        (400, {"message": "Not enough credits", "statusCode": 400}, "quota"),
        (429, {"error": "Your account has run out of searches."}, "quota"),
        (432, {"detail": {"error": "This request exceeds your plan's set usage limit."}}, "quota"),
        (429, {"error": {"code": "RATE_LIMITED", "detail": "Request rate limit exceeded for plan."}}, "passing"),
        (429, "", "passing"),
        (500, {"error": "oops"}, "passing"),
        (503, "<html>Bad gateway</html>", "passing"),
        (408, "", "passing"),
        (400, {"error": "Missing query"}, "query"),
        (422, {"detail": [{"loc": ["query"]}]}, "query"),
        (404, "<html>Not found</html>", "shape"),
        (307, "", "shape"),
        (204, "", "shape"),
    ],
)
def test_a_status_that_is_not_200(vendor, status, body, kind):
    content = body.encode() if isinstance(body, str) else packed(body)
    transport = answer(status, content, Location="https://elsewhere.example/", Retry_After="7")
    with pytest.raises(Trouble) as raised:
        vendor.search(transport)
    assert (raised.value.kind, len(transport.seen)) == (kind, 1)
    assert f"answered HTTP {status}" in raised.value.what and raised.value.fix
    assert raised.value.wait == (7 if kind == "passing" else None)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "passing"),
        (b"<!doctype html><title>Log in</title>", "passing"),
        (b'{"results": [{"ti', "passing"),
        (b'{"title": "\xe9t\xe9"}', "passing"),
        (b"[" * 100_000, "passing"),
        (b"null", "passing"),
        (b"[]", "shape"),
        (b'"results"', "shape"),
        (b'{"hello": 1}', "shape"),
    ],
    ids=["empty", "html", "cut", "latin-1", "deep", "null", "list", "string", "other"],
)
def test_a_body_that_is_no_answer_is_not_an_empty_answer(vendor, content, kind):
    with pytest.raises(Trouble) as raised:
        vendor.search(answer(content=content))
    assert raised.value.kind == kind


@pytest.mark.parametrize("results", ["none", 7, {"a": 1}, True])
def test_results_that_are_no_list(vendor, results):
    reply = vendor.reply([])
    (reply["web"] if vendor.name == "brave" else reply)["results" if vendor.name == "brave" else vendor.results] = (
        results
    )
    with pytest.raises(Trouble, match="another form"):
        vendor.search(answer(content=packed(reply)))


def test_results_with_fields_missing_null_or_of_other_types(vendor):
    link = "link" if "link" in vendor.row else "url"
    odd = [
        None,
        "text",
        [],
        {},
        {"title": None, link: None},
        {**dict.fromkeys(vendor.row, 5), "title": "five"},
        {**{name: [{}] for name in vendor.row}, "title": "list"},
        {link: "https://only.example/"},
        {"title": "  only\n title "},
    ]
    hits = vendor.search(answer(content=packed(vendor.reply(odd))), k=20)
    assert [(hit.title, hit.link) for hit in hits] == [
        ("five", None),
        ("list", None),
        ("https://only.example/", "https://only.example/"),
        ("only title", None),
    ]


def test_text_that_no_file_could_hold_and_text_without_end(vendor):
    row = {
        **vendor.row,
        "title": "Zé\ud800bra\x00 \u202e🦓",
        **dict.fromkeys(("snippet", "content", "text"), "x " * 9999),
    }
    row |= {"description": "x " * 9999} if vendor.name == "brave" else {}
    [hit] = vendor.search(answer(content=packed(vendor.reply([row]))))
    assert hit.title == "Zé?bra \u202e🦓"
    hit.model_dump_json().encode()
    assert hit.snippet is None or (len(hit.snippet) <= MAX_SNIPPET and hit.snippet.endswith("…"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le"])
def test_unicode_in_any_encoding(vendor, encoding):
    reply = vendor.reply([{**vendor.row, "title": "Zèbre 斑马"}])
    content = json.dumps(reply, ensure_ascii=False).encode(encoding)
    assert vendor.search(answer(content=content))[0].title == "Zèbre 斑马"


def test_a_compressed_body_and_one_that_only_says_so(vendor):
    content = packed(vendor.reply([vendor.row]))
    assert vendor.search(answer(content=gzip.compress(content), Content_Encoding="gzip")) == [vendor.hit]

    def broken(request):
        return httpx.Response(200, stream=httpx.ByteStream(content), headers={"Content-Encoding": "gzip"})

    with pytest.raises(Trouble, match="DecodingError"):
        vendor.search(httpx.MockTransport(broken))


def test_a_body_without_end_is_not_read(vendor):
    class Endless(httpx.AsyncByteStream):
        sent = 0

        async def __aiter__(self):
            while True:
                self.sent += 2**20
                yield b" " * 2**20

    stream = Endless()
    with pytest.raises(Trouble, match="more than 10 MB"):
        vendor.search(httpx.MockTransport(lambda request: httpx.Response(200, stream=stream)))
    assert stream.sent <= MAX_BYTES + 2**20


def test_the_network_fails(vendor):
    for error in (httpx.ConnectError("refused"), httpx.RemoteProtocolError("cut"), OSError("odd")):

        def fail(request, error=error):
            raise error

        with pytest.raises(Trouble) as raised:
            vendor.search(httpx.MockTransport(fail))
        assert raised.value.kind == "passing"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"hang", "did not answer within 0.3 s"),
        (b"drip", "did not answer within 0.3 s"),
        (b"reset", "cannot be reached"),
        (b"garbage\r\n\r\n", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n{", "cannot be reached"),
    ],
    ids=["hang", "drip", "reset", "no-http", "short-body"],
)
def test_a_server_that_fails(vendor, raw_server, reply, said):
    server = raw_server(reply)
    certificates()  # read once in a process; that may take longer than this test waits

    async def client(url):
        with pytest.raises(Trouble, match=said) as raised:
            await vendor.ask(Access("k", url, timeout=0.3 if reply in (b"hang", b"drip") else 60), 5)
        return raised.value.kind

    assert server.play(client) == "passing"


def test_the_key_is_nowhere_but_in_the_request(vendor, raw_server, key, caplog):
    """Whatever is logged, at the lowest level, by a real transport; and whatever the vendor echoes."""
    caplog.set_level(logging.DEBUG)
    body = packed({"error": f"bad key {key} or {quote(key, safe='')} in the address"})
    server = raw_server(b"HTTP/1.1 401 X\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def client(url):
        with pytest.raises(SearchError) as raised:
            await vendor.ask(Access(key, url), 5)
        return raised.value

    error = server.play(client)
    assert "bad key *** or *** in" in error.what or vendor.name == "searxng"
    everything = str(error) + repr(error) + caplog.text + repr(Access(key))
    if vendor.name != "searxng":  # which has no key, and was not given one
        assert key not in everything and quote(key, safe="") not in everything
        assert key in server.head or quote(key, safe="") in server.head
    else:
        assert key not in server.head


def test_no_part_of_the_key_is_quoted(vendor, key):
    if vendor.name == "searxng":
        return  # it has no key, and is given none
    escaped = key.replace("/", "\\/")
    for body in ("<p>" + "x" * 90 + key, f"<p>{escaped}", "x" * 297 + key):
        for status in (200, 500):
            with pytest.raises(Trouble) as raised:
                vendor.search(answer(status, body.encode()))
            assert "k3y" not in str(raised.value)


@pytest.mark.parametrize("name", ["serpapi", "serper", "brave", "tavily", "exa", "searxng"])
def test_a_query_that_no_request_can_hold(vendors, name):
    transport = answer(content=packed(vendors[name].reply([])))
    with pytest.raises(Trouble) as raised:
        vendors[name].search(transport, query="half a pair: \ud800")
    assert (raised.value.kind, transport.seen) == ("query", [])


@pytest.mark.parametrize("key", ["a b", "a\n", "clé", "a\x00"])
def test_a_key_that_cannot_be_one(key):
    with pytest.raises(ConfigError) as raised:
        Access(key)
    assert key not in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_comes_is_hits_or_a_search_error(vendor, data):
    row = st.dictionaries(st.sampled_from([*vendor.row, "thumbnail", "meta_url"]), json_values)
    reply = vendor.reply(data.draw(st.lists(row | json_values, max_size=4)))
    for field in data.draw(st.lists(st.sampled_from([*reply, "error"]), max_size=2)):
        reply[field] = data.draw(json_values)
    try:
        hits = vendor.search(answer(content=packed(reply)))
    except SearchError:
        return
    assert all(isinstance(hit, SearchHit) for hit in hits)
