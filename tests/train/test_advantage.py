import asyncio
import math

import pytest

from foveal.reward.score import score
from foveal.reward.settings import RewardSettings
from foveal.train.advantage import GroupKind, group_advantages, group_kind, has_loss, is_informative
from foveal.trajectory import Question, StopReason, Trajectory, Turn


def _ended(stop_reason, **fields):
    question = Question(id="q", text="?")
    known = {"id": "t", "question": question, "policy": "p", "profile": "foveal", "reward": {"total": 0.0}}
    return Trajectory(**{**known, "stop_reason": stop_reason, **fields})


def test_advantages_by_hand():
    # Mean 0.5. Sum of squares 4 * 0.25 = 1 over n - 1 = 3: std = 0.57735. 0.5 / 0.57735 = 0.866025.
    assert group_advantages([1, 0, 0, 1]) == pytest.approx([0.866025, -0.866025, -0.866025, 0.866025], abs=1e-5)
    # Mean 0.4. Deviations 0.6, -0.4, -0.2: squares 0.36 + 0.16 + 0.04 = 0.56, over 2 is 0.28, std = 0.529150.
    assert group_advantages([1.0, 0.0, 0.2]) == pytest.approx([1.133893, -0.755929, -0.377964], abs=1e-5)


def test_an_advantage_is_finite_however_close_the_rewards():
    close = group_advantages([1.0, 1.0 + 2**-52])
    assert all(math.isfinite(one) and abs(one) < 1e-6 for one in close)


@pytest.mark.parametrize("rewards", [[0.1, 0.1, 0.1], [0.0] * 8, [1.0], [], [None, None], [0.7, None]])
def test_groups_without_differences_get_exactly_zero(rewards):
    assert group_advantages(rewards) == [0.0] * len(rewards)


def test_an_unscored_trajectory_is_no_part_of_the_comparison():
    assert group_advantages([1, None, 0]) == [*group_advantages([1, 0])[:1], 0.0, *group_advantages([1, 0])[1:]]


def test_kinds_of_groups_by_accuracy():
    rewards = [0.2, 0.0, 0.2, 0.0]  # a format reward that differs
    assert group_kind([1, 0, 0, 0], rewards) is GroupKind.INFORMATIVE
    assert group_kind([1, 1, 1, 1], rewards) is GroupKind.ALL_RIGHT
    assert group_kind([0, 0, 0, 0], rewards) is GroupKind.ALL_WRONG
    assert group_kind([0.5, 0.5, 0.5], rewards) is GroupKind.ALL_EQUAL
    assert group_kind([1, None, None, None], rewards) is GroupKind.UNSCORED
    assert group_kind([1, None, 0, None], rewards) is GroupKind.INFORMATIVE


def test_kinds_of_groups_by_reward():
    assert group_kind([0, 0], [0.2, 0.0], by="reward") is GroupKind.INFORMATIVE
    assert group_kind([0, 0], [0.2, 0.2], by="reward") is GroupKind.ALL_WRONG
    assert group_kind([1, 1], [1.0, 1.0], by="reward") is GroupKind.ALL_RIGHT
    assert group_kind([0, 0], [None, 0.2], by="reward") is GroupKind.UNSCORED


def test_is_informative():
    assert is_informative([0, 1])
    assert not is_informative([1, 1])
    assert not is_informative([1])


@pytest.mark.parametrize("reason", list(StopReason))
def test_what_a_limit_cut_has_no_loss_if_asked_and_an_error_of_the_policy_never_has(reason):
    cut = reason in ("max_turns", "max_tokens", "context_full", "wall_time")
    failed = reason == "policy_error"
    assert has_loss(_ended(reason), mask_cut=True, mask_malformed=False) is not (cut or failed)
    assert has_loss(_ended(reason), mask_cut=False, mask_malformed=False) is not failed


def test_an_unscored_trajectory_has_no_loss():
    assert not has_loss(_ended(StopReason.ANSWERED, reward={}), mask_cut=False, mask_malformed=False)


def test_what_broke_the_format_has_no_loss_if_asked():
    whole, broken = (
        _ended(StopReason.ANSWERED, turns=(Turn(text=f"{thought}\n<answer>7</answer>"),), answer="7")
        for thought in ("<think>It is 7.</think>", "<think>It is 7.")
    )
    assert has_loss(whole, mask_cut=False, mask_malformed=True)
    assert not has_loss(broken, mask_cut=False, mask_malformed=True)
    assert has_loss(broken, mask_cut=False, mask_malformed=False)


@pytest.mark.parametrize(("limit", "length"), [(1000, 500), (100, 250), (100, 99)])
def test_an_answer_has_a_loss_by_the_limit_that_its_reward_goes_by(limit, length):
    answer = "7" * length
    turns = (Turn(text=f"<think>It is that.</think><answer>{answer}</answer>"),)
    question = Question(id="q", text="?", gold=(answer,))
    ended = _ended(StopReason.ANSWERED, question=question, turns=turns, answer=answer)
    scored = asyncio.run(score(ended, RewardSettings(max_answer_chars=limit)))
    assert scored.reward["format"] == float(length < limit)
    assert has_loss(scored.onto(ended), mask_cut=False, mask_malformed=True) is (length < limit)
