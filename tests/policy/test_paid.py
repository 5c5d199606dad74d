import asyncio
import contextlib
import random
import sqlite3

import httpx
import pytest
from aiolimiter import AsyncLimiter
from PIL import Image

from foveal.config import Sampling
from foveal.errors import ConfigError, InputError, PolicyError
from foveal.policy.base import Generation
from foveal.policy.paid import Ceiling, CeilingReached, Ledger, PaidPolicy, Price, Spent, read_spent
from foveal.policy.scripted import ScriptedConversation
from foveal.tools.search.cache import Answers
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart


class Paid:
    """Writes `reply N` to the N-th request that it gets, 100 tokens sent and 10 written; some fail."""

    def __init__(self, name="teacher", failing=()):
        self.name, self.failing, self.requests = name, set(failing), []

    def open(self, images, sampling):
        policy = self

        class Conversation(ScriptedConversation):
            async def generate(self, max_tokens, stop):
                policy.requests.append([message.text for message in self.messages])
                if len(policy.requests) in policy.failing:
                    raise PolicyError("down")
                text = f"reply {len(policy.requests)}"
                self.messages.append(Message(role="assistant", parts=(TextPart(text=text),)))
                return Generation(text, "stop", 100, 10)

        return Conversation([])


@pytest.fixture
def ledger(tmp_path):
    def make(ceiling=None, prices=None):
        return Ledger(tmp_path / "some" / "ledger.sqlite", prices or {}, ceiling or Ceiling())

    return make


def user(text, *images):
    return Message(role="user", parts=(TextPart(text=text), *(ImagePart(image=image) for image in images)))


async def talk(policy, *texts, sampling=None, limits=(9, ("</a>",))):
    conversation = policy.open(ImageStore(), sampling or Sampling())
    replies = []
    for text in texts:
        await conversation.append(text if isinstance(text, Message) else user(text))
        replies.append((await conversation.generate(*limits)).text)
    await conversation.close()
    return replies


def test_what_was_paid_for_is_not_asked_again_and_the_rest_goes_on_from_there(ledger):
    inner = Paid()
    first = ledger()
    assert asyncio.run(talk(PaidPolicy(inner, first, "t1"), "a", "b")) == ["reply 1", "reply 2"]
    first.close()
    again = PaidPolicy(inner, ledger(), "t1")
    assert asyncio.run(talk(again, "a", "b", "c", "d")) == ["reply 1", "reply 2", "reply 3", "reply 4"]
    assert inner.requests[2:] == [
        ["a", "reply 1", "b", "reply 2", "c"],
        ["a", "reply 1", "b", "reply 2", "c", "reply 3", "d"],
    ]


def test_everything_that_can_change_a_reply_makes_it_another_one(ledger):
    inner, book, store = Paid(), ledger(), ImageStore()
    red, blue = (store.put(Image.new("RGB", (30, 30), colour)) for colour in ("red", "blue"))
    asked = [
        ("t1", ("a",), {}),
        ("t2", ("a",), {}),
        ("t1", ("b",), {}),
        ("t1", (user("a", red),), {}),
        ("t1", (user("a", blue),), {}),
        ("t1", ("a",), {"sampling": Sampling(temperature=1.0)}),
        ("t1", ("a",), {"sampling": Sampling(seed=1)}),
        ("t1", ("a",), {"limits": (8, ("</a>",))}),
        ("t1", ("a",), {"limits": (9, ("</b>",))}),
    ]
    for number, (scope, texts, options) in enumerate(asked * 2):
        reply = asyncio.run(talk(PaidPolicy(inner, book, scope), *texts, **options))
        assert reply == [f"reply {number % len(asked) + 1}"]
    assert asyncio.run(talk(PaidPolicy(Paid("other"), book, "t1"), "a")) == ["reply 1"]
    assert len(inner.requests) == len(asked)


def test_spending_is_counted_by_price_over_sessions_and_held_to_the_ceiling(ledger):
    prices = {"teacher": Price(prompt=2.0, completion=30.0)}
    book = ledger(prices=prices)
    asyncio.run(talk(PaidPolicy(Paid(), book, "t"), "a", "b"))
    book.close()
    book = ledger(Ceiling(calls=3), prices)
    assert book.spent == Spent(2, 220, pytest.approx((200 * 2 + 20 * 30) / 1e6))
    inner = Paid()
    with pytest.raises(CeilingReached, match="3 of 3 calls"):
        asyncio.run(talk(PaidPolicy(inner, book, "t"), "a", "b", "c", "d"))
    assert len(inner.requests) == 1


@pytest.mark.parametrize("ceiling", [Ceiling(calls=0), Ceiling(tokens=0), Ceiling(money=0.0)])
def test_a_ceiling_of_nothing_sends_nothing(ledger, ceiling):
    inner = Paid()
    with pytest.raises(CeilingReached):
        asyncio.run(talk(PaidPolicy(inner, ledger(ceiling), "t"), "a"))
    assert not inner.requests


def test_calls_under_way_count_towards_the_ceiling(ledger):
    started, go = asyncio.Event(), asyncio.Event()

    class Slow(Paid):
        def open(self, images, sampling):
            conversation = super().open(images, sampling)
            answer = conversation.generate

            async def generate(max_tokens, stop):
                started.set()
                await go.wait()
                return await answer(max_tokens, stop)

            conversation.generate = generate
            return conversation

    async def run():
        book, inner = ledger(Ceiling(calls=1)), Slow()
        first = asyncio.create_task(talk(PaidPolicy(inner, book, "t1"), "a"))
        await started.wait()
        second = asyncio.create_task(talk(PaidPolicy(inner, book, "t2"), "a"))
        await asyncio.sleep(0.05)
        assert not second.done() and book.reached is None, "the first may fail, and cost nothing"
        go.set()
        assert await first == ["reply 1"]
        with pytest.raises(CeilingReached, match="1 of 1 calls"):
            await second
        assert book.reached is not None and len(inner.requests) == 1

    asyncio.run(run())


@pytest.mark.parametrize(("ceiling", "per_reply"), [(Ceiling(money=0.02), 0.0005), (Ceiling(tokens=4000), 110)])
def test_a_ceiling_is_not_passed_however_many_ask_at_once_and_its_room_is_used(ledger, ceiling, per_reply):
    class Late(Paid):
        def open(self, images, sampling):
            conversation = super().open(images, sampling)
            answer = conversation.generate

            async def generate(max_tokens, stop):
                await asyncio.sleep(0.001)
                return await answer(max_tokens, stop)

            conversation.generate = generate
            return conversation

    async def run():
        inner, book = Late(), ledger(ceiling, {"teacher": Price(prompt=2.0, completion=30.0)})
        talks = (talk(PaidPolicy(inner, book, str(n)), "a" * 150, limits=(20, ("</a>",))) for n in range(100))
        ends = await asyncio.gather(*talks, return_exceptions=True)
        return book, sum(isinstance(end, CeilingReached) for end in ends)

    book, refused = asyncio.run(run())
    name, most = ("money", ceiling.money) if ceiling.money else ("tokens", ceiling.tokens)
    dearest = (166 * 2 + 20 * 30) / 1e6 if ceiling.money else 186
    used = getattr(book.spent, name)
    assert most - dearest < used <= most and refused == 100 - book.spent.calls
    assert used == pytest.approx(book.spent.calls * per_reply) and "a reply may take" in str(book.reached)


def test_pictures_count_by_their_size_and_text_by_its_bytes(tmp_path):
    def ledger(number, ceiling):
        return Ledger(tmp_path / str(number) / "ledger.sqlite", {}, ceiling)

    store = ImageStore()
    small, large = (store.put(Image.new("RGB", size)) for size in ((40, 40), (2000, 1500)))
    for number, (message, tokens) in enumerate(
        [(user("é" * 10), 36), (user("", small), 2016), (user("", small, large), 8016)]
    ):
        book = ledger(number, Ceiling(tokens=tokens + 8))
        with pytest.raises(CeilingReached, match=f"0 of {tokens + 8} tokens, and a reply may take {tokens + 9}"):
            asyncio.run(talk(PaidPolicy(Paid(), book, "t"), message))
        book.close()
        book = ledger(number, Ceiling(tokens=tokens + 9))
        assert asyncio.run(talk(PaidPolicy(Paid(), book, "t"), message)) == ["reply 1"]
        book.close()


def test_one_process_at_a_time_pays_and_others_may_look(ledger, tmp_path):
    prices = {"teacher": Price(prompt=2.0, completion=30.0)}
    book, path = ledger(prices=prices), tmp_path / "some" / "ledger.sqlite"
    asyncio.run(talk(PaidPolicy(Paid(), book, "t"), "a"))
    with pytest.raises(InputError, match="another process is paying"):
        ledger()
    assert read_spent(path, prices) == read_spent(path, {}) == book.spent != Spent(1, 110, 0.0)
    Answers(path.with_name("answers.sqlite"))  # beside it, as a run keeps both
    book.close()
    ledger().close()
    (tmp_path / "no").write_text("no database, whatever its name " * 50)
    with pytest.raises(InputError, match="no cannot be used"):
        read_spent(tmp_path / "no", {})


def test_a_failed_request_is_not_kept_and_the_next_try_asks_again(ledger):
    inner, book = Paid(failing={2}), ledger()
    with pytest.raises(PolicyError, match="down"):
        asyncio.run(talk(PaidPolicy(inner, book, "t"), "a", "b"))
    assert asyncio.run(talk(PaidPolicy(inner, book, "t"), "a", "b")) == ["reply 1", "reply 3"]
    assert book.spent.calls == 2


@pytest.fixture
def endpoint(connect):
    """An endpoint without sockets, which answers as told, and when it was asked: `endpoint(status_of, **settings)`."""

    def make(status_of=lambda number: 200, **settings):
        times = []

        def answer(request):
            times.append(asyncio.get_running_loop().time())
            choice = {"message": {"content": f"reply {len(times)}"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 100, "completion_tokens": 10}
            return httpx.Response(status_of(len(times)), json={"choices": [choice], "usage": usage})

        transport = httpx.MockTransport(answer)
        return connect("http://nowhere/v1", transport=transport, backoff=0.5, **settings), times

    return make


def test_a_limiter_holds_requests_back_but_not_what_is_known(ledger, endpoint, on_a_clock):
    async def run():
        book, (policy, times) = ledger(), endpoint(limiter=AsyncLimiter(1, 60))
        for _ in range(2):
            assert await talk(PaidPolicy(policy, book, "t"), "a") == ["reply 1"]
        await talk(PaidPolicy(policy, book, "u"), "a")
        assert times == [0, pytest.approx(60)]

    on_a_clock(run())


def test_the_rate_is_held_however_many_requests_fail(ledger, endpoint, on_a_clock):
    async def run():
        lot, book = random.Random(0), ledger()
        policy, times = endpoint(lambda number: 500 if lot.random() < 0.6 else 200, limiter=AsyncLimiter(1, 1.0))
        talks = (talk(PaidPolicy(policy, book, str(number)), "a") for number in range(20))
        ends = await asyncio.gather(*talks, return_exceptions=True)
        return times, book.spent.calls, sum(isinstance(end, PolicyError) for end in ends)

    times, answered, failed = on_a_clock(run())
    assert answered + failed == 20 < len(times) - 5, "some were tried again"
    for start in times:
        assert sum(start <= time < start + 9.9 for time in times) <= 10, "60 a minute"


def test_who_is_cancelled_while_waiting_gives_slot_place_and_room_back(ledger, endpoint, on_a_clock):
    async def run():
        book, limiter = ledger(Ceiling(calls=2)), AsyncLimiter(1, 60)
        policy, times = endpoint(max_concurrency=1, limiter=limiter)
        await talk(PaidPolicy(policy, book, "first"), "a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(talk(PaidPolicy(policy, book, "cancelled"), "a"), 10)
        assert asyncio.get_running_loop().time() == pytest.approx(10)
        await talk(PaidPolicy(policy, book, "last"), "a")
        assert times == [0, pytest.approx(60)] and book.spent.calls == 2

    on_a_clock(run())


def test_who_waits_for_room_has_no_slot(ledger, endpoint, on_a_clock):
    async def run():
        book, (policy, times) = ledger(Ceiling(calls=2)), endpoint(limiter=AsyncLimiter(1, 60))
        async with book.reserve("teacher", 0, 0), book.reserve("teacher", 0, 0):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(talk(PaidPolicy(policy, book, "cancelled"), "a"), 10)
        await talk(PaidPolicy(policy, book, "last"), "a")
        assert times == [pytest.approx(10)]

    on_a_clock(run())


async def ask(book, prompt=100, completion=10):
    """Send a request, as far as the ledger is concerned."""
    async with book.reserve("teacher", prompt, completion):
        pass


@pytest.mark.parametrize("ceiling", [Ceiling(tokens=9999), Ceiling(money=9.0)])
def test_a_ceiling_that_nobody_can_count_for_is_told(ledger, ceiling):
    book = ledger()
    book.keep("1", "teacher", Generation("a", "stop", 100, 10))
    book.keep("2", "teacher", Generation("b", "stop", 100, None))
    asyncio.run(ask(book))
    book.close()
    for _ in range(2):
        book = ledger(ceiling)
        with pytest.raises(CeilingReached, match=r"1 replies came without[\s\S]*ceiling of calls"):
            asyncio.run(ask(book))
        book.close()
    asyncio.run(ask(ledger(Ceiling(calls=3))))


ALICE, BOB = {"alice": Price(prompt=2.0, completion=30.0)}, {"bob": Price(prompt=1.0)}


def session(book, *scopes, name="alice"):
    """Pay for a reply in every scope, and close the ledger; 0.0005 each at the prices of alice."""
    with contextlib.closing(book):
        for scope in scopes:
            asyncio.run(talk(PaidPolicy(Paid(name), book, scope), "a"))
    return book.spent.money


def test_what_a_teacher_cost_counts_after_another_one_took_its_place(ledger, tmp_path):
    paid = session(ledger(prices=ALICE), "1", "2", "3")
    assert paid == pytest.approx(0.0015)
    for prices in (BOB, BOB | {"alice": Price(prompt=99.0)}):
        assert session(ledger(prices=prices)) == pytest.approx(paid)
        assert read_spent(tmp_path / "some" / "ledger.sqlite", prices) == Spent(3, 330, pytest.approx(paid))
    inner, book = Paid("bob"), ledger(Ceiling(money=0.0012), BOB)
    with pytest.raises(CeilingReached, match=r"0.0015 of 0.0012 money"):
        asyncio.run(talk(PaidPolicy(inner, book, "4"), "a"))
    assert not inner.requests


def test_a_price_that_is_given_later_counts_for_what_came_before_and_stays(ledger, tmp_path):
    assert session(ledger(prices={"alice": Price()}), "1", "2") == 0
    assert read_spent(tmp_path / "some" / "ledger.sqlite", ALICE).money == pytest.approx(0.001)
    assert session(ledger(prices=BOB)) == 0
    for prices in (ALICE, BOB):
        assert session(ledger(prices=prices)) == pytest.approx(0.001)


def test_a_ledger_that_knows_tokens_only_is_never_taken_for_nothing_spent(ledger, tmp_path):
    path = tmp_path / "some" / "ledger.sqlite"
    session(ledger(prices=ALICE), "1", "2")
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("ALTER TABLE replies DROP COLUMN money")
    assert read_spent(path, ALICE).money == pytest.approx(0.001)
    for _ in range(2):  # refused, it lets go of the file
        for use in (lambda: read_spent(path, BOB), lambda: ledger(prices=BOB)):
            with pytest.raises(
                ConfigError, match=r"ledger.sqlite does not say what 2 replies of 'alice'[\s\S]*name it again"
            ):
                use()
    assert session(ledger(prices=ALICE | BOB), "3", name="bob") == pytest.approx(0.0011)
    assert session(ledger(prices=BOB)) == pytest.approx(0.0011), "one run has written down the cost"


def test_a_ledger_that_fails_on_the_way_says_so(ledger, tmp_path):
    book = ledger()
    with contextlib.closing(sqlite3.connect(tmp_path / "some" / "ledger.sqlite")) as other:
        other.execute("DROP TABLE replies")
    with pytest.raises(InputError, match=r"ledger.sqlite cannot be used: no such table"):
        book.keep("1", "teacher", Generation("a", "stop", 100, 10))
    with pytest.raises(InputError, match=r"ledger.sqlite cannot be used"):
        asyncio.run(talk(PaidPolicy(Paid(), book, "t"), "a"))
    assert book.spent.calls == 0


def test_a_file_that_is_no_ledger_is_refused(tmp_path):
    (tmp_path / "ledger.sqlite").write_text("not a database, whatever its name " * 50)
    for use in (lambda path: Ledger(path, {}, Ceiling()), lambda path: read_spent(path, {})):
        with pytest.raises(InputError, match=r"ledger[\s\S]*move it away"):
            use(tmp_path / "ledger.sqlite")
