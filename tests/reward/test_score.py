import asyncio

import pytest

from foveal.errors import ConfigError
from foveal.policy.scripted import ScriptedPolicy
from foveal.reward.judge import Judge
from foveal.reward.score import NO_COUNT, NO_GOLD, Scored, check_settings, score
from foveal.reward.settings import RewardSettings
from foveal.trajectory import Trajectory, Turn

ANSWER = Turn(text="<think>so</think><answer>4</answer>", completion_tokens=150)


def scored(trajectory: Trajectory, settings: RewardSettings | None = None, judge: Judge | None = None) -> Scored:
    return asyncio.run(score(trajectory, settings or RewardSettings(), judge))


def test_the_sum_of_the_paper(trajectory):
    assert scored(trajectory("4", "4")).reward == {"accuracy": 1.0, "format": 1.0, "total": 2.0}
    assert scored(trajectory("5", "4")).reward == {"accuracy": 0.0, "format": 1.0, "total": 1.0}
    ill_formed = trajectory("4", "4", turns=[Turn(text="<answer>4</answer>")])
    assert scored(ill_formed).reward == {"accuracy": 1.0, "format": 0.0, "total": 1.0}
    assert scored(trajectory(None, "4", turns=[])).reward == {"accuracy": 0.0, "format": 0.0, "total": 0.0}


def test_the_official_code(trajectory, search):
    official = RewardSettings(preset="official")
    one, two = trajectory("4", "4", family="search"), trajectory("4", "4", turns=[search, ANSWER], family="search")
    assert scored(one, official).total == pytest.approx(0.8 + 0.2)
    assert scored(two, official).total == pytest.approx(0.8 * (1 - 0.1) + 0.2)
    assert scored(two, official).reward["search_penalty"] == -1.0
    wrong = trajectory("5", "4", turns=[search, ANSWER], family="search")
    assert scored(wrong, official).total == pytest.approx(0.2)
    elsewhere = trajectory("4", "4", turns=[search, ANSWER], family="perception")
    assert scored(elsewhere, official).total == pytest.approx(1.0)


def test_deepeyes_with_its_tool_bonus(trajectory, cell):
    deepeyes = RewardSettings(preset="deepeyes")
    used = trajectory("4", "4", turns=[cell(), ANSWER])
    assert scored(used, deepeyes).reward["tool_bonus"] == 1.0
    assert scored(used, deepeyes).total == pytest.approx(0.8 + 0.2 + 1.2)
    assert scored(trajectory("4", "4"), deepeyes).total == pytest.approx(1.0)
    assert scored(trajectory("5", "4", turns=[cell(), ANSWER]), deepeyes).total == pytest.approx(0.2)


def test_every_weighted_part_is_there_and_no_other(trajectory, cell):
    settings = RewardSettings(
        weights={"format": 0.0, "execution": 0.5, "overlong": 2.0}, overlong={"max_tokens": 200, "cache_tokens": 100}
    )
    run = trajectory("4", "4", turns=[cell(), cell("error"), ANSWER])
    run = run.model_copy(update={"turns": tuple(t.model_copy(update={"completion_tokens": 50}) for t in run.turns)})
    assert scored(run, settings).reward == {
        "accuracy": 1.0, "execution": 0.5, "overlong": -0.5, "total": 1.0 + 0.5 * 0.5 - 2.0 * 0.5
    }  # fmt: skip


def test_the_judge_is_asked_only_where_no_rule_can_tell(trajectory):
    judge = Judge(ScriptedPolicy(["Verdict: correct"]))
    assert scored(trajectory("city of Lima", "Lima"), judge=judge)[1:3] == (None, "judge")
    assert scored(trajectory("city of Lima", "Lima"), judge=judge).by == "cache"
    silent = Judge(ScriptedPolicy([]))  # fails if it is asked
    for answer, gold, by in [("lima", "Lima", "exact"), ("5", "6", "number"), ("A", "B", "choice")]:
        assert scored(trajectory(answer, gold), judge=silent).by == by
    assert scored(trajectory(None, "Lima"), judge=silent).by == "no_answer"
    assert scored(trajectory("Lima" * 100, "Lima"), judge=silent).by == "too_long"
    assert scored(trajectory("city of Lima", "Lima")).reward["accuracy"] == 0.0


def test_a_judge_that_fails_leaves_the_item_unscored_with_what_is_known(trajectory, cell):
    settings = RewardSettings(preset="deepeyes", weights={"execution": 1.0})
    asked = trajectory("city of Lima", "Lima", turns=[cell(), ANSWER])
    result = scored(asked, settings, Judge(ScriptedPolicy([])))
    assert result.reward == {"format": 1.0, "execution": 1.0}
    assert result.total is None and result.unscored is not None and "the judge failed" in result.unscored
    assert result.unfinished
    record = Trajectory.model_validate_json(result.onto(asked).model_dump_json())
    assert record.unscored == result.unscored and "total" not in record.reward
    again = scored(record, settings, Judge(ScriptedPolicy(["Verdict: correct"])))
    assert again.onto(record).unscored is None and again.total == pytest.approx(0.8 + 0.2 + 1.2 + 1.0)


def test_what_nobody_can_know_is_unscored_too(trajectory):
    unknown = scored(trajectory("4"))
    assert (unknown.reward, unknown.unscored, unknown.unfinished) == ({"format": 1.0}, NO_GOLD, False)
    uncounted = scored(trajectory("4", "4"), RewardSettings(weights={"overlong": 1.0}))
    assert uncounted.unscored == NO_COUNT and uncounted.total is None
    assert uncounted.reward == {"accuracy": 1.0, "format": 1.0}


def test_the_record_says_how_it_was_scored(trajectory):
    record = scored(trajectory("4", "4", settings={"seed": 1}), RewardSettings(preset="official")).onto(
        trajectory("4", "4", settings={"seed": 1})
    )
    assert record.settings["seed"] == 1
    assert RewardSettings.model_validate(record.settings["reward"]) == RewardSettings(preset="official")


def test_no_password_of_the_judge_is_on_the_record(trajectory):
    settings = RewardSettings(judge={"url": "http://joe:s3cret@10.0.0.1/v1", "model": "j"})
    record = scored(trajectory("4", "4"), settings, Judge(ScriptedPolicy([]))).onto(trajectory("4", "4"))
    assert "s3cret" not in record.model_dump_json()
    assert record.settings["reward"]["judge"]["url"] == "http://10.0.0.1/v1"


def test_a_judge_of_the_settings_that_was_not_opened_is_a_mistake(trajectory):
    settings = RewardSettings(judge={"url": "http://127.0.0.1:9/v1", "model": "j"})
    with pytest.raises(ConfigError, match="name a judge"):
        scored(trajectory("4", "4"), settings)


def test_symbolic_from_the_event_loop(trajectory):
    settings = RewardSettings(rules=("exact", "symbolic"))
    check_settings(settings)
    assert scored(trajectory("x^2-1", "(x-1)(x+1)"), settings).by == "symbolic"
