"""Verdicts of saved runs, by rule and by judge."""

import asyncio
import dataclasses

import pytest

from foveal.bench.header import read_header
from foveal.bench.scores import how, regrade
from foveal.errors import ConfigError, PolicyError
from foveal.policy.scripted import ScriptedPolicy
from foveal.reward.judge import Judge


def test_the_judge_finishes_what_no_rule_could_tell_and_nobody_is_asked_again(world):
    _, before = world(world.model(), no_tools=True)
    assert before["no_tool_undecided"] == 4 and before["undecided"] == 0
    down = Judge(ScriptedPolicy(lambda messages: (_ for _ in ()).throw(PolicyError("the judge is away")), "judge"))
    model = world.model()
    _, waiting = world(model, judge=down)
    assert (waiting["no_tool_n"], waiting["no_tool_unscored"]) == (2, 4), "no verdict is no zero"
    assert not model.asked and read_header(world.folder).judge == "judge"
    with pytest.raises(ConfigError, match="judge was"):
        world(world.model())
    _, after = world(model, judge=Judge(ScriptedPolicy(["Verdict: wrong"], "judge")))
    assert (after["no_tool_n"], after["no_tool_unscored"], after["no_tool_undecided"]) == (6, 0, 0)
    assert after["no_tool_accuracy"] == 2 / 6 and not model.asked


def test_scoring_again_takes_the_rules_of_now_and_keeps_verdicts(world):
    world(world.model(), judge=Judge(ScriptedPolicy(["Verdict: correct"], "judge")))
    with_tools, without = (world.folder / mode for mode in ("with-tools", "without-tools"))
    assert asyncio.run(regrade(with_tools, world.benchmark, None, every=True)) == 0
    stricter = dataclasses.replace(world.benchmark, rule=lambda answer, question: 0.0 if answer == "Rome" else None)
    assert asyncio.run(regrade(with_tools, stricter, None, every=True)) == 6
    assert {how(one) for one in world.saved("with-tools").values()} == {
        ("rule", ""), ("none", "no rule could tell, and there was no judge"),
    }  # fmt: skip
    assert asyncio.run(regrade(without, stricter, None, every=True)) == 2, "Peru and Italy; the rest was judged"
    found = world.saved("without-tools")
    assert {country: one.reward["accuracy"] for country, one in found.items()} == {
        **dict.fromkeys(world.cities, 1.0), "Peru": 0.0, "Italy": 0.0,
    }  # fmt: skip
    assert how(found["Japan"]).by in ("judge", "cache")
