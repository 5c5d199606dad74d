import asyncio
import hashlib
import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from foveal import prompts
from foveal.errors import SearchError
from foveal.protocol import FOVEAL, parse_turn, render_observation
from foveal.tools.opening import open_tools
from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.settings import VisitSettings
from foveal.tools.search.visit import open_visitor
from foveal.tools.session import MAX_URL, Tools
from foveal.tools.settings import ToolSettings
from foveal.trajectory import ImageStore, ToolCall

SENTENCE = "The zebra is an animal of the open grassland, and no two of them have the same stripes. "
PAGE = f"""<!doctype html><html lang="en"><head><title>On zebras</title><meta name="date" content="2024-05-06"></head>
<body><nav><a href="/">Home</a> <a href="/shop">Buy now</a></nav><article><h1>On zebras</h1><p>{SENTENCE * 4}</p>
<p>A second paragraph speaks of hooves, é and 字. {SENTENCE}</p></article><footer>All rights reserved</footer></body>
"""


class Web:
    """Pages by path; counts what is asked for. The host `inside` is at a private address."""

    def __init__(self, **pages):
        self.pages, self.asked = pages, []

    def fetcher(self):
        async def resolve(host, port):
            return ["10.0.0.7"] if host == "inside" else ["93.184.215.14"]

        def answer(request):
            self.asked.append(request.url.path)
            page = self.pages.get(request.url.path.strip("/"), httpx.Response(404))
            if isinstance(page, Exception):
                raise page
            if isinstance(page, httpx.Response):
                return page
            return httpx.Response(200, content=page if isinstance(page, bytes) else page.encode())

        return Fetcher(resolve=resolve, transport=httpx.MockTransport(answer))


def visitor(web, **settings):
    return open_visitor(VisitSettings(**settings), web.fetcher())


def visit(web, url, **settings):
    return asyncio.run(visitor(web, **settings).visit(url))


def observed(reader, **arguments):
    async def call():
        session = await Tools(visitor=reader).open([], ImageStore(), 5.0)
        return await session.call(ToolCall(tool="visit", arguments=arguments))

    return asyncio.run(call())


def test_main_text_comes_with_title_date_and_the_address_it_was_at():
    moved = httpx.Response(301, headers={"Location": "https://e.org/zebra"})
    page = visit(Web(zebra=PAGE, old=moved), "https://e.org/old")
    assert (page.title, page.link, page.date) == ("On zebras", "https://e.org/zebra", "2024-05-06")
    assert page.snippet.count("no two of them") == 5 and "hooves, é and 字" in page.snippet
    assert "Buy now" not in page.snippet and "All rights" not in page.snippet


def test_long_page_is_cut_and_says_so():
    page = visit(Web(zebra=PAGE), "https://e.org/zebra", max_chars=200)
    whole = visit(Web(zebra=PAGE), "https://e.org/zebra")
    text, note = page.snippet.split("\n[")
    assert whole.snippet.startswith(text) and len(text) == 200
    assert note == f"{len(whole.snippet) - 200} more characters are left out]"


def test_plain_text_is_shown_as_it_is():
    page = visit(Web(rfc="RFC 1\n\n  a < b and é\n"), "https://e.org/rfc")
    assert (page.title, page.snippet) == ("https://e.org/rfc", "RFC 1\n\n  a < b and é")


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("", "no text"),
        ("<html><body><script>write('zebra')</script></body></html>", "no text"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "no text"),
        ("<div>" * 20_000, "page"),
        (httpx.Response(403), "HTTP 403"),
    ],
)
def test_what_has_no_text_is_told(page, told):
    with pytest.raises(SearchError, match=told):
        visit(Web(zebra=page), "https://e.org/zebra")


def test_addresses_inside_are_never_fetched():
    web = Web(zebra=PAGE, away=httpx.Response(302, headers={"Location": "http://inside/zebra"}))
    for url in ("http://inside/zebra", "https://e.org/away", "file:///etc/passwd", "zebra", "http://a@e.org/zebra"):
        observation = observed(visitor(web), url=url)
        assert observation.error.kind == "request" and "Try again, or go on without it." in observation.error.message
    assert web.asked == ["/away"]


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (httpx.Response(404), "request"),
        (httpx.Response(403), "request"),
        (httpx.Response(204), "request"),
        (b"%PDF-1.7 ...", "request"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "request"),
        (b"x" * 5_000_001, "request"),
        (httpx.Response(301, headers={"Location": "/zebra"}), "request"),
        (httpx.Response(429), "search"),
        (httpx.Response(408), "search"),
        (httpx.Response(503), "search"),
        (httpx.ConnectError("refused"), "search"),
        (httpx.RemoteProtocolError("broken"), "search"),
    ],
)
def test_a_page_that_is_not_there_is_the_models_own_mistake_and_a_network_that_fails_is_not(page, kind):
    found = observed(visitor(Web(zebra=page)), url="https://e.org/zebra").error
    assert found.kind == kind and found.message.endswith("Try again, or go on without it.")


NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("error", "others", "kind"),
    [
        (NO_NAME, ["93.184.215.14"], "request"),
        (UnicodeError("label too long"), [], "request"),
        (NO_NAME, NO_NAME, "search"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), [], "search"),
        (OSError("network is unreachable"), [], "search"),
    ],
    ids=["made-up", "no-name", "offline", "passing", "unreachable"],
)
def test_a_made_up_host_is_the_models_own_mistake_and_a_resolver_that_is_away_is_not(error, others, kind):
    async def resolve(host, port):
        found = error if host == "made-up.example" else others
        if isinstance(found, Exception):
            raise found
        return found

    reader = open_visitor(VisitSettings(), Fetcher(resolve=resolve))
    found = observed(reader, url="https://made-up.example/").error
    assert found.kind == kind and f"the address cannot be read: {type(error).__name__}." in found.message


def test_model_sees_the_page_and_where_it_is_from():
    web = Web(zebra=PAGE)
    action = parse_turn(
        f"<think>x</think>{prompts.compose(['visit']).partition('page: ')[2].partition(chr(10))[0]}"
    ).action
    assert (action.tool, list(action.arguments)) == ("visit", ["url"])
    [part] = render_observation(FOVEAL, observed(visitor(web), url="https://e.org/zebra"))
    start = "<tool_response>\nThe page at 'https://e.org/zebra':\n\n[On zebras](https://e.org/zebra)\nDate published: "
    assert part.text.startswith(f"{start}2024-05-06\n\n")
    assert part.text.endswith("\n</tool_response>")


@pytest.mark.parametrize("arguments", [{}, {"url": 5}, {"url": " "}, {"url": "h" * (MAX_URL + 1)}, {"query": "x"}])
def test_calls_without_an_address_are_refused(arguments):
    web = Web()
    assert observed(visitor(web), **arguments).error.kind == "arguments"
    assert web.asked == []


def test_recorded_pages_are_replayed_to_the_letter_without_a_request(tmp_path):
    web, kept = Web(zebra=PAGE), {"cache": tmp_path / "pages.sqlite"}
    first = observed(visitor(web, mode="replay_or_record", **kept), url="https://e.org/zebra")
    again = observed(visitor(web, mode="replay_or_record", **kept), url="https://e.org/zebra")
    dark = Web()
    replayed = observed(visitor(dark, mode="replay", **kept), url="https://e.org/zebra")
    unknown = observed(visitor(dark, mode="replay", **kept), url="https://e.org/other")
    other = observed(visitor(dark, mode="replay", max_chars=300, **kept), url="https://e.org/zebra")
    assert web.asked == ["/zebra"] and dark.asked == []
    assert first.hits and {one.model_copy(update={"seconds": 0}) for one in (first, again, replayed)} == {
        first.model_copy(update={"seconds": 0})
    }
    assert unknown.error.message.startswith(
        "visit failed: no recorded answer to a visit for 'https://e.org/other'. Try"
    )
    assert other.error is not None  # of another length


@pytest.mark.parametrize("url", ["https://e.org/gone", "https://inside/", "ftp://e.org/", "https://e.org/empty"])
def test_a_page_that_cannot_be_had_is_replayed_to_the_letter_too(tmp_path, url):
    web, kept = Web(empty="<html><body></body></html>"), {"cache": tmp_path / "pages.sqlite"}
    first = observed(visitor(web, mode="replay_or_record", **kept), url=url)
    asked = len(web.asked)
    again = observed(visitor(web, mode="replay_or_record", **kept), url=url)
    replayed = observed(visitor(Web(), mode="replay", **kept), url=url)
    assert first.error.kind == "request" and first.error == again.error == replayed.error
    assert len(web.asked) == asked, "what is known to fail is not asked for again"


def test_a_host_that_is_down_is_asked_again(tmp_path):
    web, kept = Web(page=httpx.Response(503)), {"cache": tmp_path / "pages.sqlite"}
    first = observed(visitor(web, mode="replay_or_record", **kept), url="https://e.org/page")
    web.pages["page"] = PAGE
    assert first.error.kind == "search"
    assert observed(visitor(web, mode="replay_or_record", **kept), url="https://e.org/page").hits


def test_it_is_off_by_default_and_then_changes_nothing():
    assert "visit" not in ToolSettings().model_dump_json()
    assert "visit" not in str(Tools().describe())
    digest = hashlib.sha256()
    for count in range(4):
        for offered in itertools.combinations(("code", "search", "image_search"), count):
            digest.update(prompts.compose(offered).encode())
    assert digest.hexdigest() == "dc72454bb5f34069f326b21324c352e6335c8a421e145003f39e542f8c6d5f61"


def test_a_table_in_the_settings_turns_it_on():
    tools = open_tools(ToolSettings.model_validate({"code": False, "visit": {"max_chars": 500}}), 1).tools
    assert tools.offered == ("visit",) and tools.describe()["visit"] == "web"
    assert "visit" in prompts.compose(tools.offered)


def test_without_trafilatura_the_fix_is_named():
    program = (
        "import sys; sys.modules['trafilatura'] = None\n"
        "from foveal.tools.opening import open_tools; from foveal.tools.settings import ToolSettings\n"
        "open_tools(ToolSettings.model_validate({'visit': {}}), 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "MissingDependency" in done.stderr and "pip install 'foveal[visit]'" in done.stderr


def test_a_host_is_asked_within_limits_of_its_own_and_equal_addresses_share_a_visit():
    web = Web(zebra=PAGE, okapi=PAGE)
    reader = visitor(web, per_host={"max_calls": 2})

    async def together():
        return await asyncio.gather(*[reader.visit("https://e.org/zebra") for _ in range(8)])

    assert len({page.link for page in asyncio.run(together())}) == 1 and web.asked == ["/zebra"]
    asyncio.run(reader.visit("https://e.org/okapi"))
    with pytest.raises(SearchError, match=r"e\.org may not be asked again: the ceiling of 2 requests"):
        asyncio.run(reader.visit("https://E.org/zebra"))
    asyncio.run(reader.visit("https://other.org/zebra"))


def test_a_host_that_fails_is_left_alone_and_says_so_to_the_model_while_a_missing_page_is_no_failure():
    web = Web(slow=httpx.ReadTimeout("late"), zebra=PAGE)
    reader = visitor(web, per_host={"failures_in_a_row": 2})
    for page in ("missing", "gone", "slow", "slow"):
        with pytest.raises(SearchError):
            asyncio.run(reader.visit(f"https://e.org/{page}"))
    with pytest.raises(SearchError, match=r"^e\.org is down: ") as refused:
        asyncio.run(reader.visit("https://user:secret@e.org/zebra"))
    assert "secret" not in str(refused.value) and web.asked.count("/zebra") == 0
    asyncio.run(reader.visit("https://other.org/zebra"))


def test_an_address_that_is_none_is_refused():
    with pytest.raises(SearchError, match="no address") as refused:
        visit(Web(), "https://[e.org/")
    assert refused.value.of_request
