import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.view.words import Piece, count, pieces, seconds


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("<think>a</think>\n<answer>b</answer>", None, [("think", "a"), ("answer", "b")]),
        ("a</think><answer>b", None, [("think", "a"), ("answer", "b")]),
        ("hello", None, [("text", "hello")]),
        ("<code>\n```python\nx = 1\n```\n</code>", "x = 1", [("code", "x = 1")]),
        ("<code>\n```python\nx = 1\n```\n</code>", None, [("code", "x = 1")]),
        ("<code>x = 1</code> so", None, [("code", "x = 1"), ("text", "so")]),
        ('<tool_call>{"name": "s"}</tool_call>', None, [("tool_call", '{"name": "s"}')]),
        # Tags in the code do not end it, since the code that ran is known.
        (
            "<think>t</think><code>\n```python\ns = '</code><think>'\n```\n</code>",
            "s = '</code><think>'",
            [("think", "t"), ("code", "s = '</code><think>'")],
        ),
        ("", None, []),
    ],
)
def test_a_turn_taken_apart(text, code, expected):
    assert pieces(text, code) == [Piece(*piece) for piece in expected]


PARTS = st.sampled_from(["<think>", "</think>", "<code>", "</code>", "```python\n", "```", "<answer>", "x", " "])


@given(st.lists(PARTS, max_size=12).map("".join), st.text(max_size=5))
def test_any_turn_can_be_taken_apart(text, code):
    for piece in pieces(text, code):
        assert piece.text.strip()


def test_a_huge_turn_takes_linear_time():
    started = time.process_time()
    for text in ("<code>" * 150_000, "<think>a</think>" * 60_000, "<code>```\n" + "```" * 300_000, "`" * 1_000_000):
        pieces(text)
    assert time.process_time() - started < 5


def test_numbers_for_people():
    assert [seconds(value) for value in (0.0083, 2.44, 185.2)] == ["8 ms", "2.4 s", "3 min 05 s"]
    assert [count(number, "turn") for number in (0, 1, 12345)] == ["0 turns", "1 turn", "12,345 turns"]
