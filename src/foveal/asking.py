"""Asking a model many questions, each several times, into a run folder: what curation and benchmarks have in common.

An attempt has an id of its own, `<question>/<number>`, and a seed that follows from it, so it does not matter in which
order attempts are made, or how often the process was killed on the way. An attempt that the model answered, right or
wrong, is in the run. One that failed for another reason (`Asked.failed`: by default that the endpoint kept failing, or
was too slow) is not: it is counted, told, and made again the next time.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from foveal.agent import Agent
from foveal.config import Limits, Sampling
from foveal.policy.base import Policy
from foveal.policy.paid import Ledger, PaidPolicy
from foveal.protocol import Profile
from foveal.records import RunWriter
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Question, StopReason, Trajectory

TRIES = 3
"""Times that an attempt is made before it counts as failed; each request of it has retries of its own."""
PATIENCE = 3
"""A step ends when this many times as many attempts as are under way have failed in a row: the endpoint is down."""

log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")


def number_of(trajectory: str) -> int | None:
    """Which try at its question a trajectory is, by its id; None if no `Attempt` has given it that id."""
    number = trajectory.rpartition("/")[2]
    return int(number) if re.fullmatch("[0-9]{1,9}", number) and number != trajectory else None


class Attempt(NamedTuple):
    """One try at one question."""

    question: str
    """Id of the question."""
    number: int
    """Counts the tries at the question."""
    open: Callable[[ImageStore], Question]
    """Makes the question, and puts its pictures into the store."""

    @property
    def id(self) -> str:
        """Of its trajectory."""
        return f"{self.question}/{self.number}"


def seed_of(seed: int, who: str, trajectory: str) -> int:
    """The seed of an attempt, which follows from that of the settings, from who is asked, and from its id."""
    digest = hashlib.sha256(f"{seed}\0{who}\0{trajectory}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # some endpoints take 32 bits with a sign


def endpoint_failed(trajectory: Trajectory) -> str | None:
    """Why the model or its endpoint gave no answer, right or wrong; None if there was no such trouble."""
    return trajectory.error or "no reason given" if trajectory.stop_reason is StopReason.POLICY_ERROR else None


def out_of_time(trajectory: Trajectory) -> str | None:
    """Why the end of the time says nothing about the model: most of it did not go into its own code. Else None."""
    if trajectory.stop_reason is not StopReason.WALL_TIME:
        return None
    cells = [turn.observation.cell for turn in trajectory.turns if turn.observation is not None]
    own = sum(cell.seconds for cell in cells if cell is not None)
    last = trajectory.turns[-1] if trajectory.turns else None
    if last is not None and last.observation is None and last.call is not None and last.call.tool == "code":
        told = sum(turn.seconds + (turn.observation.seconds if turn.observation else 0.0) for turn in trajectory.turns)
        own += max(trajectory.seconds - told, 0.0)  # it was at work on that cell
    if own >= trajectory.seconds / 2:
        return None
    return f"the time was up after {trajectory.seconds:.0f} s, of which its code took {own:.0f} s"


def unmeasured(trajectory: Trajectory) -> str | None:
    """Why an attempt says nothing about the model: its endpoint failed, or was too slow. Else None."""
    return endpoint_failed(trajectory) or out_of_time(trajectory)


@dataclass(frozen=True)
class Asked:
    """Who is asked, and how."""

    policy: Policy
    tools: Tools
    profile: Profile
    limits: Limits
    temperature: float
    concurrency: int
    seed: int
    score: Callable[[Trajectory], Awaitable[Trajectory]]
    """Puts the reward onto a trajectory."""
    ledger: Ledger | None = None
    """Where the replies of an endpoint are kept; None for a model on this machine."""
    scope: str = ""
    """Tells apart those who share a ledger, and may be the same model."""
    weights: str | None = None
    """What tells a checkpoint on this machine from another one in the same folder (`policy.weights`)."""
    failed: Callable[[Trajectory], str | None] = unmeasured
    """Why an attempt does not count and has to be made again; None if it counts."""

    async def answer(self, attempt: Attempt, images: ImageStore) -> Trajectory:
        """Make an attempt, and score it."""
        policy = self.policy
        if self.ledger is not None:
            scope = f"{self.scope}\0{attempt.id}" if self.scope else attempt.id
            policy = PaidPolicy(policy, self.ledger, scope)
        who = self.weights or self.policy.name  # the path to a checkpoint says nothing about it
        sampling = Sampling(temperature=self.temperature, seed=seed_of(self.seed, who, attempt.id))
        agent = Agent(policy, self.tools, self.profile, self.limits, sampling)
        question = await asyncio.to_thread(attempt.open, images)
        return await self.score(await agent.run(question, images, trajectory_id=attempt.id))


@dataclass
class Progress:
    """How far a step came."""

    made: int = 0
    """Attempts of this session."""
    failed: int = 0
    """Attempts that kept failing; they are made again the next time."""
    given_up: int = 0
    """Attempts that failed too often to be made again (`curate.failing`)."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why, by id of the attempt."""
    stopped: str | None = None
    """Why the step ended before everything was asked."""
    error: str | None = None
    """The last failure."""
    down: bool = False
    """Whether it ended because so many failed in a row."""
    in_a_row: int = field(default=0, repr=False)


async def ask_all(
    asked: Asked,
    attempts: Iterable[Attempt],
    writer: RunWriter,
    on_done: Callable[[Trajectory], None] = lambda trajectory: None,
) -> Progress:
    """Make attempts, so many at a time, and write what comes of them.

    Args:
        asked: Who is asked.
        attempts: Those that the run does not hold yet.
        writer: Of the run.
        on_done: Called with every trajectory that was written.
    """
    progress = Progress()

    async def one(attempt: Attempt) -> None:
        trajectory = await make(asked, attempt, writer, progress)
        if trajectory is not None:
            on_done(trajectory)

    await each(attempts, asked.concurrency, one, lambda: progress.stopped is not None)
    return progress


async def make(asked: Asked, attempt: Attempt, writer: RunWriter, progress: Progress) -> Trajectory | None:
    """Make one attempt and write it; None if it failed."""
    images, why = writer.images if writer.pictures else ImageStore(), None
    for _ in range(TRIES):
        trajectory = await asked.answer(attempt, images)
        why = asked.failed(trajectory)
        if why is None:
            writer.write(trajectory)
            progress.made, progress.in_a_row = progress.made + 1, 0
            return trajectory
        if progress.stopped is None:
            progress.stopped = _used_up(asked)
        if progress.stopped is not None:
            return None
    assert why is not None  # or it would have been written
    progress.failed, progress.in_a_row = progress.failed + 1, progress.in_a_row + 1
    progress.error = progress.reasons[attempt.id] = why
    log.warning("%s failed: %s", attempt.id, why)
    if progress.in_a_row >= PATIENCE * asked.concurrency:
        progress.down = True
        progress.stopped = f"{progress.in_a_row} attempts failed in a row, the last with: {why}"
    return None


def _used_up(asked: Asked) -> str | None:
    """Why nothing more may be spent; None if there was room so far."""
    reached = asked.ledger.reached if asked.ledger is not None else None
    return str(reached) if reached is not None else None


async def each(
    items: Iterable[ItemT], concurrency: int, work: Callable[[ItemT], Awaitable[None]], ended: Callable[[], bool]
) -> None:
    """Do the work for every item, so many at a time; begin none after the end."""
    gate = asyncio.Semaphore(concurrency)

    async def one(item: ItemT) -> None:
        try:
            await work(item)
        finally:
            gate.release()

    async with asyncio.TaskGroup() as group:
        for item in items:
            await gate.acquire()
            if ended():
                gate.release()
                break
            group.create_task(one(item))
