import asyncio
import random
from types import SimpleNamespace

import pytest

from foveal.curate.questions import read_questions
from foveal.errors import InputError, PolicyError, TrainingError
from foveal.policy.scripted import ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.tools.session import Tools
from foveal.train.advantage import GroupKind
from foveal.train.environment import Environment
from foveal.train.metrics import summarize
from foveal.train.rollouts import Group, Rollouts, compare, fill, question_number, rollout_seed
from foveal.trajectory import ImageStore, StopReason

SEARCH = '<think>a</think><tool_call>{"name": "search", "arguments": {"query": "%s"}}</tool_call>'


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("most", [9, 40])
def test_the_groups_of_a_step_do_not_depend_on_which_was_finished_first(seed, most):
    informative = {2, 5, 6, 11, 12, 13, 20}
    delays = random.Random(seed)

    async def sample(number):
        await asyncio.sleep(delays.random() / 200)
        kind = GroupKind.INFORMATIVE if number in informative else GroupKind.ALL_RIGHT
        return Group(number, kind, (), ())

    groups = asyncio.run(fill(5, most, sample))
    # Five informative groups are complete with number 12; or the budget ends it at number 8.
    assert [group.draw for group in groups] == list(range(min(13, most)))


def test_a_replaced_group_waits_for_no_other():
    events = []

    async def sample(number):
        events.append(number)
        while number == 0 and -3 not in events:
            await asyncio.sleep(0)
        events.append(-number)
        return Group(number, GroupKind.INFORMATIVE if number in (0, 3) else GroupKind.ALL_WRONG, (), ())

    asyncio.run(asyncio.wait_for(fill(2, 10, sample), 60))
    assert events == [0, 1, -1, 2, -2, 3, -3, 0]


def test_every_pass_over_the_questions_asks_each_once_in_another_order():
    passes = [[question_number(draw, 7, 3) for draw in range(7 * n, 7 * n + 7)] for n in range(3)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != [question_number(draw, 7, 4) for draw in range(7)]


def test_every_rollout_has_a_seed_of_its_own():
    seeds = {
        rollout_seed(*numbers)
        for numbers in [(a, b, c, d) for a in (0, 1) for b in (1, 12) for c in (2, 3) for d in range(9)]
    }
    assert len(seeds) == 2 * 2 * 2 * 9
    assert rollout_seed(0, 1, 2, 3) == rollout_seed(0, 1, 2, 3)
    assert rollout_seed(0, 11, 2, 3) != rollout_seed(0, 1, 12, 3)


class _Recorder:
    """A policy that writes down with which sampling it was opened, and takes its turns from a function."""

    def __init__(self, turns):
        self.name, self.samplings, self._turns = "recorder", [], turns

    def open(self, images, sampling):
        self.samplings.append(sampling)
        return ScriptedPolicy(self._turns(len(self.samplings) - 1)).open(images, sampling)


def _rollouts(settings, policy, text=None, **others):
    environment = Environment(read_questions(settings.questions), FOVEAL, Tools(text=text), None)
    return Rollouts(settings, environment, policy, None, **others)


def _answer(text):
    return [f"<think>a</think><answer>{text}</answer>"]


def test_rollouts_are_compared_with_those_of_their_question(rl_settings):
    policy = _Recorder(lambda number: _answer("red" if number % 4 == 0 else "blue"))
    settings = rl_settings()
    groups = asyncio.run(_rollouts(settings, policy).sample(1, 0, ImageStore()))
    assert [group.kind for group in groups] == [GroupKind.INFORMATIVE] * 2
    assert {s.temperature for s in policy.samplings} == {1.0}
    assert len({s.seed for s in policy.samplings}) == 8
    for group in groups:
        rewards = [trajectory.reward["total"] for trajectory in group.trajectories]
        assert sorted(rewards) == [1.0, 1.0, 1.0, 2.0]
        # Mean 1.25, sample deviation 0.5.
        assert sorted(group.advantages) == pytest.approx([-0.5, -0.5, -0.5, 1.5], abs=1e-5)
        noted = [trajectory.settings["group"]["advantage"] for trajectory in group.trajectories]
        assert noted == list(group.advantages)
        assert len({trajectory.question.id for trajectory in group.trajectories}) == 1


def test_groups_with_nothing_to_compare_are_replaced_within_the_budget(rl_settings):
    def right(number):
        return _answer("red" if number >= 12 and number % 4 == 0 else "blue")

    settings = rl_settings(concurrency=1)
    for budget, kinds in {
        1: ["all_wrong"] * 2,
        2: ["all_wrong"] * 3 + ["informative"],
        9: ["all_wrong"] * 3 + ["informative"] * 2,
    }.items():
        chosen = settings.model_copy(update={"sampling_budget": budget})
        groups = asyncio.run(_rollouts(chosen, _Recorder(right)).sample(1, 0, ImageStore()))
        assert [group.kind.value for group in groups] == kinds
    fixed = settings.model_copy(update={"dynamic_sampling": False})
    groups = asyncio.run(_rollouts(fixed, _Recorder(right)).sample(1, 0, ImageStore()))
    assert [group.kind.value for group in groups] == ["all_wrong"] * 2


def test_processes_draw_different_questions_and_all_of_them(rl_settings):
    settings = rl_settings(prompts=4, dynamic_sampling=False)

    def asked(process, processes):
        policy = _Recorder(lambda number: _answer("red"))
        rollouts = _rollouts(settings, policy, process=process, processes=processes)
        return [
            (group.draw, group.trajectories[0].question.id)
            for group in asyncio.run(rollouts.sample(1, 8, ImageStore()))
        ]

    alone, first, second = asked(0, 1), asked(0, 2), asked(1, 2)
    assert sorted(first + second) == alone
    assert [draw for draw, _ in alone] == [8, 9, 10, 11]


def test_no_trajectory_waits_for_the_tool_of_another(rl_settings):
    ends = []

    class Search:
        name = "slow"

        async def search(self, query, k):
            while query == "slow" and len(ends) < 7:
                await asyncio.sleep(0.001)
            return []

    def turns(number):
        def write(messages):
            if not any(message.role == "assistant" for message in messages):
                return SEARCH % ("slow" if number == 0 else "quick")
            ends.append(number)
            return _answer("red")[0]

        return write

    settings = rl_settings(prompts=2, rollouts=4, dynamic_sampling=False)
    sampling = _rollouts(settings, _Recorder(turns), Search()).sample(1, 0, ImageStore())
    asyncio.run(asyncio.wait_for(sampling, 60))
    assert sorted(ends) == list(range(8)) and ends[-1] == 0


def test_a_policy_that_fails_is_data_unless_it_always_fails(rl_settings):
    settings = rl_settings(prompts=1, dynamic_sampling=False)
    groups = asyncio.run(
        _rollouts(settings, _Recorder(lambda number: [] if number == 2 else _answer("red"))).sample(1, 0, ImageStore())
    )
    reasons = [trajectory.stop_reason for trajectory in groups[0].trajectories]
    assert reasons.count(StopReason.POLICY_ERROR) == 1
    with pytest.raises(TrainingError, match="every rollout failed, the first with: the script ended"):
        asyncio.run(_rollouts(settings, _Recorder(lambda number: [])).sample(1, 0, ImageStore()))


def test_a_picture_that_cannot_be_read_is_told_as_it_is(rl_settings, tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    line = '{"id": "a", "text": "?", "images": ["0.png"], "gold": "red"}\n'
    (tmp_path / "q.jsonl").write_text(line, encoding="utf-8")
    settings = rl_settings(prompts=2, questions=tmp_path / "q.jsonl", dynamic_sampling=False)
    with pytest.raises(InputError, match=r"0\.png"):
        asyncio.run(_rollouts(settings, _Recorder(lambda number: _answer("red"))).sample(1, 0, ImageStore()))


def test_a_failure_of_the_policy_says_nothing_about_the_answers_beside_it(rl_settings):
    answers = {0: _answer("red"), 1: _answer("red"), 2: _answer("red"), 3: []}
    for informative_by in ("accuracy", "reward"):
        settings = rl_settings(prompts=1, dynamic_sampling=False, informative_by=informative_by)
        (right,) = asyncio.run(_rollouts(settings, _Recorder(answers.__getitem__)).sample(1, 0, ImageStore()))
        assert [one.stop_reason for one in right.trajectories].count(StopReason.POLICY_ERROR) == 1
        assert (right.kind, right.advantages) == (GroupKind.ALL_RIGHT, (0.0,) * 4)
        assert summarize([right], {}, settings)["rollouts/failed"] == 1
    (mixed,) = asyncio.run(
        _rollouts(settings, _Recorder({**answers, 1: _answer("blue")}.__getitem__)).sample(1, 0, ImageStore())
    )
    assert mixed.kind is GroupKind.INFORMATIVE
    # Rewards 2, 2, 1: mean 5/3, sample deviation 0.57735.
    assert sorted(mixed.advantages) == pytest.approx([-1.1547, 0.0, 0.57735, 0.57735], abs=1e-4)
    (failed,) = (one for one in mixed.trajectories if one.stop_reason is StopReason.POLICY_ERROR)
    assert failed.settings["group"]["advantage"] == 0.0
    assert failed.reward["total"] == 0.0  # as it was scored


def test_a_group_is_informative_by_what_the_settings_say(rl_settings, written):
    members = [
        written(number).model_copy(update={"reward": {"accuracy": 1.0, "total": total}})
        for number, total in enumerate((2.0, 1.0))
    ]
    for informative_by, kind in {"accuracy": GroupKind.ALL_RIGHT, "reward": GroupKind.INFORMATIVE}.items():
        assert compare(0, members, rl_settings(informative_by=informative_by)).kind is kind


def test_no_more_trajectories_are_under_way_than_allowed(rl_settings):
    state = SimpleNamespace(now=0, most=0)

    class Conversation:
        num_tokens = 0

        def __init__(self):
            state.now += 1
            state.most = max(state.most, state.now)

        def cost(self, message):
            return 0

        async def append(self, message):
            await asyncio.sleep(0.001)

        async def generate(self, max_tokens, stop):
            await asyncio.sleep(0.001)
            raise PolicyError("no words")

        def tokens(self):
            return None

        async def close(self):
            state.now -= 1

    policy = SimpleNamespace(name="p", open=lambda images, sampling: Conversation())
    with pytest.raises(TrainingError):
        asyncio.run(_rollouts(rl_settings(concurrency=3), policy).sample(1, 0, ImageStore()))
    assert state.most == 3
