import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.operations import OPERATIONS, carried_out, cell_kind, operation
from foveal.trajectory import CellResult, Observation, Question, StopReason, ToolCall, ToolError, Trajectory, Turn


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("image_1.crop((1, 2, 3, 4))", "crop"),
        ("w = 3 * 4\npiece = image_1.crop((0, 0, w, w))\nImageDraw.Draw(piece).line((0, 0, 9, 9))", "crop"),
        ("import numpy as np\nnp.array(image_1)[10:50, 20:80]", "crop"),
        ("ImageDraw.Draw(image_1)", "mark"),
        ("import cv2\ncv2.rectangle(a, (1, 2), (3, 4), 255)", "mark"),
        ("ax.axhline(7)", "mark"),
        ("print(6 * 7)", "numeric"),
        ("total = 0\nfor x in values:\n    total += x", "numeric"),
        ("from sympy import solve", "numeric"),
        ("print(sum(values))", "numeric"),
        ("import numpy as np\nnp.array(image_1)[:, :, 0].mean()", "numeric"),
        ("print('a' + name)", "other"),
        ("print('%d years' % years)", "other"),
        ("print(f'{a}' + b)", "other"),
        ("image_1.rotate(90)", "other"),
        ("# nothing to compute", "other"),
        ("for x in", "other"),
        ("", "other"),
    ],
)
def test_what_a_cell_is_for(code: str, kind: str):
    assert cell_kind(code) == kind


@given(st.text(max_size=60))
def test_any_text_is_of_a_kind(code: str):
    assert cell_kind(code) in OPERATIONS


def test_calls_that_were_carried_out():
    def turn(tool: str, error: str | None = None, **arguments) -> Turn:
        seen = Observation(tool=tool, cell=CellResult(status="error"))
        if error is not None:
            seen = Observation(tool=tool, error=ToolError(kind=error, message="m"))
        return Turn(text="", call=ToolCall(tool=tool, arguments=arguments), observation=seen)

    made = [
        turn("code", code="1 + 1"),
        turn("search", "search"),
        turn("image_search"),
        turn("code", code=7),
        turn("visit", "request", url="https://e.org/gone"),
        turn("zoom"),
    ]
    refused = [turn("code", "unknown_tool", code="1"), turn("search", "arguments"), turn("image_search", "limit")]
    never = Turn(text="", call=ToolCall(tool="code", arguments={"code": "1 + 1"}))
    trajectory = Trajectory(
        id="a", question=Question(id="a", text="?"), policy="p", profile="foveal", turns=(*refused, *made, never),
        stop_reason=StopReason.MAX_TURNS,
    )  # fmt: skip
    assert list(map(operation, carried_out(trajectory))) == [
        "numeric", "search", "image_search", "other", "visit", "other",
    ]  # fmt: skip
