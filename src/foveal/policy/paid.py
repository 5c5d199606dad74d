"""A policy that costs money: every reply is kept in a ledger, so that no run pays for it twice.

    ledger.sqlite   one row a reply: what was asked (a hash), what came back, and its tokens

A run that was killed asks the same again, and gets from the ledger what was paid for already; only replies that were
on their way at that moment are lost. The ledger also says what was spent so far, which is what a ceiling is held to.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiolimiter import AsyncLimiter
from pydantic import Field

from foveal.config import Sampling, Settings
from foveal.errors import InputError, PolicyError
from foveal.policy.base import Conversation, Generation, Policy
from foveal.trajectory import ImagePart, ImageStore, Message, TextPart, Tokens

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    asked TEXT PRIMARY KEY, policy TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER
) WITHOUT ROWID
"""


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
    """What was spent so far."""

    calls: int
    tokens: int
    money: float

    def reaches(self, ceiling: Ceiling) -> str | None:
        """The first limit that is used up, in words; None if there is room."""
        for name in ("calls", "tokens", "money"):
            most, used = getattr(ceiling, name), getattr(self, name)
            if most is not None and used >= most:
                return f"{used:g} of {most:g} {name}"
        return None


class CeilingReached(PolicyError):
    """Nothing more may be spent: the rest waits for a higher ceiling."""


class Ledger:
    """The replies of paid policies, in a SQLite file. One process writes to it at a time.

    Args:
        path: The file; made if it is not there.
        prices: By name of the policy; others cost nothing.
        ceiling: What may be spent in all, by all of them.

    Raises:
        InputError: The file is no ledger, or cannot be written.
    """

    def __init__(self, path: Path, prices: dict[str, Price], ceiling: Ceiling):
        self.prices, self.ceiling = prices, ceiling
        self.under_way = 0
        """Requests that were sent and are not answered yet."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            # What was committed outlives a killed process in either mode; FULL would wait for the disk at every reply.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(_SCHEMA)
            rows = self._database.execute(
                "SELECT policy, COUNT(*), COALESCE(SUM(prompt_tokens), 0), COALESCE(SUM(completion_tokens), 0), "
                "COUNT(*) - COUNT(prompt_tokens + completion_tokens) FROM replies GROUP BY policy"
            ).fetchall()
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"the ledger {path} cannot be used: {error}", "name another folder") from error
        self._path, self._spent, self._uncounted = path, Spent(0, 0, 0.0), 0
        for policy, calls, prompt, completion, uncounted in rows:
            self._add(policy, calls, prompt, completion)
            self._uncounted += uncounted

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
        self._do("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", asked, policy, *reply)
        self._uncounted += reply.prompt_tokens is None or reply.completion_tokens is None
        self._add(policy, 1, reply.prompt_tokens or 0, reply.completion_tokens or 0)

    def check(self) -> None:
        """Make sure that another request may be sent.

        Raises:
            CeilingReached: What was spent, and as many calls as are under way, reach the ceiling; or it is one of
                tokens or money, and nobody knows how many were spent.
        """
        if self._uncounted and (self.ceiling.tokens is not None or self.ceiling.money is not None):
            raise CeilingReached(
                f"a ceiling of tokens or money cannot be held: {self._uncounted} replies came without their counts",
                "set a ceiling of calls in its place",
            )
        if used := self._spent._replace(calls=self._spent.calls + self.under_way).reaches(self.ceiling):
            raise CeilingReached(f"the ceiling is reached: {used}", "raise it to go on")

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        self._database.close()

    def _do(self, query: str, *values: str | int | None) -> tuple[Any, ...] | None:
        """The first row of what a query gives."""
        try:
            row: tuple[Any, ...] | None = self._database.execute(query, values).fetchone()
        except sqlite3.Error as error:
            fix = "make room on the disk, and let one process write to it"
            raise InputError(f"the ledger {self._path} cannot be used: {error}", fix) from error
        return row

    def _add(self, policy: str, calls: int, prompt: int, completion: int) -> None:
        price = self.prices.get(policy, Price())
        money = (prompt * price.prompt + completion * price.completion) / 1e6
        was = self._spent
        self._spent = Spent(was.calls + calls, was.tokens + prompt + completion, was.money + money)


class PaidPolicy:
    """A policy whose replies are kept.

    Args:
        policy: One that does not give token ids: an endpoint.
        ledger: Where they are kept.
        scope: Tells apart what is asked in the same words: the id of the trajectory.
        limiter: Holds requests back; None holds none.
    """

    def __init__(self, policy: Policy, ledger: Ledger, scope: str, limiter: AsyncLimiter | None = None):
        self.name = policy.name
        self._policy, self._ledger, self._scope, self._limiter = policy, ledger, scope, limiter

    def open(self, images: ImageStore, sampling: Sampling) -> "PaidConversation":
        """Start a conversation. Nothing is sent before its first reply that is not in the ledger."""
        begin = f"{self._scope}\0{self.name}\0{sampling.model_dump_json()}"
        return PaidConversation(self._policy, self._ledger, begin, self._limiter, images, sampling)


class PaidConversation:
    """One trajectory's messages. Made by `PaidPolicy.open`."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        begin: str,
        limiter: AsyncLimiter | None,
        images: ImageStore,
        sampling: Sampling,
    ):
        self._policy, self._ledger, self._limiter = policy, ledger, limiter
        self._images, self._sampling = images, sampling
        self._hash = hashlib.sha256(begin.encode())
        self._messages: list[Message] = []
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
            reply = await self._ask(max_tokens, stop)
            self._ledger.keep(asked.hexdigest(), self._policy.name, reply)
            self._told += 1  # the inner conversation has its own reply
        self._add(Message(role="assistant", parts=(TextPart(text=reply.text),)))
        return reply

    async def _ask(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        async with self._limiter or contextlib.nullcontext():
            self._ledger.check()
            self._ledger.under_way += 1
            try:
                if self._inner is None:
                    self._inner = self._policy.open(self._images, self._sampling)
                for message in self._messages[self._told :]:
                    await self._inner.append(message)
                self._told = len(self._messages)
                return await self._inner.generate(max_tokens, stop)
            finally:
                self._ledger.under_way -= 1

    def tokens(self) -> Tokens | None:
        """None: endpoints do not give token ids."""
        return None

    async def close(self) -> None:
        """Let go of the inner conversation. Safe to call twice."""
        if self._inner is not None:
            await self._inner.close()
