"""A policy that costs money: every reply is kept in a ledger, so that no run pays for it twice.

    ledger.sqlite   one row a reply: what was asked (a hash), what came back, its tokens, and what it cost

A run that was killed asks the same again, and gets from the ledger what was paid for already; only replies that were
on their way at that moment are lost. The ledger also says what was spent so far, which is what a ceiling is held to:
before a request is sent, the dearest reply that it can bring is set aside (`Ledger.reserve`). What a reply cost when it
came counts, whoever is asked later, and at whatever price.
"""

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from foveal.config import Sampling, Settings
from foveal.errors import ConfigError, InputError, PolicyError
from foveal.policy.base import Conversation, Generation, Policy
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart, Tokens

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    asked TEXT PRIMARY KEY, policy TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, money REAL
) WITHOUT ROWID
"""


MESSAGE_TOKENS = 16
"""Around a message, at most. Of its text there are no more tokens than bytes."""
PICTURE_TOKENS = 2000
PIXELS_PER_TOKEN = 500
"""A picture counts as so many tokens, or as one for so many pixels, whichever is more."""


class Price(Settings):
    """What an endpoint takes, in any currency."""

    prompt: float = Field(0.0, ge=0)
    """For a million tokens sent."""
    completion: float = Field(0.0, ge=0)
    """For a million tokens written."""


class Ceiling(Settings):
    """What may be spent in all; what is not set has no limit."""

    calls: int | None = Field(None, ge=0)
    """Replies."""
    tokens: int | None = Field(None, ge=0)
    """Sent and written."""
    money: float | None = Field(None, ge=0)
    """In the currency of the prices."""


class Spent(NamedTuple):
    """What was spent, or may be."""

    calls: int
    tokens: int
    money: float

    def plus(self, more: "Spent") -> "Spent":
        """Both together."""
        return Spent(self.calls + more.calls, self.tokens + more.tokens, self.money + more.money)


class CeilingReached(PolicyError):
    """Nothing more may be spent: the rest waits for a higher ceiling."""


def read_spent(path: Path, prices: dict[str, Price]) -> Spent:
    """What a ledger has come to, whoever is at work on it; `prices` as of `Ledger`. Nothing is written.

    Raises:
        ConfigError: Neither the ledger nor `prices` say what a policy cost.
        InputError: The file is no ledger, or cannot be read.
    """
    # Where nobody has left work in progress the file is all there is: a full or read-only disk is read as well.
    at_work = path.with_name(f"{path.name}-wal").exists()
    uri = f"{path.absolute().as_uri()}?mode=ro{'' if at_work else '&immutable=1'}"
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            if not database.execute("SELECT name FROM sqlite_master").fetchall():
                return Spent(0, 0, 0.0)  # killed before it had a table
            return _spent(database, prices, path)[0]
    except sqlite3.Error as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: OSError | sqlite3.Error) -> InputError:
    """The error for a ledger that cannot be used. It is given up only if it is none: what was paid for is in it."""
    kind = getattr(error, "sqlite_errorcode", 0) & 0xFF  # above that, the details
    if kind in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR):
        fix = "it is no whole ledger: move it away"
    elif kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        fix = "let one process write to it"
    else:
        fix = "make room on the disk, or let it be written"
    return InputError(f"the ledger {path} cannot be used: {error}", fix)


def _spent(database: sqlite3.Connection, prices: dict[str, Price], path: Path) -> tuple[Spent, int]:
    """What was spent, and how many replies came without their tokens."""
    spent, uncounted = Spent(0, 0, 0.0), 0
    money = "money" if _keeps_money(database) else "NULL"
    for policy, had_price, calls, prompt, completion, missing, paid in database.execute(
        "SELECT policy, money > 0, COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), "
        "COUNT(*) - COUNT(prompt_tokens + completion_tokens), SUM(money) "
        f"FROM (SELECT policy, prompt_tokens, completion_tokens, {money} AS money FROM replies) GROUP BY 1, 2"
    ):
        cost = _cost(prices, policy, calls, prompt, completion)
        if had_price or policy not in prices:
            if paid is None:
                what = f"the ledger {path} does not say what {calls} replies of {policy!r} cost, nor do the settings"
                raise ConfigError(what, "name it again in the settings, with its price; one run writes down the cost")
            cost = cost._replace(money=paid)
        spent, uncounted = spent.plus(cost), uncounted + missing
    return spent, uncounted


def _keeps_money(database: sqlite3.Connection) -> bool:
    """False for the ledger of an older foveal, which knows tokens only."""
    return any(column[1] == "money" for column in database.execute("PRAGMA table_info(replies)"))


def _cost(prices: dict[str, Price], policy: str, calls: int, prompt: int, completion: int) -> Spent:
    price = prices.get(policy, Price())
    return Spent(calls, prompt + completion, (prompt * price.prompt + completion * price.completion) / 1e6)


class Ledger:
    """The replies of paid policies, in a SQLite file. One process at a time: two would each spend up to the ceiling.

    Args:
        path: The file; made if it is not there.
        prices: By name of the policy; others cost nothing. A reply that came when its policy had no price costs what
            the first one says that is given; this is written down, too.
        ceiling: What may be spent in all, by all of them.

    Attributes:
        reached: Why a request was not sent; None as long as there was room for all.

    Raises:
        ConfigError: Neither the ledger, which is of an older foveal, nor `prices` say what a policy cost.
        InputError: The file is no ledger, or cannot be written, or another process has it.
    """

    def __init__(self, path: Path, prices: dict[str, Price], ceiling: Ceiling):
        self.prices, self.ceiling = prices, ceiling
        self.reached: CeilingReached | None = None
        self._under_way: list[Spent] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._path, self._lock = path, -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # On a file of its own: what else lies in the folder, as recorded answers do, has its own locks.
            self._lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._database = sqlite3.connect(path, isolation_level=None)
            # What was committed outlives a killed process in either mode; FULL would wait for the disk at every reply.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_SCHEMA)
            if not _keeps_money(self._database):
                self._database.execute("ALTER TABLE replies ADD COLUMN money REAL")
            self._database.executemany(
                "UPDATE replies SET money = "
                "(COALESCE(prompt_tokens, 0) * :prompt + COALESCE(completion_tokens, 0) * :completion) / 1e6 "
                "WHERE policy = :policy AND (money IS NULL OR money = 0 AND :prompt + :completion > 0)",
                [{"policy": policy, **price.model_dump()} for policy, price in prices.items()],
            )
            self._spent, self._uncounted = _spent(self._database, prices, path)
        except ConfigError:
            self.close()
            raise
        except (OSError, sqlite3.Error) as error:
            if self._lock >= 0:
                os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise InputError(f"another process is paying from the ledger {path}", "wait for it") from error
            raise _unusable(path, error) from error

    @property
    def spent(self) -> Spent:
        """What was spent so far, by earlier sessions too."""
        return self._spent

    def find(self, asked: str) -> Generation | None:
        """The reply that was paid for already.

        Raises:
            InputError: The file cannot be read.
        """
        row = self._do("SELECT text, finish, prompt_tokens, completion_tokens FROM replies WHERE asked = ?", asked)
        return None if row is None else Generation(*row)

    def keep(self, asked: str, policy: str, reply: Generation) -> None:
        """Write down a reply; a killed process does not lose it once this returns.

        Raises:
            InputError: The file cannot be written.
        """
        cost = _cost(self.prices, policy, 1, reply.prompt_tokens or 0, reply.completion_tokens or 0)
        self._do("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)", asked, policy, *reply, cost.money)
        self._uncounted += reply.prompt_tokens is None or reply.completion_tokens is None
        self._spent = self._spent.plus(cost)

    @contextlib.asynccontextmanager
    async def reserve(self, policy: str, prompt: int, completion: int) -> AsyncIterator[None]:
        """Set the dearest that a request can come to aside while it is under way, `keep` included.

        Where there is room for it only if those under way come to less than they can, it waits for them.

        Args:
            policy: Name of who is asked.
            prompt: Tokens sent, at most.
            completion: Tokens written, at most.

        Raises:
            CeilingReached: There is no room for it; or the ceiling is one of tokens or money, and nobody knows how many
                were spent.
        """
        wanted = _cost(self.prices, policy, 1, prompt, completion)
        while True:
            if self._uncounted and (self.ceiling.tokens is not None or self.ceiling.money is not None):
                what = (
                    f"a ceiling of tokens or money cannot be held: {self._uncounted} replies came without their counts"
                )
                self.reached = CeilingReached(what, "set a ceiling of calls in its place")
            elif used := self._beyond(self._spent, wanted):
                self.reached = CeilingReached(f"the ceiling is reached: {used}", "raise it to go on")
            if self.reached is not None:
                raise CeilingReached(self.reached.what, self.reached.fix)
            if not self._beyond(functools.reduce(Spent.plus, self._under_way, self._spent), wanted):
                break
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._under_way.append(wanted)
        try:
            yield
        finally:
            self._under_way.remove(wanted)
            waiting, self._waiting = self._waiting, []
            for turn in waiting:
                if not turn.done():
                    turn.set_result(None)

    def _beyond(self, spent: Spent, wanted: Spent) -> str | None:
        """The first limit that has no room for what is wanted, in words; None if all have."""
        for name in Spent._fields:
            most, used, more = (getattr(one, name) for one in (self.ceiling, spent, wanted))
            if most is not None and (used >= most or used + more > most):
                return f"{used:g} of {most:g} {name}" + ("" if used >= most else f", and a reply may take {more:g}")
        return None

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _do(self, query: str, *values: str | float | None) -> tuple[Any, ...] | None:
        """The first row of what a query gives."""
        try:
            row: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error
        return row


class PaidPolicy:
    """A policy whose replies are kept.

    Args:
        policy: One that does not give token ids: an endpoint.
        ledger: Where they are kept.
        scope: Tells apart what is asked in the same words: the id of the trajectory.
    """

    def __init__(self, policy: Policy, ledger: Ledger, scope: str):
        self.name = policy.name
        self._policy, self._ledger, self._scope = policy, ledger, scope

    def open(self, images: ImageStore, sampling: Sampling) -> "PaidConversation":
        """Start a conversation. Nothing is sent before its first reply that is not in the ledger."""
        begin = f"{self._scope}\0{self.name}\0{sampling.model_dump_json()}"
        return PaidConversation(self._policy, self._ledger, begin, images, sampling)


class PaidConversation:
    """One trajectory's messages. Made by `PaidPolicy.open`."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        begin: str,
        images: ImageStore,
        sampling: Sampling,
    ):
        self._policy, self._ledger = policy, ledger
        self._images, self._sampling = images, sampling
        self._hash = hashlib.sha256(begin.encode())
        self._messages: list[Message] = []
        self._tokens = 0
        """Of the messages, at most."""
        self._told = 0
        """Messages that the inner conversation has."""
        self._inner: Conversation | None = None

    @property
    def num_tokens(self) -> int | None:
        """None: the endpoint counts afterwards only."""
        return None

    def cost(self, message: Message) -> int | None:
        """None: the endpoint counts afterwards only."""
        return None

    async def append(self, message: Message) -> None:
        """Add a message."""
        self._add(message)

    def _add(self, message: Message) -> None:
        parts = [part.image.sha256 if isinstance(part, ImagePart) else [part.text] for part in message.parts]
        self._hash.update(json.dumps([message.role, parts]).encode())
        self._messages.append(message)
        self._tokens += MESSAGE_TOKENS + len(message.text.encode(errors="replace"))
        self._tokens += sum(max(PICTURE_TOKENS, ref.width * ref.height // PIXELS_PER_TOKEN) for ref in message.images)

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        """The next turn, from the ledger or from the policy.

        Raises:
            CeilingReached: It is not in the ledger, and nothing more may be spent.
            PolicyError: The endpoint failed for good.
        """
        asked = self._hash.copy()
        asked.update(json.dumps([max_tokens, list(stop)]).encode())
        reply = self._ledger.find(asked.hexdigest())
        if reply is None:
            room = self._ledger.reserve(self._policy.name, self._tokens, max_tokens)
            async with room:
                reply = await self._ask(max_tokens, stop)
                self._ledger.keep(asked.hexdigest(), self._policy.name, reply)
            self._told += 1  # the inner conversation has its own reply
        self._add(Message(role="assistant", parts=(TextPart(text=reply.text),)))
        return reply

    async def _ask(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        if self._inner is None:
            self._inner = self._policy.open(self._images, self._sampling)
        for message in self._messages[self._told :]:
            await self._inner.append(message)
        self._told = len(self._messages)
        return await self._inner.generate(max_tokens, stop)

    def tokens(self) -> Tokens | None:
        """None: endpoints do not give token ids."""
        return None

    async def close(self) -> None:
        """Let go of the inner conversation. Safe to call twice."""
        if self._inner is not None:
            await self._inner.close()
