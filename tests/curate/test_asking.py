import asyncio
import random

import pytest

from foveal.curate.asking import Attempt, ask_all, passes
from foveal.errors import PolicyError
from foveal.policy.paid import Ceiling, Ledger
from foveal.policy.scripted import ScriptedConversation, ScriptedPolicy
from foveal.records import RunWriter, read_run


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


def attempts(folder, samples):
    return [Attempt(question, number) for question in folder.questions() for number in range(samples)]


def test_every_attempt_is_answered_and_scored_with_a_seed_of_its_own(curation, asked, tmp_path):
    policy, done = Flaky(lambda number: False), []
    with RunWriter(tmp_path / "run") as writer:
        progress = asyncio.run(ask_all(asked(policy), attempts(curation(3), 4), writer, done.append))
    run = read_run(tmp_path / "run")
    assert {t.id for t in run.trajectories} == {f"q{q}/{n}" for q in range(3) for n in range(4)} and not run.problems
    assert (progress.made, progress.failed, progress.stopped) == (12, 0, None) and len(done) == 12
    assert len(set(policy.seeds)) == 12
    assert [t.reward["accuracy"] for t in run.trajectories] == [float(t.question.id == "q1") for t in run.trajectories]
    again = Flaky(lambda number: False)
    with RunWriter(tmp_path / "again") as writer:
        asyncio.run(ask_all(asked(again, concurrency=1), reversed(attempts(curation(3, "two"), 4)), writer))
    assert set(again.seeds) == set(policy.seeds), "a seed follows from the attempt, not from the order"


def test_failures_cost_tries_never_rows(curation, asked, tmp_path):
    rng = random.Random(0)
    policy = Flaky(lambda number: rng.random() < 0.3)
    folder = curation(40)
    with RunWriter(tmp_path, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy, concurrency=4), attempts(folder, 1), writer))
    run = read_run(tmp_path).trajectories
    assert progress.made + progress.failed == 40 and progress.made == len(run) == len({t.id for t in run})
    assert progress.failed == 1 and "down" in progress.error, "0.3 ** 3 of them failed three times"
    left = [one for one in attempts(folder, 1) if one.id not in {t.id for t in run}]
    with RunWriter(tmp_path, resume=True, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy), left, writer))
    assert (progress.made, progress.failed) == (1, 0)


def test_a_dead_endpoint_ends_the_step_and_says_why(curation, asked, tmp_path):
    policy = Flaky(lambda number: True)
    with RunWriter(tmp_path, pictures=False) as writer:
        progress = asyncio.run(ask_all(asked(policy, concurrency=2), attempts(curation(50), 1), writer))
    assert progress.made == 0 and progress.failed <= 8
    assert progress.stopped.startswith("6 attempts failed in a row, the last with: down at")


def test_at_the_ceiling_nothing_more_is_asked_and_nothing_counts_as_failed(curation, asked, tmp_path):
    policy, folder = Flaky(lambda number: False), curation(10)

    def session(calls):
        ledger = Ledger(tmp_path / "ledger.sqlite", {}, Ceiling(calls=calls))
        done = {t.id for t in read_run(tmp_path).trajectories} if (tmp_path / "trajectories.jsonl").exists() else set()
        left = [one for one in attempts(folder, 1) if one.id not in done]
        with RunWriter(tmp_path, resume=True, pictures=False) as writer:
            return asyncio.run(ask_all(asked(policy, ledger=ledger), left, writer))

    first = session(4)
    assert (first.made, first.failed, policy.asked) == (4, 0, 4) and "4 of 4 calls" in first.stopped
    second = session(10)
    assert (second.made, second.failed, second.stopped, policy.asked) == (6, 0, None, 10)


def test_counts_by_question(curation, asked, tmp_path):
    with RunWriter(tmp_path) as writer:
        asyncio.run(ask_all(asked(ScriptedPolicy([answer("1")])), attempts(curation(2), 3), writer))
    run = list(read_run(tmp_path).trajectories)
    run[0] = run[0].model_copy(update={"reward": {}, "unscored": "judge down"})
    found = passes(run)
    name = run[0].question.id
    other = "q1" if name == "q0" else "q0"
    assert (found[name].samples, found[name].unscored) == (2, 1) and (found[other].samples, found[other].unscored) == (
        3,
        0,
    )
    assert (found["q1"].right, found["q0"].right) == (found["q1"].samples, 0)
    assert found["q1"].rate == 1.0 and found["q0"].rate == 0.0


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_are_kept_on_request(curation, asked, tmp_path, pictures):
    with RunWriter(tmp_path, pictures=pictures) as writer:
        asyncio.run(ask_all(asked(ScriptedPolicy([answer("1")])), attempts(curation(2), 1), writer))
    assert len(list((tmp_path / "images").glob("*.png"))) == pictures
    assert len(read_run(tmp_path).trajectories) == 2
