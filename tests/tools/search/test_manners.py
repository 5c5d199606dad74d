"""How a provider is asked: retries, turns, ceilings, rests and shared searches, with a clock that the test moves."""

import asyncio
import threading

import pytest
from PIL import Image

from foveal.errors import SearchError
from foveal.tools.search.manners import MAX_RETRY_AFTER, Manners, PoliteImages, PoliteText
from foveal.tools.search.providers.http import Trouble
from foveal.tools.search.settings import SearchSettings
from foveal.trajectory import ImageStore, SearchHit


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(round(seconds, 6))
        self.now += seconds
        await asyncio.sleep(0)


class Scripted:
    """A provider that gives its answers in order, the last one for good; an exception is raised."""

    name = "scripted"

    def __init__(self, *answers):
        self.answers = answers
        self.asked = []
        self.at_once = self.most_at_once = 0
        self.seconds = 0.005

    async def search(self, query, k, images=None):
        self.asked.append(query)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if images is None:
            return answer
        return [
            hit.model_copy(update={"thumbnail": images.put(Image.new("RGB", (40, 40), hit.title))}) for hit in answer
        ]


HITS = [SearchHit(title="red")]
PASSING = Trouble("busy")


@pytest.fixture
def polite():
    """A provider with manners: `polite(*answers, **settings)` -> search, provider, clock, manners."""

    def make(*answers, **settings):
        provider, clock = Scripted(*answers), Clock()
        optional = bool(settings.get("options"))
        manners = Manners("scripted", SearchSettings(**settings), clock, clock.sleep, lambda: 0.5, optional)
        return PoliteText(provider, manners), provider, clock, manners

    return make


def ask(search, query="x"):
    return asyncio.run(search.search(query, 5))


def test_a_failure_that_may_pass_is_tried_again_with_growing_waits(polite):
    search, provider, clock, manners = polite(PASSING, PASSING, PASSING, HITS)
    assert ask(search) == HITS
    assert clock.slept == [0.5, 1.0, 2.0]
    assert len(provider.asked) == manners.calls == 4


def test_retries_end(polite):
    search, provider, _, _ = polite(PASSING, max_retries=2)
    with pytest.raises(SearchError, match="busy"):
        ask(search)
    assert len(provider.asked) == 3


@pytest.mark.parametrize("kind", ["key", "quota", "query", "shape"])
def test_a_failure_that_stays_is_not_tried_again(polite, kind):
    search, provider, clock, _ = polite(Trouble("no", kind=kind))
    with pytest.raises(SearchError, match="no"):
        ask(search)
    assert (len(provider.asked), clock.slept) == (1, [])


def test_a_refusal_is_the_querys_own_unless_options_were_never_accepted(polite):
    refusal = Trouble("no", kind="query")
    for answers, options, own in (
        ([refusal], {}, True),
        ([refusal], {"gl": "x"}, False),
        ([HITS, refusal], {"gl": "x"}, True),
    ):
        search, *_ = polite(*answers, options=options)
        for _ in answers[1:]:
            ask(search)
        with pytest.raises(SearchError, match="no") as raised:
            ask(search)
        assert raised.value.of_request == own


def test_options_that_are_never_accepted_are_given_up(polite):
    search, provider, *_ = polite(*[Trouble("no", kind="query")] * 5, options={"gl": "x"}, failures_in_a_row=2)
    for _ in range(5):
        with pytest.raises(SearchError):
            ask(search)
    assert len(provider.asked) == 2


def test_retry_after_is_honoured_exactly_unless_it_is_too_long(polite):
    search, _, clock, _ = polite(Trouble("slow down", wait=7), Trouble("slow down", wait=0), HITS)
    assert ask(search) == HITS
    assert clock.slept == [7, 0]
    search, provider, clock, _ = polite(Trouble("slow down", wait=MAX_RETRY_AFTER + 1))
    with pytest.raises(SearchError, match="asks to wait 121 s"):
        ask(search)
    assert (len(provider.asked), clock.slept) == (1, [])


def test_waits_differ_by_jitter(polite):
    waits = set()
    for random in (0.0, 0.999):
        clock = Clock()
        manners = Manners("x", SearchSettings(max_retries=1), clock, clock.sleep, lambda random=random: random)
        with pytest.raises(Trouble):
            ask(PoliteText(Scripted(PASSING), manners))
        waits.update(clock.slept)
    assert waits == {0.25, 0.7495}


def test_not_more_requests_at_once_than_allowed_nor_more_a_second(polite):
    async def many(search):
        await asyncio.gather(*(search.search(str(n), 5) for n in range(12)))

    search, provider, _, _ = polite(HITS, concurrency=3)
    asyncio.run(many(search))
    assert provider.most_at_once == 3
    search, provider, clock, _ = polite(HITS, rate=4.0)
    asyncio.run(many(search))
    assert clock.now >= 100 + 11 / 4


def test_a_retry_leaves_its_place_to_others_while_it_waits(polite):
    search, provider, _, _ = polite(PASSING, HITS, concurrency=1)
    order = []

    async def one(query):
        await search.search(query, 5)
        order.append(query)

    async def both():
        await asyncio.gather(one("first"), one("second"))

    asyncio.run(both())
    assert provider.asked == ["first", "second", "first"] and order == ["second", "first"]


def test_the_ceiling_of_calls_counts_failed_ones(polite):
    search, provider, _, manners = polite(PASSING, HITS, max_calls=3)
    ask(search, "a")
    ask(search, "b")
    with pytest.raises(SearchError, match="ceiling of 3 requests"):
        ask(search, "c")
    assert len(provider.asked) == manners.calls == 3


def test_the_ceiling_of_cost_is_met_exactly(polite):
    search, provider, _, _ = polite(HITS, cost_per_call=0.1, max_cost=0.3)
    for query in "abc":
        ask(search, query)
    with pytest.raises(SearchError, match=r"a cost of 0\.3"):
        ask(search, "d")
    assert len(provider.asked) == 3


def test_a_retry_stops_at_the_ceiling(polite):
    search, provider, _, _ = polite(PASSING, max_calls=2)
    with pytest.raises(SearchError, match="ceiling"):
        ask(search)
    assert len(provider.asked) == 2


def test_a_provider_that_is_down_is_left_alone_then_tried_by_one(polite):
    down = Trouble("wrong key", kind="key")
    search, provider, clock, _ = polite(down, down, HITS, failures_in_a_row=2, rest=30)
    for query in "ab":
        with pytest.raises(SearchError, match="wrong key"):
            ask(search, query)
    with pytest.raises(SearchError, match="scripted is down: wrong key"):
        ask(search, "c")
    assert provider.asked == ["a", "b"]
    clock.now += 30

    async def many():
        return await asyncio.gather(*(search.search(str(n), 5) for n in range(4)), return_exceptions=True)

    first, *others = asyncio.run(many())
    assert first == HITS and all(isinstance(other, SearchError) for other in others)
    assert provider.asked == ["a", "b", "0"]
    assert ask(search, "again") == HITS


def test_the_one_that_tries_and_fails_starts_another_rest_and_a_cancelled_one_lets_others_try(polite):
    search, provider, clock, _ = polite(PASSING, failures_in_a_row=1, rest=30, max_retries=0)
    with pytest.raises(Trouble):
        ask(search)
    clock.now += 30

    provider.seconds = 0.3

    async def cancelled():
        task = asyncio.create_task(search.search("y", 5))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)

    asyncio.run(cancelled())
    with pytest.raises(Trouble, match="busy"):
        ask(search, "z")
    with pytest.raises(SearchError, match="down"):
        ask(search, "z")
    assert provider.asked == ["x", "y", "z"]


def test_a_provider_that_does_not_tell_kinds_of_failures_apart(polite):
    search, provider, _, _ = polite(SearchError("no", "mend it"), failures_in_a_row=2)
    for _ in range(2):
        with pytest.raises(SearchError, match="no"):
            ask(search)
    with pytest.raises(SearchError, match="scripted is down: no"):
        ask(search)
    assert len(provider.asked) == 2


def test_queries_that_are_refused_do_not_take_a_provider_down(polite):
    refused = Trouble("too long", kind="query")
    search, _, _, _ = polite(*[refused] * 5, HITS, failures_in_a_row=2)
    for _ in range(5):
        with pytest.raises(SearchError, match="too long"):
            ask(search)
    assert ask(search) == HITS


def test_failures_have_to_come_in_a_row(polite):
    bad = Trouble("bad", kind="shape")
    search, _, _, _ = polite(bad, HITS, bad, HITS, bad, HITS, failures_in_a_row=2)
    for turn in range(6):
        if turn % 2:
            assert ask(search) == HITS
        else:
            with pytest.raises(Trouble):
                ask(search)


def test_equal_searches_under_way_are_one(polite):
    search, provider, _, _ = polite(HITS)

    async def many():
        found = await asyncio.gather(*(search.search(query, k) for query, k in [("a", 5)] * 4 + [("b", 5), ("a", 3)]))
        found[0].clear()  # each has a list of its own
        return found

    assert asyncio.run(many())[1] == HITS
    assert sorted(provider.asked) == ["a", "a", "b"]
    ask(search, "a")
    assert len(provider.asked) == 4  # one that is over is not shared


def test_a_shared_search_goes_on_while_anybody_waits_and_a_failure_reaches_all(polite):
    search, provider, _, _ = polite(HITS)
    provider.seconds = 0.3

    async def first_gives_up():
        first, second = (asyncio.create_task(search.search("a", 5)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(first_gives_up())
    assert isinstance(first, asyncio.CancelledError) and second == HITS and len(provider.asked) == 1

    search, provider, _, _ = polite(Trouble("no", kind="shape"))

    async def two():
        return await asyncio.gather(search.search("a", 5), search.search("a", 5), return_exceptions=True)

    assert [str(error) for error in asyncio.run(two())] == ["no", "no"] and len(provider.asked) == 1


def test_a_search_that_nobody_waits_for_is_stopped_and_a_later_one_starts_anew(polite):
    search, provider, _, _ = polite(HITS)
    provider.seconds = 0.3

    async def given_up():
        task = asyncio.create_task(search.search("a", 5))
        await asyncio.sleep(0.001)
        task.cancel()
        again = asyncio.create_task(search.search("a", 5))
        with pytest.raises(asyncio.CancelledError):
            await task
        return await again

    assert asyncio.run(given_up()) == HITS
    assert len(provider.asked) == 2


def test_shared_image_searches_give_each_asker_the_pictures_in_its_own_store():
    provider = Scripted([SearchHit(title="red"), SearchHit(title="blue")])
    search = PoliteImages(provider, Manners("x", SearchSettings()))
    stores = [ImageStore() for _ in range(3)]
    pictures = [Image.new("RGB", (9, 9), colour) for colour in ("white", "white", "black")]

    async def many():
        return await asyncio.gather(*(search.search(p, 5, s) for p, s in zip(pictures, stores, strict=True)))

    for hits, store in zip(asyncio.run(many()), stores, strict=True):
        assert [store.get(hit.thumbnail).getpixel((0, 0)) for hit in hits] == [(255, 0, 0), (0, 0, 255)]
    assert len(provider.asked) == 2


def test_several_event_loops_in_turn_and_at_the_same_time():
    provider = Scripted(HITS)
    search = PoliteText(provider, Manners("x", SearchSettings(concurrency=1)))

    async def many():
        return await asyncio.gather(*(search.search(str(n), 5) for n in range(5)))

    for _ in range(2):
        asyncio.run(many())
    threads = [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(provider.asked) == 25


def test_a_bug_of_a_provider_is_not_hidden(polite):
    search, _, _, _ = polite(KeyError("bug"))
    with pytest.raises(KeyError):
        ask(search)
