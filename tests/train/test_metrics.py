import pytest

from foveal.train.metrics import summarize
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import compare
from foveal.trajectory import StopReason, ToolCall

SETTINGS = RlSettings(model="m", questions="q.jsonl")


@pytest.fixture
def group(written):
    """A group of trajectories: total and accuracy (None if unscored), stop reason, whether it called a tool."""

    def make(draw, family, *members):
        made = []
        for number, (reward, reason, calls) in enumerate(members):
            one = written(draw, with_pictures=False)
            known = {} if reward is None else {"accuracy": min(reward, 1.0), "total": reward}
            turns = (
                [one.turns[0].model_copy(update={"call": ToolCall(tool="search")}), one.turns[1]]
                if calls
                else one.turns
            )
            question = one.question.model_copy(update={"family": family})
            update = {"id": f"{draw}-{number}", "reward": known, "stop_reason": reason, "turns": tuple(turns)}
            made.append(one.model_copy(update={**update, "question": question}))
        return compare(draw, made, SETTINGS)

    return make


def test_figures_of_a_step_by_hand(group):
    answered, cut, failed = StopReason.ANSWERED, StopReason.MAX_TURNS, StopReason.POLICY_ERROR
    groups = [
        group(0, "direct", (2.0, answered, False), (0.0, answered, True), (0.0, cut, True), (0.0, failed, False)),
        group(1, "search", (2.0, answered, True), (2.0, answered, True)),
        group(2, "search", (None, answered, False), (0.0, answered, False)),
    ]
    figures = summarize(groups, {"entropy": 0.5}, SETTINGS)
    wanted = {
        "groups/drawn": 3,
        "groups/informative": 1,
        "groups/all_right": 1,
        "groups/all_wrong": 0,
        "groups/unscored": 1,
        "rollouts/sampled": 8,
        "rollouts/trained": 2,
        "rollouts/masked": 1,
        "rollouts/unscored": 1,
        "rollouts/failed": 1,
        "reward/total": 6 / 6,
        "reward/accuracy": 3 / 6,
        "family/direct/accuracy": 1 / 3,
        "family/search/accuracy": 2 / 3,
        "family/direct/calls": 2 / 3,
        "family/search/calls": 1 / 2,
        "stop/answered": 6 / 8,
        "stop/policy_error": 1 / 8,
        "calls/rate": 4 / 7,
        "policy/entropy": 0.5,
    }
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted)
    assert figures["length/cut"] == 1 / 7, "what the policy failed in is no behaviour of the model"
    loose = summarize(groups, {}, SETTINGS.model_copy(update={"dynamic_sampling": False, "mask_cut": False}))
    assert (loose["rollouts/trained"], loose["rollouts/masked"]) == (6, 0)
