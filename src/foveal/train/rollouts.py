"""Rollouts: questions in, groups of scored trajectories out, by the one agent.

Every trajectory is a coroutine with tools of its own: none waits for another's tool, and the policy writes the turns
of all that are ready together. Which questions a step asks, and every random number of a trajectory, follow from the
seed and from numbers that are counted; never from what happened to be finished first.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foveal.agent import Agent
from foveal.config import Sampling
from foveal.curate.questions import StoredQuestion
from foveal.errors import TrainingError, first_known
from foveal.policy.base import Policy
from foveal.reward.judge import Judge
from foveal.reward.score import score
from foveal.train.advantage import GroupKind, group_advantages, group_kind
from foveal.train.environment import Environment
from foveal.train.rl_settings import RlSettings
from foveal.trajectory import ImageStore, Question, StopReason, Trajectory


@dataclass(frozen=True, eq=False)
class Group:
    """The trajectories of one question, compared with one another."""

    draw: int
    """Counts the questions that the run has drawn."""
    kind: GroupKind
    trajectories: tuple[Trajectory, ...]
    """Scored, or unscored and saying why."""
    advantages: tuple[float, ...]
    """One for each trajectory."""


def question_number(draw: int, count: int, seed: int) -> int:
    """Which of `count` questions the draw is: every pass over the set is another permutation."""
    passed, place = divmod(draw, count)
    return int(np.random.default_rng([seed, passed]).permutation(count)[place])


def rollout_seed(seed: int, step: int, draw: int, rollout: int) -> int:
    """Seed of the sampling of one trajectory: another one for each, below 2**63."""
    digest = hashlib.sha256(f"{seed} {step} {draw} {rollout}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def compare(draw: int, trajectories: Sequence[Trajectory], settings: RlSettings) -> Group:
    """The group that scored trajectories of one question form.

    One that an error of the policy ended (out of memory, endpoint down) is no part of the comparison, whatever its
    reward: nobody knows what it would have come to, and the others did not do better than it.
    """
    known = [{} if one.stop_reason is StopReason.POLICY_ERROR else one.reward for one in trajectories]
    rewards = [reward.get("total") for reward in known]
    accuracies = [reward.get("accuracy") for reward in known]
    kind = group_kind(accuracies, rewards, settings.informative_by)
    advantages = group_advantages(rewards)
    noted = [
        trajectory.model_copy(
            update={
                "settings": {**trajectory.settings, "group": {"draw": draw, "kind": kind.value, "advantage": advantage}}
            }
        )
        for trajectory, advantage in zip(trajectories, advantages, strict=True)
    ]
    return Group(draw, kind, tuple(noted), tuple(advantages))


async def fill(wanted: int, most: int, sample: Callable[[int], Awaitable[Group]]) -> list[Group]:
    """Sample groups 0, 1, 2, … until `wanted` of them are informative, or `most` have been drawn.

    A group that is not informative is replaced as soon as it is known, while the others go on. All groups that were
    begun are finished, so as many are drawn as it takes in order, whichever was finished first.

    Returns:
        All of them in order, informative or not.
    """
    drawn: list[Group] = []
    begun = 0

    async def place() -> None:
        nonlocal begun
        while begun < most:
            number, begun = begun, begun + 1
            group = await sample(number)
            drawn.append(group)
            if group.kind is GroupKind.INFORMATIVE:
                return

    async with asyncio.TaskGroup() as tasks:
        for _ in range(wanted):
            tasks.create_task(place())
    return sorted(drawn, key=lambda group: group.draw)


class Rollouts:
    """Samples the groups of a step.

    Args:
        settings: Of the run.
        environment: What the trajectories happen in.
        policy: Writes the turns.
        judge: Asked for accuracy where the settings of the reward name one.
        process: Which of the processes this is.
        processes: How many share the questions: each draws every so manyeth one.
    """

    def __init__(
        self,
        settings: RlSettings,
        environment: Environment,
        policy: Policy,
        judge: Judge | None,
        process: int = 0,
        processes: int = 1,
    ):
        self.settings, self.environment, self.policy, self.judge = settings, environment, policy, judge
        self.process, self.processes = process, processes
        self._gate = asyncio.Semaphore(settings.concurrency)

    async def sample(self, step: int, first: int, images: ImageStore) -> list[Group]:
        """The groups of a step, in the order of their draws.

        Args:
            step: Number of the step.
            first: Draws that all earlier steps took.
            images: Takes the pictures of questions and tools.

        Raises:
            FovealError: Of a question or a tool, as it came; the other trajectories are given up.
            TrainingError: The policy failed in every single trajectory.
        """
        wanted = self.settings.prompts // self.processes
        most = wanted * self.settings.sampling_budget if self.settings.dynamic_sampling else wanted

        async def sample(number: int) -> Group:
            return await self._group(step, first + number * self.processes + self.process, images)

        try:
            groups = await fill(wanted, most, sample)
        except ExceptionGroup as group:
            known = first_known(group)
            if known is None:
                raise
            raise known from group
        trajectories = [trajectory for group in groups for trajectory in group.trajectories]
        if all(trajectory.stop_reason is StopReason.POLICY_ERROR for trajectory in trajectories):
            raise TrainingError(f"step {step}: every rollout failed, the first with: {trajectories[0].error}")
        return groups

    async def _group(self, step: int, draw: int, images: ImageStore) -> Group:
        stored = self._question(draw)
        question = await asyncio.to_thread(stored.open, images)
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._rollout(question, step, draw, rollout, images))
                for rollout in range(self.settings.rollouts)
            ]
        return compare(draw, [task.result() for task in running], self.settings)

    def _question(self, draw: int) -> StoredQuestion:
        questions = self.environment.questions
        return questions[question_number(draw, len(questions), self.settings.seed)]

    async def _rollout(self, question: Question, step: int, draw: int, rollout: int, images: ImageStore) -> Trajectory:
        settings = self.settings
        sampling = Sampling(temperature=settings.temperature, seed=rollout_seed(settings.seed, step, draw, rollout))
        agent = Agent(self.policy, self.environment.tools, self.environment.profile, settings.limits, sampling)
        async with self._gate:
            trajectory = await agent.run(question, images, trajectory_id=f"{step}-{draw}-{rollout}")
        scored = await score(trajectory, settings.reward, self.judge)
        return scored.onto(trajectory)
