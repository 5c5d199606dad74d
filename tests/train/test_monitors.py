import math

import pytest

from foveal.train.loss import LossFigures
from foveal.train.monitors import ALARMS, MEANINGS, alarms, measure
from foveal.train.rl_settings import MonitorSettings
from foveal.trajectory import (
    CellResult,
    Observation,
    Question,
    SearchHit,
    StopReason,
    Tokens,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
)

FAST = MonitorSettings(window=2, patience=2)


def _cell(code, status="ok", **cell):
    call = ToolCall(tool="code", arguments={"code": code})
    return Turn(text="", call=call, observation=Observation(tool="code", cell=CellResult(status=status, **cell)))


def _search(query):
    hits = (SearchHit(title="hit"),)
    return Turn(
        text="",
        call=ToolCall(tool="search", arguments={"query": query}),
        observation=Observation(tool="search", hits=hits, query=query),
    )


ANSWER = Turn(text="<answer>red</answer>", completion_tokens=4)
MALFORMED = Turn(text="hm", observation=Observation(tool="format", error=ToolError(kind="format", message="act")))


def _trajectory(*turns, stop_reason=StopReason.ANSWERED, tokens=None):
    question = Question(id="q", text="?")
    return Trajectory(
        id="t", question=question, policy="p", profile="foveal", turns=turns, stop_reason=stop_reason, tokens=tokens
    )


def test_calls():
    metrics = measure(
        [
            _trajectory(_search("a"), _search("b"), _search("a"), _search("a"), ANSWER),
            _trajectory(_search("a"), ANSWER),
            _trajectory(MALFORMED, ANSWER),
            _trajectory(ANSWER),
        ]
    )
    # Calls in 2 of 4 trajectories, 5 in all; 2 of them repeat one of their own trajectory.
    assert (metrics["calls/rate"], metrics["calls/mean"], metrics["calls/repeated"]) == (0.5, 1.25, 0.4)
    assert metrics["code/cells"] == 0 and "code/placeholder" not in metrics and "code/crashing" not in metrics


def test_the_same_code_with_other_comments_is_a_repeated_call_and_other_code_is_not():
    same = _trajectory(_cell("x = 1\nprint(x)", stdout="1"), _cell("# again\nx = 1;  print( x )", stdout="1"))
    other = _trajectory(_cell("print(image_1.size)", stdout="1"), _cell("print(image_2.size)", stdout="1"))
    broken = _trajectory(_cell("print(", "error"), _cell("print(", "error"), _cell("print)", "error"))
    assert measure([same])["calls/repeated"] == 0.5
    assert measure([other])["calls/repeated"] == 0.0
    assert measure([broken])["calls/repeated"] == pytest.approx(1 / 3)


def test_cells_that_crash_and_cells_without_effect():
    metrics = measure(
        [
            _trajectory(_cell("w = image_1.width"), _cell("print(w)", stdout="9"), _cell("boom()", "error")),
            _trajectory(_cell("# no code needed"), _cell("while True: pass", "timeout"), ANSWER),
            # The sandbox failed, not the code; and a call at the turn limit, which never ran.
            _trajectory(
                _cell("1").model_copy(
                    update={"observation": Observation(tool="code", error=ToolError(kind="sandbox", message="down"))}
                ),
                Turn(text="", call=ToolCall(tool="code", arguments={"code": "2"})),
                stop_reason=StopReason.MAX_TURNS,
            ),
        ]
    )
    assert metrics["code/crashing"] == pytest.approx(2 / 5)
    assert metrics["code/placeholder"] == pytest.approx(1 / 5)
    assert metrics["code/cells"] == pytest.approx(5 / 3)


def test_length_counts_what_the_model_wrote_by_its_tokens_or_else_as_reported():
    sampled = Tokens(ids=(1, 2, 3, 4), loss_mask=(0, 1, 1, 0), logprobs=(0.0, -1.0, -1.0, 0.0))
    metrics = measure(
        [
            _trajectory(ANSWER, tokens=sampled),
            _trajectory(ANSWER, ANSWER, stop_reason=StopReason.CONTEXT_FULL),
            _trajectory(Turn(text="uncounted"), stop_reason=StopReason.REPEATED_ERROR),
        ]
    )
    assert metrics["length/tokens"] == (2 + 8) / 2
    assert metrics["length/cut"] == pytest.approx(1 / 3)


def test_figures_of_the_loss_come_back_under_policy_also_without_trajectories():
    assert measure([], {"entropy": 0.5, "gap": 1e-6}) == {"policy/entropy": 0.5, "policy/gap": 1e-6}


def _named(history, settings=FAST):
    return {alarm.name: alarm for alarm in alarms(history, settings)}


HEALTHY = {
    "calls/rate": 0.8,
    "calls/repeated": 0.0,
    "code/placeholder": 0.1,
    "code/crashing": 0.2,
    "length/tokens": 100.0,
    "length/cut": 0.05,
    "policy/entropy": 1.0,
    "policy/gap": 1e-6,
}


@pytest.mark.parametrize(
    ("name", "metric", "bad", "limit"),
    [
        ("tool_abandonment", "calls/rate", 0.39, 0.4),
        ("placeholder_code", "code/placeholder", 0.31, 0.3),
        ("repeated_calls", "calls/repeated", 0.31, 0.3),
        ("crashing_code", "code/crashing", 0.51, 0.5),
        ("runaway_length", "length/tokens", 201.0, 200.0),
        ("cut_short", "length/cut", 0.31, 0.3),
        ("entropy_collapse", "policy/entropy", 0.19, 0.2),
        ("sampler_gap", "policy/gap", 0.051, 0.05),
    ],
)
def test_every_alarm_goes_off_alone_beyond_its_bound_and_not_at_it(name, metric, bad, limit):
    good = [HEALTHY] * 2
    raised = _named(good + [{**HEALTHY, metric: bad}] * 3)
    assert set(raised) == {name}
    alarm = raised[name]
    assert (alarm.metric, alarm.value, alarm.limit) == pytest.approx((metric, bad, limit))
    assert alarm.meaning and name in str(alarm) and metric in str(alarm)
    assert _named(good + [{**HEALTHY, metric: limit}] * 3) == {}
    assert name in ALARMS and name in MEANINGS


def test_an_alarm_says_where_a_relative_metric_began():
    (alarm,) = alarms([HEALTHY] * 2 + [{**HEALTHY, "length/tokens": 250.0}] * 3, FAST)
    assert alarm.start == 100.0
    assert "length/tokens is 250, above 200 (it began at 100)" in str(alarm)


def test_every_alarm_has_a_meaning():
    assert set(MEANINGS) == set(ALARMS)


def test_a_window_and_patience_must_be_filled_first():
    bad = {**HEALTHY, "code/crashing": 1.0}
    # A window of 2 and patience of 2 take 3 steps: means of steps 1-2 and 2-3.
    assert [len(_named([bad] * steps)) for steps in range(5)] == [0, 0, 0, 1, 1]
    assert _named([bad, bad], MonitorSettings(window=3, patience=1)) == {}
    # One bad step lifts two means of 2 over the bound 0.5: (0.2 + 1) / 2 = 0.6.
    assert _named([HEALTHY, HEALTHY, bad]) == {}
    assert set(_named([HEALTHY, HEALTHY, bad, HEALTHY])) == {"crashing_code"}
    assert _named([HEALTHY, bad, HEALTHY, HEALTHY]) == {}


def test_a_model_that_never_called_a_tool_is_told_from_the_first_steps():
    alarm = _named([{"calls/rate": 0.0}] * 3)["tool_abandonment"]
    assert (alarm.value, alarm.limit, alarm.start) == (0.0, 0.05, None)


def test_metrics_that_are_missing_or_no_number_are_passed_over():
    history = [{}, {}, {}, {"code/crashing": 0.9}, {"code/crashing": math.nan}]
    assert set(_named(history)) == {"crashing_code"}
    assert _named([*history, {}, {}]) == {}
    assert _named([{}] * 5) == {}


def test_the_pioneer_experiment_is_recognised_both_ways():
    """Curves of DeepEyesV2, figure 4: calls die out by step 10; with a bonus one cell stays, which does nothing."""
    dying = [
        measure([_trajectory(*[_search("a")] * (number * 10 < 80 - 8 * step), ANSWER) for number in range(10)])
        for step in range(12)
    ]
    assert {alarm.name for alarm in alarms(dying, MonitorSettings())} == {"tool_abandonment"}
    hacked = [measure([_trajectory(_cell("# No code is needed."), ANSWER)]) for _ in range(6)]
    assert {alarm.name for alarm in alarms(hacked, MonitorSettings())} == {"placeholder_code"}


def test_the_names_of_the_loss_are_those_that_the_monitors_read():
    import torch

    from foveal.train.loss import PEAKS, SUMS

    figures = LossFigures(torch.ones(len(SUMS)), torch.ones(len(PEAKS))).means()
    assert {"policy/entropy", "policy/gap"} <= set(measure([], figures))
