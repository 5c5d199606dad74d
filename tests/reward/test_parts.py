import pytest

from foveal.reward.parts import NOT_SENT, execution, overlong, response_tokens, search_penalty, tool_bonus
from foveal.trajectory import Observation, Tokens, ToolCall, ToolError, Turn


def test_the_tool_bonus_needs_a_right_answer_and_a_tool(trajectory, cell, search):
    for turn in (cell(), cell("error"), cell(code="# no code is needed"), search):
        used = trajectory("4", "4", turns=[turn, Turn(text="<answer>4</answer>")])
        assert (tool_bonus(used, 1.0), tool_bonus(used, 0.0)) == (1.0, 0.0)
    assert tool_bonus(trajectory("4", "4"), 1.0) == 0.0


def test_a_call_that_was_not_carried_out_earns_no_bonus(trajectory):
    call = ToolCall(tool="fly")
    refused = Observation(tool="fly", error=ToolError(kind="unknown_tool", message="there is no fly"))
    for turn in (Turn(text="x", call=call, observation=refused), Turn(text="x", call=call)):
        assert tool_bonus(trajectory("4", "4", turns=[turn]), 1.0) == 0.0


def test_the_search_penalty_is_taken_once_from_right_answers(trajectory, cell, search):
    searched = trajectory("4", "4", turns=[search, search], family="search")
    assert (search_penalty(searched, 1.0), search_penalty(searched, 0.0)) == (-1.0, 0.0)
    assert search_penalty(searched, 1.0, ["search"]) == -1.0
    assert search_penalty(searched, 1.0, ["perception"]) == 0.0
    assert search_penalty(trajectory("4", "4", turns=[cell()]), 1.0) == 0.0


def test_a_search_that_went_nowhere_costs_nothing(trajectory):
    call, found = ToolCall(tool="search"), {}
    for kind in ("arguments", "unknown_tool", "limit", "sandbox", "search", "request"):
        told = Observation(tool="search", error=ToolError(kind=kind, message="no"))
        found[kind] = search_penalty(trajectory("4", "4", turns=[Turn(text="x", call=call, observation=told)]), 1.0)
    assert found == {**dict.fromkeys(NOT_SENT, 0.0), "search": -1.0, "request": -1.0}


def test_execution_is_the_share_of_cells_that_ran(trajectory, cell, search):
    assert execution(trajectory("4", turns=[cell(), cell("error"), cell("timeout"), cell("died")])) == 0.25
    assert execution(trajectory("4", turns=[cell(), search])) == 1.0
    assert execution(trajectory("4", turns=[search])) == 0.0


@pytest.mark.parametrize(
    ("tokens", "value"),
    [(0, 0.0), (16384, 0.0), (16385, -1 / 4096), (18432, -0.5), (20480, -1.0), (20481, -1.0), (10**6, -1.0)],
)
def test_overlong_with_the_numbers_of_dapo(tokens: int, value: float):
    assert overlong(tokens, max_tokens=20480, cache_tokens=4096) == value


def test_response_tokens_are_the_models_own(trajectory):
    turns = [Turn(text="a", completion_tokens=3), Turn(text="b", completion_tokens=4)]
    assert response_tokens(trajectory("4", turns=turns)) == 7
    assert response_tokens(trajectory("4", turns=[*turns, Turn(text="c")])) is None
    tokens = Tokens(ids=(1, 2, 3, 4), loss_mask=(0, 1, 0, 1), logprobs=(0.0,) * 4)
    assert response_tokens(trajectory("4", turns=turns, tokens=tokens)) == 2
