"""Record and replay of live search, from settings to hits."""

import asyncio
import io
import json
import sqlite3
from pathlib import Path

import httpx
import pytest
from PIL import Image

from foveal.errors import ConfigError, InputError, SearchError
from foveal.tools.search.cache import Answer, Answers, Request
from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.live import open_live
from foveal.tools.search.replay import RecordedImages
from foveal.tools.search.settings import SearchSettings
from foveal.trajectory import ImageStore, SearchHit

SRC = Path(__file__).parents[3] / "src"
KEY = "s3cret-key"
ENV = {"SERPER_API_KEY": KEY, "AWS_ACCESS_KEY_ID": "AKIA-ID", "AWS_SECRET_ACCESS_KEY": "aws-s3cret"}
RED = Image.new("RGB", (64, 48), "red")


def never(request):
    raise AssertionError(f"a request was made: {request.url}")


class Google:
    """Serper, the storage and the host of thumbnails in one transport; counts what it was asked."""

    def __init__(self):
        self.asked = []
        self.fails = 200

    def __call__(self, request):
        if request.method == "PUT":
            return httpx.Response(200)
        if request.url.path == "/thumbnail":
            return httpx.Response(200, content=self.thumbnail())
        self.asked.append(request.url.path)
        if self.fails != 200:
            return httpx.Response(self.fails, json={"message": "odd query"})
        row = {"title": f"answer {len(self.asked)}", "thumbnailUrl": "http://t.example/thumbnail"}
        return httpx.Response(200, json={"organic": [row, {"title": "second"}]})

    @staticmethod
    def thumbnail():
        buffer = io.BytesIO()
        Image.linear_gradient("L").convert("RGB").save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture
def google():
    return Google()


@pytest.fixture
def live(tmp_path, google):
    """Live search with a file of answers: `live(mode, handle, **settings)`."""

    async def public(host, port):
        return ["8.8.8.8"]

    def make(mode, handle=None, environ=ENV, **settings):
        transport = httpx.MockTransport(handle or google)
        given = {"mode": mode, "uploader": {"bucket": "mine"}, **settings}
        if mode != "live":
            given = {"cache": tmp_path / "answers.sqlite", **given}
        fetcher = Fetcher(resolve=public, transport=transport)
        return open_live(SearchSettings.model_validate(given), environ, transport, fetcher)

    return make


def words(search, query="zebra", k=5):
    return asyncio.run(search.text.search(query, k))


def picture(search, image=RED, k=5):
    store = ImageStore()
    return asyncio.run(search.images.search(image, k, store)), store


def test_what_was_recorded_is_replayed_to_the_letter_without_a_key_or_a_request(live, google):
    recorded = words(live("replay_or_record"))
    hits, store = picture(live("replay_or_record"))
    assert len(google.asked) == 2
    again = live("replay", never, environ={})
    assert words(again) == recorded
    assert again.images is not None
    hits_again, store_again = picture(again)
    assert hits_again == hits
    assert store_again.get(hits[0].thumbnail).tobytes() == store.get(hits[0].thumbnail).tobytes()
    assert hits[1].thumbnail is None
    assert again.manners.calls == 0


def test_a_miss_in_replay_is_an_error_that_says_so_and_no_request(live):
    words(live("record"), "zebra")
    again = live("replay", never)
    for ask in (lambda: words(again, "lion"), lambda: words(again, "zebra", 4), lambda: picture(again)):
        with pytest.raises(SearchError, match="no recorded answer"):
            ask()


def test_the_modes(live, google):
    assert [words(live("live"))[0].title for _ in range(2)] == ["answer 1", "answer 2"]
    assert [words(live("record"))[0].title for _ in range(2)] == ["answer 3", "answer 4"]
    assert [words(live("replay_or_record"))[0].title for _ in range(2)] == ["answer 4", "answer 4"]
    assert len(google.asked) == 4


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("  zebra\n stripes ", True),
        ("zebra stripes", True),
        ("ｚebra stripes", True),
        ("Zebra stripes", False),
        ("stripes zebra", False),
    ],
)
def test_queries_that_look_the_same_are_the_same(live, google, query, same):
    words(live("record"), "zebra stripes")
    words(live("replay_or_record"), query)
    assert (len(google.asked) == 1) == same


def test_what_matters_is_part_of_the_key_and_what_does_not_is_not(live, google):
    words(live("record"))
    for settings, known in (
        ({"timeout": 3.0, "rate": 5.0, "max_calls": 9, "url": "https://proxy.example", "k": 3}, True),
        ({"options": {"hl": "de"}}, False),
        ({"options": {"hl": "fr"}}, False),
    ):
        before = len(google.asked)
        words(live("replay_or_record", **settings))
        assert (len(google.asked) == before) == known


def test_pictures_are_known_by_their_pixels(live, google):
    picture(live("replay_or_record"))
    picture(live("replay_or_record"), RED.convert("RGBA"))
    assert len(google.asked) == 1
    picture(live("replay_or_record"), Image.new("RGB", (64, 48), (254, 0, 0)))
    picture(live("replay_or_record"), RED.crop((0, 0, 32, 48)))
    assert len(google.asked) == 3


def test_failures_of_the_provider_are_not_recorded(live, google):
    google.fails = 500
    for _ in range(2):
        with pytest.raises(SearchError, match="500") as caught:
            words(live("replay_or_record", max_retries=0))
        assert not caught.value.of_request
    assert len(google.asked) == 2
    google.fails = 200
    words(live("replay_or_record"))
    assert len(google.asked) == 3


def test_a_refused_query_is_recorded_and_a_refused_picture_is_not(live, google):
    google.fails = 400
    told = []
    for search in (live("replay_or_record"), live("replay_or_record"), live("replay", never)):
        with pytest.raises(SearchError, match="odd query") as caught:
            words(search)
        told.append((caught.value.what, caught.value.of_request))
    assert len(google.asked) == 1 and set(told) == {(told[0][0], True)}
    for _ in range(2):
        with pytest.raises(SearchError, match="odd query"):
            picture(live("replay_or_record"))
    assert len(google.asked) == 3
    google.fails = 200
    assert words(live("record")) == words(live("replay", never)), "asked anew, the refusal is forgotten"


def test_empty_answers_are_recorded(live):
    def empty(request):
        return httpx.Response(200, json={"organic": []})

    assert words(live("record", empty), "nothing") == []
    assert words(live("replay", never), "nothing") == []


def test_no_key_is_in_the_file_nor_any_address_that_was_signed(live, tmp_path):
    search = live("record")
    words(search)
    picture(search)
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"zebra" in kept and b"answer 1" in kept
    for secret in (KEY, "AKIA-ID", "aws-s3cret", "X-Amz", "t.example"):
        assert secret.encode() not in kept


def test_a_search_without_uploader_or_key(live):
    assert live("live", uploader=None).images is None
    assert "no uploader" in live("live", uploader=None).no_images
    brave = live("live", provider="brave", environ={**ENV, "BRAVE_API_KEY": "x"})
    assert brave.images is None and "does not search by picture" in brave.no_images
    with pytest.raises(ConfigError, match="BRAVE_API_KEY is not set") as raised:
        live("live", provider="brave")
    assert raised.value.fix == "export BRAVE_API_KEY=..."
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        live("live", environ={"SERPER_API_KEY": "x"})
    with pytest.raises(ConfigError) as raised:
        live("live", environ={**ENV, "SERPER_API_KEY": "a b s3cret"})
    assert "s3cret" not in str(raised.value)


def test_searxng_takes_its_address_from_the_environment():
    seen = []

    def handle(request):
        seen.append(request.url.host)
        return httpx.Response(200, json={"results": []})

    for settings, environ in (
        ({}, {"SEARXNG_URL": "http://mine.example/"}),
        ({"url": "http://other.example"}, {"SEARXNG_URL": "http://mine.example"}),
        ({}, {"SEARXNG_URL": ""}),
    ):
        transport = httpx.MockTransport(handle)
        words(open_live(SearchSettings(provider="searxng", **settings), environ, transport))
    assert seen == ["mine.example", "other.example", "127.0.0.1"]


def test_files_that_hold_no_answers(tmp_path, live):
    with pytest.raises(InputError, match="no recorded answers in"):
        live("replay")
    assert not (tmp_path / "answers.sqlite").exists()
    (tmp_path / "answers.sqlite").write_text("hello " * 1000)
    for mode in ("record", "replay"):
        with pytest.raises(InputError, match="cannot keep answers"):
            live(mode)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("create table mine(x)")
    connection.close()
    for mode in ("record", "replay"):
        with pytest.raises(InputError, match="of this foveal"):
            live(mode, cache=other)
    with pytest.raises(InputError, match="cannot keep answers"):
        live("record", cache=tmp_path / "other.sqlite" / "x.sqlite")
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(InputError, match="of this foveal"):
        live("replay", cache=tmp_path / "empty.sqlite")
    assert words(live("record", cache=tmp_path / "empty.sqlite"))


@pytest.mark.parametrize(
    "damage",
    [
        "update answers set hits = '[{'",
        "update answers set hits = '[{\"title\": 5}]'",
        "update pictures set png = x'00'",
        "delete from pictures",
        "drop table pictures",
        "update pictures set png = x'" + Google.thumbnail()[:200].hex() + "'",
    ],
)
def test_damaged_answers_are_errors_not_misses(tmp_path, live, damage):
    picture(live("record"))
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        connection.execute(damage)
    connection.close()
    with pytest.raises(SearchError, match=r"damaged|cannot be read|another picture"):
        picture(live("replay", never))


def test_a_thumbnail_of_other_pixels_is_refused(tmp_path, live):
    picture(live("record"))
    other = io.BytesIO()
    Image.new("RGB", (448, 448)).save(other, "PNG")
    with sqlite3.connect(tmp_path / "answers.sqlite") as connection:
        connection.execute("update pictures set png = ?", (other.getvalue(),))
    connection.close()
    with pytest.raises(SearchError, match="another picture"):
        picture(live("replay", never))


def test_replay_writes_nothing(tmp_path, live):
    words(live("record"))
    before = (tmp_path / "answers.sqlite").read_bytes()
    words(live("replay", never))
    assert (tmp_path / "answers.sqlite").read_bytes() == before
    with pytest.raises(SearchError, match="cannot keep an answer"):
        Answers(tmp_path / "answers.sqlite", read_only=True).put(
            Request("search", "serper", "x", 5, {}), Answer((), {})
        )


def test_what_is_kept_can_be_read_by_people(tmp_path, live):
    words(live("record"), "zebra ½ 🦓")
    [(request, answer, fetched_at)] = Answers(tmp_path / "answers.sqlite").rows()
    assert request == {
        "version": 1, "tool": "search", "provider": "serper", "sought": "zebra 1⁄2 🦓", "k": 5, "options": {}
    }  # fmt: skip
    assert json.dumps(request) and answer.hits[0].title == "answer 1" and fetched_at.endswith("Z")


def test_images_are_recorded_whatever_provider_gave_them(tmp_path):
    class Provider:
        name = "own"

        async def search(self, image, k, images):
            ref = images.put(image)
            return [SearchHit(title="a", thumbnail=ref), SearchHit(title="b", thumbnail=ref)]

    settings = SearchSettings(mode="replay_or_record", cache=tmp_path / "a.sqlite")
    for provider in (Provider(), None):
        search = RecordedImages(provider or Provider(), Answers(tmp_path / "a.sqlite"), settings)
        store = ImageStore(tmp_path / f"images {provider is None}")
        hits = asyncio.run(search.search(RED, 5, store))
        assert [store.get(hit.thumbnail).tobytes() for hit in hits] == [RED.tobytes()] * 2
