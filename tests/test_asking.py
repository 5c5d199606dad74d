import asyncio
import contextlib
import dataclasses

import pytest
from PIL import Image

from foveal.asking import Attempt, ask_all, endpoint_failed, out_of_time
from foveal.config import Limits
from foveal.errors import PolicyError
from foveal.policy.paid import Ceiling, Ledger
from foveal.policy.scripted import ScriptedConversation, ScriptedPolicy
from foveal.records import RunWriter, read_run
from foveal.trajectory import CellResult, Observation, Question, StopReason, ToolCall, Trajectory, Turn

COUNT = 40


def answer(text):
    return f"<think>Well.</think><answer>{text}</answer>"


class Flaky:
    """Answers 1 to everything, and fails as often as told; notes seeds."""

    name = "flaky"

    def __init__(self, fails):
        self.fails, self.asked, self.seeds = fails, 0, []

    def open(self, images, sampling):
        policy = self
        self.seeds.append(sampling.seed)

        class Conversation(ScriptedConversation):
            async def generate(self, max_tokens, stop):
                policy.asked += 1
                if policy.fails(policy.asked):
                    raise PolicyError(f"down at {policy.asked}")
                return await super().generate(max_tokens, stop)

        return Conversation([answer("1")])


def attempts(count, samples):
    """Tries at questions `q0` ... whose gold is their number; all show the same picture."""

    def question(number):
        def opened(images):
            picture = images.put(Image.new("RGB", (40, 40), "red"))
            return Question(id=f"q{number}", text=f"What is {number}?", images=(picture,), gold=(str(number),))

        return opened

    return [Attempt(f"q{number}", try_, question(number)) for number in range(count) for try_ in range(samples)]


def test_every_attempt_is_answered_and_scored_with_a_seed_of_its_own(asked, tmp_path):
    policy, done = Flaky(lambda number: False), []
    with RunWriter(tmp_path / "run") as writer:
        progress = asyncio.run(ask_all(asked(policy), attempts(3, 4), writer, done.append))
    run = read_run(tmp_path / "run")
    assert {t.id for t in run.trajectories} == {f"q{q}/{n}" for q in range(3) for n in range(4)} and not run.problems
    assert (progress.made, progress.failed, progress.stopped) == (12, 0, None) and len(done) == 12
    assert len(set(policy.seeds)) == 12
    assert [t.reward["accuracy"] for t in run.trajectories] == [float(t.question.id == "q1") for t in run.trajectories]
    again = Flaky(lambda number: False)
    with RunWriter(tmp_path / "again") as writer:
        asyncio.run(ask_all(asked(again, concurrency=1), reversed(attempts(3, 4)), writer))
    assert set(again.seeds) == set(policy.seeds), "a seed follows from the attempt, not from the order"


def test_failures_cost_tries_never_rows(asked, tmp_path):
    policy = Flaky({3, 6, 7, 10, 11, 12}.__contains__)  # once, twice, and three times in a row
    with RunWriter(tmp_path, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy, concurrency=1), attempts(COUNT, 1), writer))
    run = read_run(tmp_path).trajectories
    assert progress.made + progress.failed == 40 and progress.made == len(run) == len({t.id for t in run})
    assert progress.failed == 1 and "down" in progress.error, "who fails three times is left for later"
    left = [one for one in attempts(COUNT, 1) if one.id not in {t.id for t in run}]
    with RunWriter(tmp_path, resume=True, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy), left, writer))
    assert (progress.made, progress.failed) == (1, 0)


def test_a_dead_endpoint_ends_the_step_and_says_why(asked, tmp_path):
    policy = Flaky(lambda number: True)
    with RunWriter(tmp_path, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy, concurrency=2), attempts(50, 1), writer))
    assert progress.made == 0 and progress.failed <= 8
    assert progress.stopped.startswith("6 attempts failed in a row, the last with: down at")


def test_at_the_ceiling_nothing_more_is_asked_and_nothing_counts_as_failed(asked, tmp_path):
    policy = Flaky(lambda number: False)

    def noted(trajectory):
        return (why := endpoint_failed(trajectory)) and f"endpoint: {why}"

    def session(calls):
        book = Ledger(tmp_path / "ledger.sqlite", {}, Ceiling(calls=calls))
        done = {t.id for t in read_run(tmp_path).trajectories} if (tmp_path / "trajectories.jsonl").exists() else set()
        left = [one for one in attempts(10, 1) if one.id not in done]
        with contextlib.closing(book) as ledger, RunWriter(tmp_path, resume=True, pictures=False) as writer:
            who = dataclasses.replace(asked(policy, ledger=ledger), failed=noted)
            return asyncio.run(ask_all(who, left, writer))

    first = session(4)
    assert (first.made, first.failed, policy.asked) == (4, 0, 4) and "4 of 4 calls" in first.stopped
    assert first.stopped.startswith("the ceiling is reached"), "whatever else is said of the attempt"
    second = session(10)
    assert (second.made, second.failed, second.stopped, policy.asked) == (6, 0, None, 10)


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_are_kept_on_request(asked, tmp_path, pictures):
    with RunWriter(tmp_path, pictures=pictures) as writer:
        asyncio.run(ask_all(asked(ScriptedPolicy([answer("1")])), attempts(2, 1), writer))
    assert len(list((tmp_path / "images").glob("*.png"))) == pictures
    assert len(read_run(tmp_path).trajectories) == 2


def test_an_endpoint_that_was_too_slow_is_asked_again_and_that_is_no_wrong_answer(asked, tmp_path):
    class Slow(Flaky):
        def open(self, images, sampling):
            conversation, first = super().open(images, sampling), len(self.seeds) == 1
            answer = conversation.generate

            async def generate(max_tokens, stop):
                if first:
                    await asyncio.sleep(60)
                return await answer(max_tokens, stop)

            conversation.generate = generate
            return conversation

    policy = Slow(lambda number: False)
    who = dataclasses.replace(asked(policy, concurrency=1), limits=Limits(wall_seconds=0.5))
    with RunWriter(tmp_path, pictures=False) as writer:
        progress = asyncio.run(ask_all(who, attempts(2, 1)[1:], writer))
    (only,) = read_run(tmp_path).trajectories
    assert (progress.made, progress.failed) == (1, 0) and only.reward["accuracy"] == 1 and len(policy.seeds) == 2


def code(seconds=None, waited=0.0):
    """A turn of one second with code that took so long; None for a cell that was still running."""
    cell = None if seconds is None else CellResult(status="ok", seconds=seconds)
    seen = cell and Observation(tool="code", cell=cell, seconds=seconds + waited)
    return Turn(text="x", call=ToolCall(tool="code"), observation=seen, seconds=1.0)


SEARCHED = Turn(text="x", call=ToolCall(tool="search"), seconds=1.0)


@pytest.mark.parametrize(
    ("turns", "measured"),
    [
        ((), False),
        ((code(2.0),), False),  # the other seven went into a reply that never came
        ((code(2.0), code(2.9), code()), True),
        ((code(),), True),
        ((code(8.0),), True),
        ((code(1.0, waited=7.0),), False),  # for the sandbox
        ((SEARCHED,), False),
    ],
)
def test_the_time_is_the_fault_of_the_model_only_if_its_code_took_it(turns, measured):
    fields = {"id": "t", "question": Question(id="q", text="?"), "policy": "p", "profile": "foveal", "seconds": 10.0}
    late = Trajectory(turns=turns, stop_reason=StopReason.WALL_TIME, **fields)
    assert (out_of_time(late) is None) == measured
    assert out_of_time(late.model_copy(update={"stop_reason": StopReason.ANSWERED})) is None
