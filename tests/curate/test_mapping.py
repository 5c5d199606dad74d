from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.curate.mapping import MARK, Columns, Reading, is_among, place_marks, read_fields, value_at
from foveal.curate.rejects import Refused

ANSWERED = Columns(question="q", answer="a", choices="c")


def fields(row, columns=ANSWERED, **reading):
    return read_fields(row, columns, Reading(**reading))


def refused(row, columns=ANSWERED, **reading):
    with pytest.raises(Refused) as caught:
        fields(row, columns, **reading)
    return caught.value.reason


def test_dotted_names_reach_into_structs_and_lists():
    row = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "l": [{"x": 4}, {"x": 5}]}
    assert [value_at(row, path) for path in ("a.b", "a.c.d", "l.0.x", "l.-1.x")] == [1, 3, 4, 5]
    assert [value_at(row, path) for path in ("a.x", "a.c.d.e", "l.2.x", "l.x", "z")] == [None] * 5
    assert is_among("l.0.x", {"l", "a"}) and is_among("a.c", {"a", "a.c"})
    assert not is_among("m.0.x", {"l"}) and not is_among("a.d", {"a", "a.c"})


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("cat", ("cat",)),
        (["cat", " kitty", "cat", None], ("cat", "kitty")),
        ('["cat", "kitty"]', ("cat", "kitty")),
        ("[3, 4]", ("[3, 4]",)),
        (7, ("7",)),
        (Decimal("1.10"), ("1.10",)),
        (False, ("false",)),
    ],
)
def test_answers_of_every_kind(answer, gold):
    assert fields({"q": "?", "a": answer}).answers == gold


def test_alternatives_are_accepted_too_and_a_separator_splits():
    columns = Columns(question="q", answer="a", alternatives="more")
    row = {"q": "?", "a": "gray or grey", "more": "silver"}
    assert fields(row, columns).answers == ("gray or grey", "silver")
    assert fields(row, columns, answer_separator=" or ").answers == ("gray", "grey", "silver")


@pytest.mark.parametrize(
    ("choices", "options"),
    [
        (["x", "y", "x"], ["x", "y", "x"]),
        ({"A": "x", "B": "y", "C": None}, {"A": "x", "B": "y"}),
        ('["x", "y"]', ["x", "y"]),
        ([1, 2.5], ["1", "2.5"]),
        (None, None),
        ([], None),
    ],
)
def test_choices_of_every_kind(choices, options):
    assert fields({"q": "?", "a": "x", "c": choices}).options == options


def test_an_answer_may_be_the_place_of_a_choice():
    assert fields({"q": "?", "a": 1, "c": ["x", "y"]}, answer_index=True).answers == ("y",)
    assert fields({"q": "?", "a": "0", "c": {"A": "x"}}, answer_index=True).answers == ("x",)
    for wrong in (2, -1, "B", None):
        assert refused({"q": "?", "a": wrong, "c": ["x", "y"]}, answer_index=True) == "wrong_answer"
    # Taken as text, the number of a choice would be a wrong answer that nobody sees.
    assert refused({"q": "?", "a": 1, "c": ["x", "y"]}) == "wrong_answer"
    assert fields({"q": "?", "a": 1, "c": ["1", "2"]}).answers == ("1",)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"a": "x"}, "no_question"),
        ({"q": "  ", "a": "x"}, "no_question"),
        ({"q": "<image>", "a": "x"}, "no_question"),
        ({"q": 5, "a": "x"}, "bad_field"),
        ({"q": "?"}, "no_answer"),
        ({"q": "?", "a": " "}, "no_answer"),
        ({"q": "?", "a": [None]}, "no_answer"),
        ({"q": "?", "a": float("nan")}, "no_answer"),
        ({"q": "?", "a": {"x": 1}}, "bad_field"),
        ({"q": "?", "a": [["x"]]}, "bad_field"),
        ({"q": "?", "a": "\ud800"}, "bad_field"),
        ({"q": "\ud800", "a": "x"}, "bad_field"),
        ({"q": "?", "a": "x", "c": 5}, "bad_field"),
        ({"q": "<image>?", "a": "x"}, "image_marks"),
    ],
)
def test_rows_that_are_refused(row, reason):
    assert refused(row) == reason


def test_no_answer_is_fine_where_none_is_named():
    assert fields({"q": "?"}, Columns(question="q")).answers == ()


def test_several_columns_of_pictures_and_lists_in_text():
    columns = Columns(question="q", images=("one", "two"))
    row = {"q": "<image>?", "one": '["a.png"]', "two": ""}
    assert fields(row, columns).pictures == ("a.png",)
    row = {"q": "?", "one": [{"bytes": b"x"}, None], "two": "b.png"}
    assert fields(row, columns).pictures == ({"bytes": b"x"}, None, "b.png")


def test_marks_within_a_text_become_names():
    assert place_marks("<image>\nWhich?", 1) == "Which?"
    assert place_marks("Which?<image><image>", 2) == "Which?"
    assert place_marks("<image>Is <image> left of <image>?", 3) == "Is image_2 left of image_3?"
    assert place_marks("Which?", 2) == "Which?"


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([MARK, "a", " ", "\n", "<", "image>"]), max_size=12).map("".join))
def test_no_mark_is_left_over(text):
    assert MARK not in place_marks(text, text.count(MARK)) or "<" + "image>" in text.replace(MARK, "")
