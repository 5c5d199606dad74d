"""Cold-start data: the teachers' trajectories through the real agent loop and tools, of which only verified ones stay.

Verified: the final answer is right, every code cell ran without an error, every tool call gave a result.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from foveal.agent import Agent
from foveal.micro import world
from foveal.micro.questions import Item
from foveal.micro.settings import Teacher
from foveal.micro.teacher import turn
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter
from foveal.reward.accuracy import exact
from foveal.tools.session import Tools
from foveal.trajectory import Trajectory

CONCURRENCY = 8


def verified(trajectory: Trajectory) -> bool:
    """Whether a trajectory may be learned from."""
    observations = [t.observation for t in trajectory.turns if t.observation is not None]
    clean = all(o.error is None and o.hits != () and (o.cell is None or o.cell.status == "ok") for o in observations)
    return clean and exact(trajectory) == 1.0


async def synthesize(
    items: Iterable[tuple[str, Item]],
    tools: Tools,
    writer: RunWriter,
    teachers: Sequence[Teacher] = ("near",),
    on_done: Callable[[bool], None] = lambda kept: None,
) -> int:
    """Let teachers answer questions, each with its identifier; write the verified ones and return how many.

    Whose turn a question is hangs on its identifier alone.
    """
    gate = asyncio.Semaphore(CONCURRENCY)
    kept = 0

    async def one(identifier: str, item: Item) -> None:
        nonlocal kept
        teacher = random.Random(f"teacher of {identifier}").choice(teachers)
        policy = ScriptedPolicy(lambda messages: turn(item, messages, teacher), name=f"micro-teacher-{teacher}")
        agent = Agent(policy, tools, world.profile(tools=True), world.LIMITS)
        trajectory = await agent.run(item.question(identifier, writer.images), writer.images)
        good = verified(trajectory)
        if good:
            writer.write(trajectory.model_copy(update={"reward": {"accuracy": 1.0}}))
            kept += 1
        on_done(good)
        gate.release()

    async with asyncio.TaskGroup() as group:
        for identifier, item in items:
            await gate.acquire()
            group.create_task(one(identifier, item))
    return kept
