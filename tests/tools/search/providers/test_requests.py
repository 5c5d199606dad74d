"""What each provider sends, as its documentation has it, and where it differs from the others."""

import asyncio
import json
import math

import httpx
import pytest
from PIL import Image

from foveal.errors import ConfigError
from foveal.tools.search.providers.http import Access, Trouble, hit
from foveal.tools.search.providers.lens import Lens
from foveal.tools.search.providers.searxng import SearxngText
from foveal.tools.search.providers.serpapi import SerpApiText
from foveal.tools.search.providers.serper import SerperImages
from foveal.trajectory import ImageStore


@pytest.fixture
def sent(vendors):
    """The request of a provider, and the hits that an answer gives: `sent(name, reply, k)`."""

    def ask(name, reply=None, k=5):
        seen = []

        def handle(request):
            seen.append(request)
            return httpx.Response(200, json=vendors[name].reply([]) if reply is None else reply)

        hits = vendors[name].search(httpx.MockTransport(handle), k=k)
        [request] = seen
        return request, hits

    return ask


def without_key(url, key):
    assert key not in str(url)
    return f"{url.scheme}://{url.netloc.decode()}{url.path}", dict(url.params)


def test_serpapi(sent, key):
    request, _ = sent("serpapi")
    assert (request.method, request.url.host, request.url.path) == ("GET", "serpapi.com", "/search.json")
    assert dict(request.url.params) == {"engine": "google", "q": "striped horse", "api_key": key}


def test_serpapi_lens(sent, key):
    request, _ = sent("serpapi-lens")
    params = dict(request.url.params)
    assert params.pop("url").startswith("https://bucket.example/picture.jpg?X-Amz-Signature=1")
    assert params == {"engine": "google_lens", "api_key": key}


def test_serpapi_tells_an_empty_answer_from_a_failed_one(sent):
    nothing = {"search_metadata": {"status": "Success"}, "error": "Google hasn't returned any results for this query."}
    assert sent("serpapi", nothing)[1] == []
    for metadata, kind in (({"status": "Error"}, "passing"), ({"status": "Processing"}, "passing"), (None, "shape")):
        with pytest.raises(Trouble) as raised:
            sent("serpapi", {"search_metadata": metadata, "error": "We couldn't get valid results."})
        assert raised.value.kind == kind


def test_serpapi_lens_shows_pages_with_the_very_same_picture_last(sent, vendors):
    row = vendors["serpapi-lens"].row
    reply = {**vendors["serpapi-lens"].reply([row]), "exact_matches": [{**row, "title": "Same"}]}
    assert [one.title for one in sent("serpapi-lens", reply)[1]] == ["Zebra", "Same"]


def test_serper(sent, key):
    request, _ = sent("serper", k=3)
    assert without_key(request.url, key) == ("https://google.serper.dev/search", {})
    assert (request.method, request.headers["X-API-KEY"]) == ("POST", key)
    assert json.loads(request.content) == {"num": 3, "q": "striped horse"}


def test_serper_lens(sent, key):
    request, _ = sent("serper-lens")
    assert without_key(request.url, key) == ("https://google.serper.dev/lens", {})
    assert (request.headers["X-API-KEY"], list(json.loads(request.content))) == (key, ["url"])


@pytest.mark.parametrize("name", ["organic", "visual_matches", "visualMatches"])
def test_serper_lens_in_each_form_that_was_seen(sent, vendors, name):
    vendor = vendors["serper-lens"]
    assert sent("serper-lens", {name: [vendor.row]})[1] == [vendor.hit]


def test_brave(sent, key):
    request, _ = sent("brave", k=50)
    address, params = without_key(request.url, key)
    assert (request.method, address) == ("GET", "https://api.search.brave.com/res/v1/web/search")
    assert params == {"count": "20", "text_decorations": "false", "result_filter": "web", "q": "striped horse"}
    assert request.headers["X-Subscription-Token"] == key


def test_brave_without_web_results_and_with_entities(sent, vendors):
    assert sent("brave", {"type": "search", "query": {}})[1] == []
    reply = vendors["brave"].reply([{"title": "a &lt;b&gt; &amp; c", "url": "https://x.example", "age": "2 weeks ago"}])
    [one] = sent("brave", reply)[1]
    assert (one.title, one.date) == ("a <b> & c", "2 weeks ago")


def test_tavily(sent, key):
    request, _ = sent("tavily", k=50)
    assert without_key(request.url, key) == ("https://api.tavily.com/search", {})
    assert request.headers["Authorization"] == f"Bearer {key}"
    assert json.loads(request.content) == {"max_results": 20, "query": "striped horse"}


def test_exa(sent, key):
    request, _ = sent("exa")
    assert without_key(request.url, key) == ("https://api.exa.ai/search", {})
    assert request.headers["x-api-key"] == key
    body = json.loads(request.content)
    assert body == {"numResults": 5, "contents": {"text": {"maxCharacters": 1000}}, "query": "striped horse"}


def test_searxng(sent, key):
    request, _ = sent("searxng")
    address, params = without_key(request.url, key)
    assert (request.method, address) == ("GET", "http://127.0.0.1:8080/search")
    assert params == {"q": "striped horse", "format": "json"}
    assert key not in str(request.headers)


def test_searxng_whose_engines_all_failed_has_not_found_nothing(sent):
    silent = {"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]}
    with pytest.raises(Trouble, match="CAPTCHA") as raised:
        sent("searxng", silent)
    assert raised.value.kind == "passing"
    assert len(sent("searxng", {**silent, "results": [{"title": "a"}]})[1]) == 1


def test_searxng_says_how_json_is_allowed(vendors):
    with pytest.raises(Trouble) as raised:
        vendors["searxng"].search(httpx.MockTransport(lambda request: httpx.Response(403, text="Forbidden")))
    assert "search.formats" in (raised.value.fix or "")


def test_options_go_into_every_request_and_cannot_replace_the_question(vendors):
    seen = []

    def handle(request):
        seen.append(request)
        return httpx.Response(200, json=vendors["searxng"].reply([]))

    access = Access("", "https://search.example/x/", {"language": "de", "q": "other"}, 5.0, httpx.MockTransport(handle))
    asyncio.run(SearxngText(access).search("mine", 5))
    assert str(seen[0].url) == "https://search.example/x/search?language=de&q=mine&format=json"


@pytest.mark.parametrize("url", ["ftp://x", "nonsense", "http://", "http://user:pass@host/", "http://host/?a=pass", ""])
def test_an_address_that_is_none(url):
    if not url:
        SerpApiText(Access(url=url))  # the provider's own
        return
    with pytest.raises(ConfigError) as raised:
        SerpApiText(Access(url=url))
    assert "pass" not in raised.value.what


def test_search_by_picture_without_an_uploader_says_what_it_needs():
    def never(request):
        raise AssertionError("asked")

    images = SerperImages(Access("k", transport=httpx.MockTransport(never)), Lens(None))
    with pytest.raises(Trouble, match="no uploader") as raised:
        asyncio.run(images.search(Image.new("RGB", (9, 9)), 5, ImageStore()))
    assert raised.value.kind == "shape"  # not tried again


@pytest.mark.parametrize("score", [math.nan, math.inf, 10**400, True, "0.5", None])
def test_a_score_that_is_no_usable_number(score):
    one = hit("a", None, score=score)
    assert one is not None and one.score is None
