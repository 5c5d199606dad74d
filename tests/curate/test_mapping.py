from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.curate.mapping import MARK, Columns, Reading, is_among, place_marks, read_fields, value_at
from foveal.curate.rejects import Refused
from foveal.reward.choice import choice
from foveal.trajectory import Question

ANSWERED = Columns(question="q", answer="a", choices="c")
PICTURED = ANSWERED.model_copy(update={"images": "i"})


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
        (["x", "y", "x"], {"A": "x", "B": "y", "C": "x"}),
        (["(A) x", "(B) y"], {"A": "x", "B": "y"}),
        ({"A": "x", "B": "y", "C": None}, {"A": "x", "B": "y"}),
        ({"1": "x", "2": "y"}, {"A": "x", "B": "y"}),
        ('["x", "y"]', {"A": "x", "B": "y"}),
        ([1, 2.5, "x"], {"A": "1", "B": "2.5", "C": "x"}),
        (None, None),
        ([], None),
        ("[]", None),
        (" [ ] ", None),
        ({"A": None}, None),
        (["", " "], None),
    ],
)
def test_choices_of_every_kind_are_shown(choices, options):
    found = fields({"q": "?", "a": "x", "c": choices})
    assert found.options == options
    assert found.text == "\n".join(["?", *(f"{letter}. {text}" for letter, text in (options or {}).items())])


def test_choices_that_the_text_lists_are_not_listed_twice():
    row = {"q": "<image>? (A) x (B) y", "a": "x", "c": ["x", "y"], "i": "a.png"}
    assert fields(row, PICTURED).text == "? (A) x (B) y"


@pytest.mark.parametrize(
    ("choices", "answer", "right", "wrong"),
    [
        (["cat", "dog"], "B", ["B", "dog", "(b)", "B. dog"], ["A", "cat"]),
        (["cat", "dog"], "dog", ["B", "dog"], ["A", "cat"]),
        (["(A) cat", "(B) dog"], "(B) dog", ["B", "dog"], ["A", "cat"]),
        ({"a": "cat", "b": "dog"}, "b", ["B", "dog"], ["A", "cat"]),
        ({"1": "cat", "2": "dog"}, 2, ["B", "dog"], ["A", "cat"]),
        ({"first": "cat", "second": "dog"}, "second", ["B", "dog"], ["A", "cat"]),
        (["1", "2"], 2.0, ["B", "2"], ["A", "1"]),
        ({"A": "x", "C": "y", "AB": "z"}, "C", ["B", "y"], ["A", "C", "x", "z"]),
        ({"T": "true", "F": "false", "NA": "n/a"}, "F", ["B", "false"], ["A", "true", "n/a"]),
        ({"甲": "cat", "乙": "dog"}, "甲", ["A", "cat"], ["B", "dog"]),
        ({"A": "A. cat", "B": "B. dog"}, "cat", ["A", "cat", "A. cat"], ["B", "dog"]),
        ({"A": "A. cat", "B": "B. dog"}, "B. dog", ["B", "dog"], ["A"]),
        ({"1": "(A) cat", "2": "(B) dog"}, "(B) dog", ["B", "dog"], ["A"]),
        (["x", "y", "x"], "x", ["A", "C"], ["B", "y"]),
        (["(A) x", "(B) x", "(C) y"], "(B) x", ["B"], ["A", "C"]),
        (["A. Smith", "C. Jones"], "C. Jones", ["B"], ["A"]),
        (["mg", "Mg", "MG"], "Mg", ["B"], ["A", "C"]),
        (["B", "C", "D", "E"], "E", ["D", "E"], ["A", "B", "C"]),
        (["cat", "dog"], "The answer is **B. dog**.", ["B", "dog"], ["A"]),
        (["yes", "no", "true"], True, ["C", "true"], ["A", "B"]),
    ],
)
def test_what_is_shown_can_be_answered_by_letter_and_by_text(choices, answer, right, wrong):
    found = fields({"q": "?", "a": answer, "c": choices})
    question = Question(id="q", text=found.text, gold=found.answers, meta={"options": found.options})
    assert [choice(one, question) for one in (*right, *wrong)] == [True] * len(right) + [False] * len(wrong)


def test_alternatives_are_mapped_as_the_answer_is():
    columns = ANSWERED.model_copy(update={"alternatives": "more"})
    row = {"q": "?", "a": "first", "more": ["second", "3"], "c": {"first": "cat", "second": "dog", "3": "cow"}}
    assert fields(row, columns).answers == ("cat", "dog", "cow")
    assert fields({**row, "a": 0}, columns, answer_index=True).answers == ("cat", "dog", "cow")
    assert refused({**row, "more": "kitty"}, columns) == "wrong_answer"


@pytest.mark.parametrize(
    ("choices", "answer"),
    [
        *((["cat", "dog"], wrong) for wrong in ("D", "fish", "E. cow", "B. cat", "AB", True, 1.5, ["cat", "fish"])),
        ({"1": "cat", "2": "dog"}, "B"),
        ({"1": "cat", "2": "dog"}, "(A)"),
        ({"1": "2", "2": "3", "3": "4"}, "2"),
        ({"1": "2", "2": "1"}, 2),
        ({"1": "2.0", "2": "3.0"}, 2),
        (["B", "A", "AB", "O"], "B"),
        (["B", "C", "D", "E"], "C"),
        (["b", "a"], "b"),
        (["x", "y"], ["2", "some"]),
    ],
)
def test_an_answer_that_is_none_of_the_choices_or_may_be_several_is_refused(choices, answer):
    assert refused({"q": "?", "a": answer, "c": choices}) == "wrong_answer"


@pytest.mark.parametrize(
    ("choices", "place", "right"),
    [
        (["B", "A", "AB", "O"], 0, "A"),
        (["B", "A", "AB", "O"], 2, "C"),
        (["B", "C", "D", "E"], 1, "B"),
        (["B", "A"], 0, "A"),
        (["x", "y", "x"], 2, "C"),
        (["C. Jones", "A. Smith"], 0, "A"),
    ],
)
def test_a_place_is_known_whatever_the_texts_say(choices, place, right):
    found = fields({"q": "?", "a": place, "c": choices}, answer_index=True)
    question = Question(id="q", text=found.text, gold=found.answers, meta={"options": found.options})
    assert [letter for letter in found.options if choice(letter, question)] == [right]
    assert found.text.startswith("?\nA. ")


def test_an_answer_may_be_the_place_of_a_choice():
    assert fields({"q": "?", "a": 1, "c": ["x", "y"]}, answer_index=True).answers == ("y",)
    assert fields({"q": "?", "a": "0", "c": {"A": "x"}}, answer_index=True).answers == ("x",)
    for wrong in (2, -1, "B", None, True, False):
        assert refused({"q": "?", "a": wrong, "c": ["x", "y"]}, answer_index=True) == "wrong_answer"
    # Taken as text, the number of a choice would be a wrong answer that nobody sees.
    assert refused({"q": "?", "a": 1, "c": ["x", "y"]}) == "wrong_answer"
    assert fields({"q": "?", "a": 1, "c": ["1", "2"]}).answers == ("1",)


@pytest.mark.parametrize("one", [1, 1.0, Decimal("1.0"), "1", "1.0", " 1 "])
def test_a_place_may_be_written_in_any_way(one):
    for choices in (["x", "y"], {"A": "x", "B": "y"}):
        assert fields({"q": "?", "a": one, "c": choices}, answer_index=True).answers == ("y",)
        assert refused({"q": "?", "a": one, "c": choices}) == "wrong_answer"


@pytest.mark.parametrize("wrong", [1.5, "1.5", "2.0", -1.0, float("inf"), Decimal("1E+900"), Decimal("1E+9999999")])
def test_what_is_no_place_among_the_choices(wrong):
    assert refused({"q": "?", "a": wrong, "c": ["x", "y"]}, answer_index=True) == "wrong_answer"


@pytest.mark.parametrize(
    ("answer", "choices", "gold"),
    [
        *((answer, ["1", "2", "3"], ("1",)) for answer in (1, 1.0, "1", Decimal("1.0"))),
        (2, [1.0, 2.0], ("2.0",)),
        ("2.0", ["2", "2.0"], ("2.0",)),
        (1e16, [10**16, 5], ("10000000000000000",)),
        (1.0, {"1": "x", "2": "y"}, ("x",)),
        ("B", {"A": "x", "B": "y"}, ("B",)),
        (["two", "3"], ["two", "3"], ("two", "3")),
    ],
)
def test_a_number_that_a_choice_says_is_that_choice(answer, choices, gold):
    assert fields({"q": "?", "a": answer, "c": choices}).answers == gold


def test_numbers_are_not_taken_for_choices_where_they_are_places_or_none_is_one():
    assert fields({"q": "?", "a": "1", "c": ["1", "2", "3"]}, answer_index=True).answers == ("2",)
    assert refused({"q": "?", "a": [0, 1], "c": ["x", "y"]}) == "wrong_answer"
    assert fields({"q": "?", "a": "1"}).answers == ("1",)


def test_what_is_not_a_number_counts_as_absent():
    nan = float("nan")
    named = {"answer": "a", "choices": "c", "reasoning": "r", "domain": "d", "tags": "t", "id": "i", "family": "f"}
    columns = Columns.model_validate({"question": "q", "images": "p", **named})
    row = {"q": "?", "p": nan, "a": "x", "c": nan, "r": nan, "d": nan, "t": [nan, "u"], "i": nan, "f": nan}
    found = fields(row, columns)
    assert (found.pictures, found.options, found.tags) == ((), None, ("u",))
    assert (found.reasoning, found.domain, found.id, found.family) == (None,) * 4
    assert fields({**row, "p": ["a.png", nan], "c": {"A": "x", "B": nan}}, columns)[1:4] == (
        ("a.png", None),
        ("x",),
        {"A": "x"},
    )
    assert refused({**row, "q": nan}, columns) == "no_question"
    assert refused({**row, "a": [nan]}, columns) == "no_answer"
    assert refused({**row, "c": ["x", nan]}, columns) == "bad_field"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((17.0, "17"), (Decimal("17.0"), "17"), (17, "17"), ("17.0", "17.0"), (1.5, "1.5"), (Decimal("1.50"), "1.50")),
        *((1e16, "10000000000000000"), (Decimal("1E+9999999"), "1E+9999999"), (None, None), (" ", None)),
        (Decimal("123456789012345678901234567890123.0"), "123456789012345678901234567890123"),
    ],
)
def test_identifiers_and_names_that_are_numbers(value, name):
    found = fields({"q": "?", "v": value}, Columns(question="q", id="v", family="v", domain="v"))
    assert (found.id, found.family, found.domain) == (name,) * 3


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
        ({"q": "?", "a": "x", "c": [str(number) for number in range(27)]}, "bad_field"),
        ({"q": "?", "a": "x", "c": {str(number): "x" for number in range(27)}}, "bad_field"),
        ({"q": "?", "a": "x", "c": ["x", "<image>"]}, "image_marks"),
        ({"q": "?", "a": "[]"}, "no_answer"),
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
    assert fields({**row, "q": "?", "one": "[]", "two": " [ ]"}, columns).pictures == ()
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
