"""Asking a policy many questions of the micro world, and the figures of a run."""

import asyncio
from collections.abc import Callable, Sequence

from foveal.agent import Agent
from foveal.bench.operations import carried_out
from foveal.bench.statistics import wilson
from foveal.config import Sampling
from foveal.micro import world
from foveal.micro.questions import FAMILIES, Item
from foveal.policy.base import Policy
from foveal.records import RunWriter
from foveal.reward.accuracy import exact
from foveal.tools.session import Tools
from foveal.trajectory import Trajectory

CONCURRENCY = 24
"""Trajectories under way at once."""


async def ask_all(
    policy: Policy,
    items: Sequence[tuple[str, Item]],
    tools: Tools | None,
    writer: RunWriter,
    sampling: Sampling | None = None,
    on_done: Callable[[Trajectory], None] = lambda trajectory: None,
    concurrency: int = CONCURRENCY,
) -> list[Trajectory]:
    """Answer every item, score it by exact match, write it to the run; in the order of `items`.

    `sampling` is that of the first item; every further one has the next seed, or all would draw the same numbers.
    """
    profile, drawn = world.profile(tools is not None), sampling or Sampling()
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int, identifier: str, item: Item) -> Trajectory:
        own = drawn.model_copy(update={"seed": drawn.seed + number})
        agent = Agent(policy, tools, profile, world.LIMITS, own)
        async with gate:
            question = item.question(identifier, writer.images)
            trajectory = await agent.run(question, writer.images)
            scored = trajectory.model_copy(update={"reward": {"accuracy": exact(trajectory)}})
            writer.write(scored)
            on_done(scored)
            return scored

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, *item)) for number, item in enumerate(items)]
    return [task.result() for task in tasks]


def figures(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Flat figures of a run.

    `n, accuracy, low, high`: share of right answers with its 95 % Wilson interval; `call_rate`: share of questions
    with a tool call that was carried out; `family.<name>.n` and so on: the same by family; `code_error_rate`: share of
    code cells that raised, timed out or died (0 without cells); `calls_per_question`: tool calls of all kinds that
    were carried out; `answered`: share of questions that got an answer at all; `seconds_per_question`: wall time of a
    trajectory, with others under way.
    """
    out = _share("", trajectories)
    for family in FAMILIES:
        if asked := [t for t in trajectories if t.question.family == family]:
            out |= _share(f"family.{family}.", asked)
    turns = [turn for trajectory in trajectories for turn in trajectory.turns]
    cells = [t.observation.cell for t in turns if t.observation is not None and t.observation.cell is not None]
    failed = sum(cell.status != "ok" for cell in cells)
    out["code_error_rate"] = failed / len(cells) if cells else 0.0
    count = max(len(trajectories), 1)
    out["calls_per_question"] = sum(len(list(carried_out(trajectory))) for trajectory in trajectories) / count
    out["answered"] = sum(trajectory.answer is not None for trajectory in trajectories) / count
    out["seconds_per_question"] = sum(trajectory.seconds for trajectory in trajectories) / count
    return out


def _share(prefix: str, trajectories: Sequence[Trajectory]) -> dict[str, float]:
    share = wilson(sum(t.reward["accuracy"] for t in trajectories), len(trajectories))
    named = {"n": share.n, "accuracy": share.value, "low": share.low, "high": share.high}
    with_call = sum(any(carried_out(trajectory)) for trajectory in trajectories)
    named["call_rate"] = with_call / max(len(trajectories), 1)
    return {prefix + name: value for name, value in named.items()}
