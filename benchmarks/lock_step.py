"""Rollouts whose turns keep time with one another, for comparison with our own, where none waits for another.

All trajectories under way write a turn each; when the last turn is written all tools run at once; when the slowest has
answered comes the next turn. Agent, protocol, tools, limits, reward and token ids are those of any other rollout: only
what stands behind the conversations is another engine.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from foveal.agent import Agent
from foveal.config import Sampling
from foveal.policy.base import Policy
from foveal.policy.encoding import ChatEncoder
from foveal.policy.engine import Engine, Request
from foveal.policy.transformers import Pictures, TransformersConversation
from foveal.reward.score import score
from foveal.tools.session import Tools, ToolSession
from foveal.train.environment import Environment
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import question_number, rollout_seed
from foveal.trajectory import ImageStore, Observation, Question, ToolCall, Trajectory

TAIL = math.log(20) / 2.3263478740408408
"""Sigma of the log-normal distribution whose 99th percentile is 20 times its median."""


class Job(NamedTuple):
    """A trajectory to be made."""

    question: Question
    seed: int


class LockStep:
    """Stands in for an `Engine`: turns are written when every trajectory under way asks for one.

    Args:
        encoder: Of the model.
        write: Writes the turns of requests, all of them.
        release: Told of every conversation that ends.
    """

    def __init__(
        self,
        encoder: ChatEncoder,
        write: Callable[[list[Request]], Awaitable[None]],
        release: Callable[[object], None] = lambda owner: None,
    ):
        self.encoder, self._write, self._release = encoder, write, release
        self.live = 0
        """Trajectories under way."""
        self._waiting: list[tuple[Request, Future[None]]] = []
        self._round: asyncio.Task[None] | None = None

    def submit(self, request: Request) -> "Future[None]":
        """Wait for the others; the future is done when the turns of all are whole."""
        whole: Future[None] = Future()
        self._waiting.append((request, whole))
        self._go_on()
        return whole

    def release(self, owner: object) -> None:
        """A trajectory has ended: nobody waits for it any more."""
        self._release(owner)
        self.live -= 1
        self._go_on()

    def _go_on(self) -> None:
        if self._waiting and len(self._waiting) == self.live:
            turns, self._waiting = self._waiting, []
            self._round = asyncio.get_running_loop().create_task(self._turn(turns))

    async def _turn(self, turns: list[tuple[Request, "Future[None]"]]) -> None:
        try:
            await self._write([request for request, _ in turns])
        except Exception as error:  # handed over to whoever waits for the turns
            for _, whole in turns:
                whole.set_exception(error)
            return
        for _, whole in turns:
            whole.set_result(None)


def on_engine(engine: Engine) -> LockStep:
    """Lock-step over our engine."""

    async def write(requests: list[Request]) -> None:
        await asyncio.gather(*[asyncio.wrap_future(engine.submit(request)) for request in requests])

    return LockStep(engine.encoder, write, engine.release)


class EnginePolicy:
    """A policy over an engine, or over what stands in for one."""

    def __init__(self, engine: Engine | LockStep, name: str):
        self.engine, self.name = engine, name
        self._pictures = Pictures(engine.encoder)

    def open(self, images: ImageStore, sampling: Sampling) -> TransformersConversation:
        """Start a conversation."""
        return TransformersConversation(self.engine, self._pictures, images, sampling)


class SlowTools(Tools):
    """Tools that answer after a while: each call of a session first waits for the next of its delays."""

    def __init__(self, tools: Tools, delays: Iterator[float]):
        super().__init__(tools.code, tools.text, tools.image, tools.k, tools.max_image_searches)
        self._delays = delays

    async def open(
        self, question_images: Sequence[Image.Image], store: ImageStore, cell_seconds: float
    ) -> "_SlowSession":
        """Start a session."""
        return _SlowSession(self, question_images, store, cell_seconds, self._delays)


class _SlowSession(ToolSession):
    def __init__(
        self,
        tools: Tools,
        question_images: Sequence[Image.Image],
        store: ImageStore,
        cell_seconds: float,
        delays: Iterator[float],
    ):
        super().__init__(tools, question_images, store, cell_seconds)
        self._delays = delays

    async def call(self, call: ToolCall) -> Observation:
        """Wait, then carry out the call."""
        await asyncio.sleep(next(self._delays))
        return await super().call(call)


def delays(median_seconds: float, seed: int) -> Iterator[float]:
    """Heavy-tailed times in seconds, without end: log-normal, p99 = 20 times the median."""
    random = np.random.default_rng(seed)
    while True:
        yield float(random.lognormal(math.log(median_seconds), TAIL))


def jobs(environment: Environment, settings: RlSettings, draws: range, images: ImageStore) -> list[Job]:
    """The trajectories of these draws, with questions and seeds as `Rollouts` gives them in step 0."""
    found = []
    for draw in draws:
        number = question_number(draw, len(environment.questions), settings.seed)
        question = environment.questions[number].open(images)
        found += [Job(question, rollout_seed(settings.seed, 0, draw, n)) for n in range(settings.rollouts)]
    return found


async def make(
    policy: Policy,
    environment: Environment,
    settings: RlSettings,
    job: Job,
    images: ImageStore,
    delay_seconds: float = 0.0,
) -> Trajectory:
    """One scored trajectory, as `Rollouts` makes it.

    Args:
        policy: Writes its turns.
        environment: What it happens in.
        settings: Of the run.
        job: Question and seed; its tools' delays follow from the seed, too.
        images: Holds the pictures.
        delay_seconds: Median time that a tool takes longer than it does.
    """
    tools = SlowTools(environment.tools, delays(delay_seconds, job.seed)) if delay_seconds else environment.tools
    sampling = Sampling(temperature=settings.temperature, seed=job.seed)
    agent = Agent(policy, tools, environment.profile, settings.limits, sampling)
    trajectory = await agent.run(job.question, images)
    return (await score(trajectory, settings.reward)).onto(trajectory)


async def in_lock_step(
    step: LockStep, run: Callable[[Job], Coroutine[Any, Any, Trajectory]], work: Sequence[Job], at_once: int
) -> list[Trajectory]:
    """Trajectories of the jobs, in batches of at most `at_once`, each batch in lock-step."""
    found: list[Trajectory] = []
    for begin in range(0, len(work), at_once):
        batch = work[begin : begin + at_once]
        step.live = len(batch)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(run(job)) for job in batch]
        found += [task.result() for task in running]
    return found


async def each_for_itself(
    run: Callable[[Job], Coroutine[Any, Any, Trajectory]], work: Sequence[Job], at_once: int
) -> list[Trajectory]:
    """Trajectories of the jobs, at most `at_once` under way; none waits for another."""
    gate = asyncio.Semaphore(at_once)

    async def gated(job: Job) -> Trajectory:
        async with gate:
            return await run(job)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(gated(job)) for job in work]
    return [task.result() for task in running]
