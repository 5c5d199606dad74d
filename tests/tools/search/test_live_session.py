"""A trajectory whose search provider is in trouble goes on: every failure is an observation."""

import asyncio

import httpx
import pytest
from PIL import Image

from foveal.protocol import FOVEAL, render_observation
from foveal.tools.search.live import open_live
from foveal.tools.search.settings import SearchSettings
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, ToolCall

KEY = "s3cret"


@pytest.fixture
def observed():
    """What the model is shown after a search that the vendor answers so: `observed(status, body, **call)`."""

    def ask(status, body, tool="search", options=None, **arguments):
        transport = httpx.MockTransport(lambda request: httpx.Response(status, text=body))
        settings = SearchSettings(provider="serper", max_retries=0, uploader={"bucket": "mine"}, options=options or {})
        environ = {"SERPER_API_KEY": KEY, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        live = open_live(settings, environ, transport)

        async def call():
            tools = Tools(text=live.text, image=live.images)
            session = await tools.open([Image.new("RGB", (64, 64))], ImageStore(), 5.0)
            return await session.call(ToolCall(tool=tool, arguments=arguments))

        observation = asyncio.run(call())
        [part] = render_observation(FOVEAL, observation)
        assert KEY not in observation.model_dump_json()
        return observation, part.text

    return ask


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, f"no such key: {KEY}", "search failed: serper answered HTTP 401: no such key: ***. Try again"),
        (429, "", "search failed: serper answered HTTP 429: (nothing). Try again"),
        (200, "<html>", "search failed: serper answered something that is no JSON: <html>. Try again"),
        (200, '{"organic": 5}', "search failed: serper answered in another form than it documents"),
    ],
)
def test_trouble_with_the_provider_is_told_to_the_model(observed, status, body, told):
    observation, text = observed(status, body, query="zebra")
    assert observation.error.kind == "search"
    assert text.startswith(f"Error: {told}")


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_query_that_the_provider_refuses_is_the_models_own_mistake(observed, status):
    observation, text = observed(status, '{"message": "q: string too long"}', query="zebra")
    assert observation.error.kind == "request"
    assert (
        text
        == f"Error: search failed: serper answered HTTP {status}: q: string too long. Try again, or go on without it."
    )


def test_options_that_the_provider_refuses_are_not(observed):
    """It refuses every query until it has answered one."""
    refused = {"gl": "atlantis"}
    assert observed(400, "{}", query="zebra", options=refused)[0].error.kind == "search"


def test_trouble_with_search_by_picture_is_told_to_the_model(observed):
    observation, text = observed(503, "", tool="image_search")
    assert observation.error.kind == "search"
    assert text.startswith("Error: image_search failed: the storage did not take the picture: HTTP 503. Try again")


def test_no_results_is_not_trouble(observed):
    observation, text = observed(200, '{"organic": []}', query="zebra")
    assert observation.hits == () and "found 0 results" in text
