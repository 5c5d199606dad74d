import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from foveal.errors import InputError, SearchError
from foveal.tools.search.text import FILE, SNIPPET_WORDS, TOGETHER, WHOLE, Document, TextIndex, passage

RIVERS = [
    Document("Amazon", "The Amazon is a river in Brazil. It carries more water than any other.", "river/amazon"),
    Document("Nile", "The Nile is a river in Egypt and Sudan.", "river/nile", "2021-03-04", "atlas"),
    Document("Egypt", "Egypt is a country. Cairo is its capital, and the Nile flows through it.", "land/egypt"),
    Document("Brazil", "Brazil is a country. Brasília is its capital.", "land/brazil"),
]


@pytest.fixture
def rivers(tmp_path):
    index = TextIndex.create(tmp_path / "index")
    index.add(RIVERS)
    return index


def titles(hits):
    return [hit.title for hit in hits]


def test_hit_carries_what_the_document_said(rivers, find):
    hit = find(rivers, "nile river egypt sudan")[0]
    assert (hit.title, hit.link, hit.date, hit.source) == ("Nile", "river/nile", "2021-03-04", "atlas")
    assert hit.snippet == "The Nile is a river in Egypt and Sudan."
    assert hit.thumbnail is None


def test_word_in_the_title_counts_more(rivers, find):
    assert titles(find(rivers, "egypt"))[0] == "Egypt"
    assert titles(find(rivers, "nile"))[0] == "Nile"


def test_all_words_come_before_some_words(rivers, find):
    found = titles(find(rivers, "egypt capital cairo"))
    assert found[0] == "Egypt"
    assert set(found[1:]) == {"Nile", "Brazil"}  # `egypt` in one, `capital` in the other; Amazon has no word of it


def test_document_with_all_words_beats_a_better_scored_one_with_some(tmp_path, find):
    index = TextIndex.create(tmp_path)
    rare = [Document("lantern lantern lantern", "lantern")]
    both = [Document("plain", "lantern and harbour " + "filler " * 200)]
    index.add(rare + both + [Document(f"n{i}", "harbour") for i in range(20)])
    assert titles(find(index, "lantern harbour", 2)) == ["plain", "lantern lantern lantern"]


def test_words_are_stemmed_and_accents_do_not_matter(rivers, find):
    assert titles(find(rivers, "rivers carrying"))[0] == "Amazon"
    assert titles(find(rivers, "brasilia")) == ["Brazil"]


def test_stop_words_in_a_title_do_not_outweigh_the_name_asked_for(tmp_path, find):
    index = TextIndex.create(tmp_path)
    index.add(
        [Document("The Area of the Republic of the Congo", "What is the"), Document("Chad", "Size of Chad: big.")]
    )
    assert titles(find(index, "What is the size of Chad?"))[0] == "Chad"


def test_query_of_stop_words_alone_still_searches(rivers, find):
    assert find(rivers, "it is the")


def test_no_more_than_k_hits_each_once(rivers, find):
    for k in range(6):
        found = titles(find(rivers, "egypt nile river country capital", k))
        assert len(found) == min(k, 4) == len(set(found))
    assert find(rivers, "egypt", -1) == []


def test_long_document_shows_the_passage_that_matches(tmp_path, find):
    index = TextIndex.create(tmp_path)
    filler = "Nothing of note happens here. " * 200
    index.add([Document("Chronicle", f"{filler}A comet crossed the sky in 1682.\n{filler}")])
    snippet = find(index, "comet")[0].snippet
    assert "A comet crossed the sky in 1682." in snippet
    assert len(snippet) < 500
    assert "\n" not in snippet


def test_the_passage_holds_the_most_words_of_the_query_and_says_where_text_was_left_out():
    filler = "Nothing of note happens here. " * 60
    text = f"{filler}A comet passed. {filler}The comet crossed a winter sky. {filler}Winter came, a comet and the sky."
    shown = passage(text, ["comet", "cross", "winter", "sky"])
    assert "The comet crossed a winter sky." in shown
    assert shown.startswith("… ") and shown.endswith(" …")
    assert len(shown.split()) <= SNIPPET_WORDS + 2
    assert passage(text, ["came"]).endswith("Winter came, a comet and the sky")
    assert passage(text, ["never"]) == f"{text[:WHOLE]} …"
    assert "机器" in passage("天地。" * 200 + "机器" + "天地。" * 200, ["机"])


def test_a_passage_without_spaces_is_cut():
    assert len(passage("wanted " + "x" * 10_000 + " y", ["wanted"])) < 3 * WHOLE


def test_document_without_text_has_no_snippet(tmp_path, find):
    index = TextIndex.create(tmp_path)
    index.add([Document("Just a title", "")])
    assert find(index, "title")[0].snippet is None


@pytest.mark.parametrize("query", ["北京", "北京的人口", "人口"])
def test_chinese_is_found_without_spaces(tmp_path, find, query):
    index = TextIndex.create(tmp_path)
    index.add([Document("上海", "上海是一座城市。"), Document("北京", "北京是中国的首都，人口两千万。")])
    hit = find(index, query)[0]
    assert (hit.title, hit.snippet) == ("北京", "北京是中国的首都，人口两千万。")


@pytest.mark.parametrize("query", ["手机", "新款手机", "iphone 手机", "机", "新", "公司手机", "字"])
def test_chinese_is_found_beside_latin_across_lines_and_by_one_character(tmp_path, find, query):
    index = TextIndex.create(tmp_path)
    index.add([Document("公司", "新款iPhone手\n机，很好。文字"), Document("其他", "别的东西")])
    assert titles(find(index, query)) == ["公司"]


@given(st.lists(st.sampled_from("中文字機가나 \n，aあ\u200b"), max_size=12).map("".join))
def test_text_is_shown_as_it_was_whatever_its_script(tmp_path_factory, text):
    index = TextIndex.create(tmp_path_factory.mktemp("index"))
    index.add([Document("wanted", f"wanted {text}")])
    [hit] = asyncio.run(index.search("wanted", 1))
    assert hit.snippet == " ".join(f"wanted {text}".split())


def test_japanese_korean_and_hindi_are_found(tmp_path, find):
    index = TextIndex.create(tmp_path)
    index.add(
        [
            Document("東京", "東京は日本の首都です"),
            Document("서울", "서울은 수도이다"),
            Document("दिल्ली", "भारत की राजधानी"),
        ]
    )
    assert titles(find(index, "日本の首都", 1)) == ["東京"]
    assert titles(find(index, "서울", 1)) == ["서울"]
    assert titles(find(index, "राजधानी", 1)) == ["दिल्ली"]


@pytest.mark.parametrize(
    "query",
    ['"', '"" OR', "zebra AND", "NOT nile", "nile NEAR(", "title:nile", "nile*", "^nile", "-nile", "{title body}:nile",
     "'; drop table words; --", "nile\0egypt", "\ud800 nile", "(((((", "nile + egypt", "col.x"],
)  # fmt: skip
def test_operators_have_no_meaning(rivers, find, query):
    found = titles(find(rivers, query))
    assert ("Nile" in found) == ("nile" in query)


@pytest.mark.parametrize("query", ["", " ", "\n\t", "?!…", "\0", "\u0301", "\U0001f600", "\u200b"])
def test_query_without_words_finds_nothing(rivers, find, query):
    assert find(rivers, query) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    index = TextIndex.create(tmp_path_factory.mktemp("index"))
    index.add(RIVERS)
    return index


@settings(deadline=None)
@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from(["nile", '"', "AND", "NEAR", "(", ")", "*", ":", "-", "\0"])).map(" ".join)
)
@example("\ud83d nile")
@example("🯰 nile")
def test_any_text_is_a_query(shared, query):
    hits = asyncio.run(shared.search(query, 3))
    assert len(hits) <= 3
    assert hits == asyncio.run(shared.search(query, 3))
    if "nile" in query.split():
        assert "Nile" in [hit.title for hit in hits]


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=100), st.text(max_size=2000))
def test_any_document_can_be_held_and_shown(tmp_path_factory, title, text):
    index = TextIndex.create(tmp_path_factory.mktemp("any"))
    index.add([Document(f"marker {title}", text, link=text, date=title, source=title, origin=title)])
    (hit,) = asyncio.run(index.search("marker", 1))
    assert hit.title.startswith("marker")
    assert hit.snippet is None or len(hit.snippet) <= max(300, len(text))


def test_huge_query_is_fast(rivers, find):
    start = time.monotonic()
    assert titles(find(rivers, "nile " + "x" * 1_000_000))[:1] == ["Nile"]
    assert time.monotonic() - start < 2


def test_equal_documents_keep_the_order_of_adding(tmp_path, find):
    index = TextIndex.create(tmp_path)
    index.add(Document(f"page {i}", "same words", f"{i}") for i in range(9))
    assert [hit.link for hit in find(index, "same words", 9)] == [str(i) for i in range(9)]


def test_two_builds_of_the_same_documents_answer_alike(tmp_path, find):
    first, second = TextIndex.create(tmp_path / "a"), TextIndex.create(tmp_path / "b")
    first.add(RIVERS)
    for document in RIVERS:
        second.add([document])
    for query in ("nile", "country capital", "river in brazil"):
        assert find(first, query) == find(second, query)


def test_adding_and_removing_by_origin(tmp_path, find):
    index = TextIndex.create(tmp_path)
    assert index.add([Document("One", "shared", origin="a"), Document("Two", "shared", origin="b")]) == 2
    assert TextIndex.open(tmp_path).add([Document("Three", "shared", origin="a")]) == 1
    assert len(index) == 3
    index.remove(["a", "never seen"])
    assert titles(find(index, "shared")) == ["Two"]
    assert len(index) == 1
    index.add([Document("Four", "shared", origin="a")])
    assert titles(find(index, "shared")) == ["Two", "Four"]


def test_a_file_of_more_documents_than_are_removed_at_a_time_goes_whole(tmp_path, find):
    index = TextIndex.create(tmp_path)
    index.add(Document("", "shared", origin="big") for _ in range(TOGETHER + 1))
    index.add([Document("One", "shared", origin="small")])
    index.remove(["big"])
    assert len(index) == 1 and titles(find(index, "shared")) == ["One"]


def test_failed_add_leaves_the_index_as_it_was(rivers, find):
    def documents():
        yield Document("Half", "half done")
        raise RuntimeError("disk pulled")

    with pytest.raises(RuntimeError, match="disk pulled"):
        rivers.add(documents())
    assert len(rivers) == len(RIVERS)
    assert find(rivers, "half") == []


def test_searches_run_beside_each_other_and_beside_the_event_loop(rivers):
    async def go():
        threads = set()

        async def one(i):
            hits = await rivers.search(("nile", "brazil")[i % 2], 1)
            threads.add(threading.active_count())
            return hits[0].title

        return await asyncio.gather(*(one(i) for i in range(40))), max(threads)

    found, threads = asyncio.run(go())
    assert found == ["Nile", "Brazil"] * 20
    assert threads > 1  # off the event loop's own thread


def test_reading_works_while_another_process_writes(rivers, find):
    path = rivers._path
    with sqlite3.connect(path) as writer:
        writer.execute("insert into documents(link) values ('uncommitted')")
        assert titles(find(rivers, "nile"))[0] == "Nile"
        writer.rollback()
    writer.close()


def test_read_only_index_can_be_searched(rivers, find):
    rivers._path.chmod(0o444)
    rivers._path.parent.chmod(0o555)
    try:
        assert titles(find(TextIndex.open(rivers._path.parent), "nile"))[0] == "Nile"
    finally:
        rivers._path.parent.chmod(0o755)


def test_folder_with_odd_characters(tmp_path, find):
    index = TextIndex.create(tmp_path / "50% of #1? ü")
    index.add(RIVERS)
    assert titles(find(TextIndex.open(tmp_path / "50% of #1? ü"), "nile"))[0] == "Nile"


def test_creating_twice_is_refused(rivers):
    with pytest.raises(InputError, match="exists already"):
        TextIndex.create(rivers._path.parent)


def test_missing_index_names_the_command(tmp_path):
    with pytest.raises(InputError, match="no text index") as caught:
        TextIndex.open(tmp_path)
    assert "foveal index build" in caught.value.fix


def test_other_version_is_refused(rivers):
    with sqlite3.connect(rivers._path) as connection:
        connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="version 99") as caught:
        TextIndex.open(rivers._path.parent)
    assert "foveal index build" in caught.value.fix


def test_other_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("create table mine(x)")
    connection.close()
    with pytest.raises(InputError, match="not a text index"):
        TextIndex.open(tmp_path)


def test_file_that_is_no_database_is_a_search_error(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database at all" * 1000)
    with pytest.raises(SearchError, match="cannot be used") as caught:
        TextIndex.open(tmp_path)
    assert "build it again" in caught.value.fix


def test_damaged_index_is_a_search_error(rivers, find, damage):
    damage(rivers._path)
    with pytest.raises(SearchError) as caught:
        find(rivers, "nile")
    assert "build it again" in caught.value.fix


def test_index_that_vanished_is_a_search_error(rivers, find):
    rivers._path.unlink()
    with pytest.raises(SearchError):
        find(rivers, "nile")
    assert not Path(rivers._path).exists()  # a search never makes an empty one
