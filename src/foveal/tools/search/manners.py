"""How a provider, or the host of a page, is asked: not too often, not too much, not in vain.

One `Manners` stands before everything that goes to one of them, in one run of the program. In this order a search
joins an equal one that is under way; is refused at once while the provider is down; waits for its turn (requests at a
time, requests a second); is counted against the ceiling; and is tried again after a failure that may pass, with
growing waits and jitter, or for as long as `Retry-After` says. Any thread and any event loop may search.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from PIL import Image

from foveal.errors import SearchError
from foveal.tools.base import ImageSearch, TextSearch
from foveal.tools.search.providers.http import Trouble
from foveal.tools.search.settings import Limits
from foveal.trajectory import ImageStore, SearchHit, image_ref, to_rgb

FIRST_WAIT = 0.5
"""Seconds before the first retry, doubled for each further one."""
MAX_WAIT = 30.0
MAX_RETRY_AFTER = 120.0
"""A provider that asks for a longer wait has failed: no trajectory can wait for it."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class _Flight:
    """A search under way, and how many wait for it."""

    def __init__(self, task: "asyncio.Task[Any]"):
        self.task = task
        self.waiting = 0


class _Loop:
    """What belongs to one event loop."""

    def __init__(self, concurrency: int):
        self.free = asyncio.Semaphore(concurrency)
        self.flights: dict[Hashable, _Flight] = {}


class Manners:
    """Stands before one provider.

    Args:
        name: Of the provider.
        limits: To keep.
        clock: Seconds that only go forward.
        sleep: Waits for some seconds.
        jitter: Random number from 0 to 1.
        optional: Whether every request has options of the user's, which the provider may refuse.
    """

    def __init__(
        self,
        name: str,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        optional: bool = False,
    ):
        self.name = name
        self._limits, self._optional = limits, optional
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._calls = 0
        self._next_turn = 0.0
        self._failures = 0
        self._answered = False
        self._last_failure = ""
        self._rests_until = 0.0
        self._trying = False

    @property
    def calls(self) -> int:
        """Requests made so far, failed ones too."""
        return self._calls

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `ask(work)`, shared by all who ask with an equal key while it is under way.

        It goes on while anybody waits for it.

        Raises:
            SearchError: As `ask`.
        """
        flights = self._loop().flights
        flight = flights.get(key)
        if flight is None:
            flight = flights[key] = _Flight(asyncio.ensure_future(self.ask(work)))
            flight.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        flight.waiting += 1
        try:
            result: T = await asyncio.shield(flight.task)
            return result
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 or flight.task.done():
                flight.task.cancel()
                if flights.get(key) is flight:
                    del flights[key]

    async def ask(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`, tried again while there is hope.

        Raises:
            SearchError: The provider is down, the ceiling is reached, or the search failed for good.
        """
        probe = self._enter()
        try:
            result = await self._tried(work)
        except Trouble as trouble:
            if trouble.kind == "query" and self._optional and not self._answered:
                trouble = Trouble(trouble.what, trouble.fix, "shape")  # more likely it refuses them, and every query
            if trouble.kind != "query":  # such a failure says nothing about the provider
                self._count_failure(trouble)
            raise trouble from None
        finally:
            if probe:
                self._trying = False
        self._failures, self._answered = 0, True
        return result

    async def _tried(self, work: Callable[[], Awaitable[T]]) -> T:
        attempt = 0
        while True:
            async with self._loop().free:
                await self._turn()
                self._spend()
                try:
                    return await work()
                except Trouble as error:
                    trouble = error
                except SearchError as error:  # of a provider that does not tell kinds apart
                    trouble = Trouble(error.what, error.fix, "query" if error.of_request else "shape")
            attempt += 1
            if trouble.kind == "passing" and trouble.wait is not None and trouble.wait > MAX_RETRY_AFTER:
                raise Trouble(f"{trouble.what}; it asks to wait {trouble.wait:.0f} s", trouble.fix, "quota")
            if trouble.kind != "passing" or attempt > self._limits.max_retries:
                raise trouble
            wait = trouble.wait
            if wait is None:
                wait = min(FIRST_WAIT * 2 ** (attempt - 1), MAX_WAIT) * (0.5 + self._jitter())
            log.warning("%s; trying again in %.1f s", trouble.what, wait)
            await self._sleep(wait)

    def _loop(self) -> _Loop:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._loops:
                self._loops = {other: state for other, state in self._loops.items() if not other.is_closed()}
                self._loops[loop] = _Loop(self._limits.concurrency)
            return self._loops[loop]

    async def _turn(self) -> None:
        """Wait for this request's turn: the turns are 1 / rate seconds apart."""
        if self._limits.rate is None:
            return
        with self._lock:
            turn = max(self._clock(), self._next_turn)
            self._next_turn = turn + 1 / self._limits.rate
        if (wait := turn - self._clock()) > 0:
            await self._sleep(wait)

    def _spend(self) -> None:
        limits = self._limits
        with self._lock:
            calls = self._calls + 1
            if limits.max_calls is not None and calls > limits.max_calls:
                ceiling = f"{limits.max_calls} requests"
            elif limits.max_cost is not None and calls * limits.cost_per_call > limits.max_cost * (1 + 1e-9):
                ceiling = f"a cost of {limits.max_cost:g}"
            else:
                self._calls = calls
                return
        raise SearchError(f"{self.name} may not be asked again: the ceiling of {ceiling} is reached", "raise it")

    def _enter(self) -> bool:
        """Refuse if the provider is down.

        Returns:
            True for the one search that may try whether it is up again.
        """
        with self._lock:
            if self._failures < self._limits.failures_in_a_row:
                return False
            if self._trying or self._clock() < self._rests_until:
                raise SearchError(f"{self.name} is down: {self._last_failure}")
            self._trying = True
            return True

    def _count_failure(self, trouble: Trouble) -> None:
        with self._lock:
            self._failures += 1
            self._last_failure = trouble.what
            if self._failures >= self._limits.failures_in_a_row:
                self._rests_until = self._clock() + self._limits.rest
                log.warning("%s failed %d times in a row and is left alone for a while", self.name, self._failures)


class PoliteText:
    """Text search with manners."""

    def __init__(self, provider: TextSearch, manners: Manners):
        self.name = provider.name
        self._provider = provider
        self._manners = manners

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """What the provider finds.

        Raises:
            SearchError: It failed for good, is down, or may not be asked again.
        """
        return list(await self._manners.share(("search", query, k), lambda: self._provider.search(query, k)))


class PoliteImages:
    """Image search with manners."""

    def __init__(self, provider: ImageSearch, manners: Manners):
        self.name = provider.name
        self._provider = provider
        self._manners = manners

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """What the provider finds.

        Raises:
            SearchError: It failed for good, is down, or may not be asked again.
        """
        shared = ImageStore()  # of all who join: each has a store of its own
        sought = await asyncio.to_thread(lambda: image_ref(to_rgb(image)).sha256)

        async def work() -> tuple[list[SearchHit], ImageStore]:
            return await self._provider.search(image, k, shared), shared

        hits, found = await self._manners.share(("image_search", sought, k), work)
        refs = [hit.thumbnail for hit in hits if hit.thumbnail is not None]
        await asyncio.to_thread(found.copy_to, images, refs)
        return list(hits)
