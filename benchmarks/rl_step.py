"""Measures an RL step and its parts against what they replace, in turns, in one run.

    python benchmarks/rl_step.py [--quick] [--rounds ROUNDS] [--json FILE]

Everything is that of `recipes/micro/rl.toml`: the shipped micro model, 16 prompts x 8 rollouts, training questions of
the micro world, its real tools (code sandbox, text and image search), limits, reward, temperature 1; float32 on the
CPU. Dynamic sampling is off, so that every step makes as many trajectories. Every comparison begins with a small round
that warms up, then its sides take turns; figures are medians over rounds.

* `vs_trl`: one RL step, ours against a subclass of TRL's `GRPOTrainer` whose rollouts sample one sequence at a time
  (`trl_step.py`): trajectories per second, rollouts and optimizer step together. Same questions, agent, tools, reward.
* `vs_trl_batched`: the same, but the subclass calls `model.generate` for all trajectories together, turn by turn in
  lock-step, in batches of as many rows as our engine has slots.
* `vs_lockstep`: rollouts alone, tools slowed by heavy-tailed times: log-normal, median 0.5 s, p99 10 s (20 times the
  median), as a web search takes; the median is about the time in which the engine writes a turn of everyone. Both
  sides use our engine, the same questions, seeds and delays; 64 of the 128 trajectories may be under way at once (the
  default of `foveal rl`), and the engine has a slot for each. Async: as the agent runs them, a trajectory that ends
  makes room for the next. Lock-step (`lock_step.py`): two batches of 64 trajectories that write a turn each, then run
  all tools at once, and go on when the slowest has answered.
* `vs_lockstep_together`: the same with all 128 under way at once on both sides. Then no room is ever refilled, and
  the async side cannot end before its slowest trajectory: the ratio is lower.
* `decode_vs_generate`: the engine against `model.generate`, without tools (`decode.py`).

The slow tools are slow in the quick form, too: with fewer trajectories nothing is measured but the slowest call.

Keys of the JSON file: the five ratios (above 1: ours is faster), and for each side `SIDE_per_second` (trajectories),
`SIDE_seconds`, `SIDE_rollout_seconds` and `SIDE_learning_seconds` (of RL steps), `SIDE_tokens` (written in all measured
rounds); `trajectories` (of an RL step), `slow_trajectories` (with slow tools), `rounds`, `seed`, `slots` (of RL
steps), `slow_slots`, `threads`, `tool_median_seconds`, `tool_p99_seconds`; the figures of `decode.py`, its tokens as
`decode_tokens`.
"""

import argparse
import asyncio
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator

import decode
from foveal.config import read_settings
from foveal.micro import checkpoint_folder
from foveal.micro.questionset import write_world
from foveal.policy.encoding import ChatEncoder
from foveal.policy.engine import Engine
from foveal.policy.transformers import TransformersPolicy, load_model
from foveal.train.batch import load, shares
from foveal.train.environment import Environment, open_environment
from foveal.train.learner import Learner
from foveal.train.pictures import encode
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Rollouts
from foveal.trajectory import ImageStore, Trajectory
from lock_step import EnginePolicy, Job, each_for_itself, in_lock_step, jobs, make, on_engine
from trl_step import Step, TrlSide

RECIPE = Path(__file__).parents[1] / "recipes/micro/rl.toml"
PROMPTS = 16
"""Of a step, as in the recipe."""
WARM_UP = 2
"""Prompts of the step that warms up."""
UNDER_WAY = 64
"""Trajectories under way at once where tools are slow: the default of `foveal rl`."""
TOOL_MEDIAN = 0.5
"""Seconds; p99 is 20 times that."""


class OurSide:
    """The steps of `foveal rl`, without checkpoints and logs.

    Args:
        settings: Of the run.
        environment: What the rollouts happen in.
        runner: Runs what is async, in the event loop of the sandbox.
    """

    def __init__(self, settings: RlSettings, environment: Environment, runner: asyncio.Runner):
        self.settings, self.environment, self.runner = settings, environment, runner
        self.encoder = ChatEncoder.load(settings.model)
        self.model = load_model(settings.model, "cpu", "float32")
        self.learner = Learner(settings, Accelerator(cpu=True), self.model, self.encoder)
        self.policy = TransformersPolicy.from_model(self.model, self.encoder, "engine", settings.max_batch)

    def step(self, number: int, draws: range) -> Step:
        """Sample, score and learn: one optimizer step on `settings.rollouts` trajectories of each draw."""
        settings, images = self.settings.model_copy(update={"prompts": len(draws)}), ImageStore()
        rollouts = Rollouts(settings, self.environment, self.policy, None)
        began = time.perf_counter()
        groups = self.runner.run(rollouts.sample(number, draws.start, images))
        sampled = time.perf_counter()
        parts = shares(groups, self.encoder, settings)
        pictures = ((ref, images) for part in parts for one in part for ref in one.plan.refs)
        features = encode(self.model, self.encoder, pictures)
        learned = self.learner.learn([[load(one, self.encoder, features) for one in part] for part in parts])
        ended = time.perf_counter()
        assert learned.updates == 1
        return Step([one for group in groups for one in group.trajectories], sampled - began, ended - began)


class Sides:
    """The measured steps of the sides of a comparison."""

    def __init__(self, **sides: Callable[[int], Step]):
        self.sides = sides
        self.steps: dict[str, list[Step]] = {name: [] for name in sides}

    def measure(self, rounds: int) -> None:
        """Let the sides take turns; the steps of round 0 warm up and are forgotten."""
        for number in range(rounds + 1):
            for name, side in self.sides.items():
                step = side(number)
                if number:
                    self.steps[name].append(step)
                rewards = [one.reward["total"] for one in step.trajectories]
                print(
                    f"{f'round {number}/{rounds}' if number else 'warm-up':10} {name:18} "
                    f"{len(rewards):4} trajectories in {step.seconds:7.2f} s ({step.rollout_seconds:.2f} s rollouts), "
                    f"{step.tokens} tokens, mean reward {sum(rewards) / len(rewards):.2f}",
                    flush=True,
                )

    def speed(self, name: str) -> float:
        """Median of trajectories per second."""
        return median(step.speed for step in self.steps[name])

    def figures(self) -> Iterator[tuple[str, float]]:
        """What is known of every side."""
        for name, steps in self.steps.items():
            yield f"{name}_per_second", self.speed(name)
            yield f"{name}_seconds", median(step.seconds for step in steps)
            if any(step.seconds > step.rollout_seconds for step in steps):
                yield f"{name}_rollout_seconds", median(step.rollout_seconds for step in steps)
                yield f"{name}_learning_seconds", median(step.seconds - step.rollout_seconds for step in steps)
            yield f"{name}_tokens", sum(step.tokens for step in steps)


def draws(settings: RlSettings, number: int) -> range:
    """The questions of a round: the same for every side."""
    first = number * settings.prompts
    return range(first, first + (settings.prompts if number else WARM_UP))


def rl_steps(settings: RlSettings, environment: Environment, runner: asyncio.Runner, rounds: int) -> Sides:
    """RL steps of ours and of TRL's, one sequence at a time and batched."""
    ours = OurSide(settings, environment, runner)
    theirs = TrlSide(load_model(settings.model, "cpu", "float32"), ours.encoder, settings, environment, runner)

    def trl(number: int, rows: int, at_once: int) -> Step:
        images = ImageStore()
        return theirs.step(jobs(environment, settings, draws(settings, number), images), images, rows, at_once, number)

    everyone = settings.prompts * settings.rollouts
    sides = Sides(
        ours=lambda number: ours.step(number, draws(settings, number)),
        trl_batched=lambda number: trl(number, settings.max_batch, everyone),
        trl=lambda number: trl(number, 1, 1),
    )
    sides.measure(rounds)
    return sides


def slow_rollouts(settings: RlSettings, environment: Environment, runner: asyncio.Runner, rounds: int) -> Sides:
    """Rollouts with slow tools, async and in lock-step."""
    encoder = ChatEncoder.load(settings.model)
    model = load_model(settings.model, "cpu", "float32")
    everyone = settings.prompts * settings.rollouts

    def side(lock_step: bool, at_once: int) -> Callable[[int], Step]:
        engine = Engine(model, encoder, slots=at_once)
        stepping = on_engine(engine)
        policy = EnginePolicy(stepping if lock_step else engine, "engine")

        def step(number: int) -> Step:
            images = ImageStore()
            work = jobs(environment, settings, draws(settings, number), images)
            median_seconds = TOOL_MEDIAN if number else TOOL_MEDIAN / 10

            def run(job: Job) -> Coroutine[Any, Any, Trajectory]:
                return make(policy, environment, settings, job, images, median_seconds)

            began = time.perf_counter()
            rolling = in_lock_step(stepping, run, work, at_once) if lock_step else each_for_itself(run, work, at_once)
            trajectories = runner.run(rolling)
            seconds = time.perf_counter() - began
            return Step(trajectories, seconds, seconds)

        return step

    sides = Sides(
        async_rollouts=side(False, UNDER_WAY),
        lockstep=side(True, UNDER_WAY),
        async_together=side(False, everyone),
        lockstep_together=side(True, everyone),
    )
    sides.measure(rounds)
    return sides


@contextmanager
def world(runner: asyncio.Runner, rounds: int) -> Iterator[tuple[RlSettings, Environment]]:
    """The recipe's settings in a world that is written for it, with tools for all trajectories of a step at once."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        questions = write_world(here, "train", PROMPTS * (rounds + 1), seed=2)
        settings = read_settings(
            RlSettings,
            RECIPE,
            {
                "model": str(checkpoint_folder("sft")),
                "questions": str(questions),
                "system-prompt": str(here / "system.txt"),
                "user-suffix": str(here / "suffix.txt"),
                "tools.search": str(here / "index"),
                "dynamic-sampling": "false",
                "updates": "1",
                "limits.wall-seconds": "3600",  # nothing is to be cut by time, however slow the side
            },
        )
        environment = open_environment(settings.model_copy(update={"concurrency": PROMPTS * settings.rollouts}))
        try:
            yield settings, environment
        finally:
            runner.run(environment.sandbox.aclose())


def measure(prompts: int, rounds: int, conversations: int) -> dict[str, float]:
    """The figures of the JSON file; `prompts` are those of an RL step, `conversations` those of `decode.py`."""
    with asyncio.Runner() as runner, world(runner, rounds) as (settings, environment):
        runner.run(environment.sandbox.probe())
        steps = rl_steps(settings.model_copy(update={"prompts": prompts}), environment, runner, rounds)
        slow = slow_rollouts(settings, environment, runner, rounds)
    decoded = decode.measure(conversations, 16, rounds)
    decoded["decode_tokens"] = decoded.pop("tokens")
    return {
        "vs_trl": steps.speed("ours") / steps.speed("trl"),
        "vs_trl_batched": steps.speed("ours") / steps.speed("trl_batched"),
        "vs_lockstep": slow.speed("async_rollouts") / slow.speed("lockstep"),
        "vs_lockstep_together": slow.speed("async_together") / slow.speed("lockstep_together"),
        **decoded,
        **dict(steps.figures()),
        **dict(slow.figures()),
        "trajectories": prompts * settings.rollouts,
        "slow_trajectories": settings.prompts * settings.rollouts,
        "rounds": rounds,
        "seed": settings.seed,
        "slots": settings.max_batch,
        "slow_slots": UNDER_WAY,
        "threads": torch.get_num_threads(),
        "tool_median_seconds": TOOL_MEDIAN,
        "tool_p99_seconds": 20 * TOOL_MEDIAN,
    }


def main() -> None:
    """Read the flags, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="RL steps of 4 prompts, 12 conversations, 1 round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)  # TRL sets names that transformers has renamed
    figures = measure(4, 1, 12) if arguments.quick else measure(PROMPTS, arguments.rounds, 48)
    for name, value in figures.items():
        print(f"{name:30} {value:10.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
