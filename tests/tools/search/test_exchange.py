"""Recorded answers as JSON lines, and the image search cache of MMSearch-R1."""

import asyncio
import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.errors import InputError, SearchError
from foveal.tools.search.cache import Answer, Answers, Request
from foveal.tools.search.exchange import export_answers, import_answers, import_mmsearch
from foveal.tools.search.replay import RecordedImages, packed
from foveal.tools.search.settings import SearchSettings
from foveal.trajectory import ImageStore, SearchHit

RED, BLUE = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))


class Never:
    """A provider that must not be asked."""

    name = "serpapi"

    async def search(self, image, k, images):
        raise AssertionError("asked")


@pytest.fixture
def answers(tmp_path):
    """A file with two answers to text searches, one to a picture, and a page that is not there."""
    answers = Answers(tmp_path / "answers.sqlite")
    store = ImageStore()
    shown = SearchHit(title="rouge", thumbnail=store.put(RED))
    answers.put(Request("search", "serper", "zèbre", 5, {"hl": "fr"}), Answer((SearchHit(title="Zèbre 🦓"),), {}))
    answers.put(Request("search", "serper", "nothing", 5, {}), Answer((), {}))
    gone = Answer((), {}, "e.org answered HTTP 404: «weg»")
    answers.put(Request("visit", "web", "https://e.org", 1, {}), gone)
    answers.put(Request("image_search", "serper", "f" * 64, 5, {}), packed((shown, shown), store))
    return answers


def test_export_and_import_give_the_same_answers(answers, tmp_path):
    assert export_answers(answers, tmp_path / "a.jsonl") == 4
    other = Answers(tmp_path / "other.sqlite")
    assert import_answers(other, tmp_path / "a.jsonl") == 4
    assert list(other.rows()) == list(answers.rows())
    assert import_answers(other, tmp_path / "a.jsonl") == 4  # again: nothing doubles
    assert export_answers(other, tmp_path / "b.jsonl") == 4
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def line(**changes):
    request = {"version": 1, "tool": "search", "provider": "serper", "sought": "a", "k": 5, "options": {}}
    return {"request": request, "hits": [], "fetched_at": "", "pictures": {}, **changes}


REF = {"sha256": "0" * 64, "width": 1, "height": 1}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "object"),
        ({"request": {}}, "request"),
        (line(extra=1), "extra"),
        (line(hits=[{"title": 5}]), "hits.0.title"),
        (line(hits=[{"title": "a"}], refused="gone"), "refused, too"),
        (line(request={**line()["request"], "version": 2}), "version 2"),
        (line(hits=[{"title": "a", "thumbnail": REF}]), "cannot be read"),
        (line(hits=[{"title": "a", "thumbnail": REF}], pictures={"0" * 64: "%"}), "base64|Only"),
        (line(hits=[{"title": "a", "thumbnail": REF}], pictures={"0" * 64: "aGk="}), "cannot be read"),
    ],
)
def test_a_line_that_is_wrong_is_named_and_nothing_is_imported(tmp_path, value, said):
    text = value if isinstance(value, str) else json.dumps(value)
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(line())}\n{text}\n{json.dumps(line())}\n")
    answers = Answers(tmp_path / "answers.sqlite")
    with pytest.raises(InputError, match=rf"a\.jsonl, line 2 is no recorded answer: .*({said})"):
        import_answers(answers, tmp_path / "a.jsonl")
    assert len(answers) == 0


def test_a_picture_of_other_pixels_is_refused(answers, tmp_path):
    export_answers(answers, tmp_path / "a.jsonl")
    lines = [json.loads(text) for text in (tmp_path / "a.jsonl").read_text().splitlines()]
    [(name, png)] = next(each["pictures"] for each in lines if each["pictures"]).items()
    with_other = packed((SearchHit(title="b", thumbnail=(store := ImageStore()).put(BLUE)),), store)
    other = base64.b64encode(next(iter(with_other.pictures.values()))).decode()
    (tmp_path / "b.jsonl").write_text((tmp_path / "a.jsonl").read_text().replace(png, other))
    with pytest.raises(InputError, match="another picture"):
        import_answers(Answers(tmp_path / "other.sqlite"), tmp_path / "b.jsonl")
    assert name


def test_files_that_cannot_be_read_or_written(answers, tmp_path):
    for broken in (tmp_path / "no.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            import_answers(answers, broken)
    with pytest.raises(InputError, match="cannot be written"):
        export_answers(answers, tmp_path / "no" / "a.jsonl")
    (tmp_path / "empty.jsonl").touch()
    assert import_answers(answers, tmp_path / "empty.jsonl") == 0


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.jsonl").write_bytes(content)
    answers = Answers(folder / "answers.sqlite")
    try:
        import_answers(answers, folder / "a.jsonl")
    except InputError as error:
        assert "line" in error.what


@pytest.fixture
def mmsearch(tmp_path):
    """Imports a cache in the shape of MMSearch-R1, with the folder of its thumbnails: `mmsearch(entries)`."""

    def make(entries, k=5):
        thumbnails = tmp_path / "cached_images"
        (thumbnails / "train").mkdir(parents=True, exist_ok=True)
        BLUE.save(thumbnails / "train" / "blue.jpg")
        (thumbnails / "train" / "page.jpg").write_text("<html>")
        RED.save(tmp_path / "outside.png")
        (tmp_path / "cache.json").write_text(json.dumps(entries))
        pictures = {"fvqa_train_1": RED, "fvqa_train_2": BLUE}
        answers = Answers(tmp_path / "answers.sqlite")
        done = import_mmsearch(answers, tmp_path / "cache.json", thumbnails, pictures.get, "serpapi", k)
        settings = SearchSettings(provider="serpapi", mode="replay", cache=tmp_path / "answers.sqlite")
        return done, RecordedImages(Never(), answers, settings)

    return make


def test_the_cache_of_mmsearch_is_found_by_the_questions_picture(mmsearch):
    titles = ["Blue\n thing", "gone", "page", "out", "none", None, "seventh"]
    paths = ["train/blue.jpg", "train/gone.jpg", "train/page.jpg", "../outside.png", None]
    done, search = mmsearch(
        {
            "fvqa_train_1": {"tool_returned_web_title": titles, "cached_images_path": paths},
            "fvqa_train_2": {"tool_returned_web_title_list": ["x"], "tool_returned_images_urls": ["http://a/b.jpg"]},
            "fvqa_train_9": {"tool_returned_web_title": [], "cached_images_path": []},
        },
        k=6,
    )
    assert done == (2, 1, 4)
    store = ImageStore()
    hits = asyncio.run(search.search(RED, 6, store))
    assert [hit.title for hit in hits] == ["Blue thing", "gone", "page", "out", "none", ""]
    assert [hit.thumbnail is not None for hit in hits] == [True, False, False, False, False, False]
    red, _, blue = store.get(hits[0].thumbnail).getpixel((5, 5))
    assert blue > 200 > red
    assert [hit.title for hit in asyncio.run(search.search(BLUE, 6, store))] == ["x"]
    with pytest.raises(SearchError, match="no recorded answer"):
        asyncio.run(search.search(RED, 5, store))


@pytest.mark.parametrize("entries", [[], 7, {"a": []}, {"a": {}}, {"a": {"tool_returned_web_title": "x"}}])
def test_what_is_no_such_cache(mmsearch, entries):
    with pytest.raises(InputError, match=r"cache\.json"):
        mmsearch(entries)
