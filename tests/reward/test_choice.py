import pytest

from foveal.reward.choice import choice, options_of, read_choice
from foveal.trajectory import Question

ANIMALS = {"A": "dog", "B": "cat", "C": "a cat and a dog", "D": "none"}


@pytest.mark.parametrize(
    "answer",
    ["B", "(B)", "[B]", "b", "b)", "B.", "B:", " (B). ", "B. cat", "(B) Cat", "B: cat.", "cat", "Cat.", "Answer: B",
     "The answer is B", "The correct answer is: B. cat", "**B**", "$B$", r"\boxed{B}", r"\boxed{\text{B}}", "Option B",
     "Answer:B", "Final answer: (B)"],
)  # fmt: skip
def test_names_b(answer: str):
    assert read_choice(answer, ANIMALS) == "B"


@pytest.mark.parametrize(
    "answer",
    ["A cat", "A cat sits there", "B and C", "A or B", "B or not", "E", "I think B", "Because of A, it is cat-like",
     "B. dog", "neither", "", "Both", "AB", "A, B", "it is a", "cat or dog", "D none", "B cat"],
)  # fmt: skip
def test_names_nothing(answer: str):
    assert read_choice(answer, ANIMALS) is None


def test_a_letter_in_prose_is_not_read_without_options_either():
    assert read_choice("A dog", {}) is None
    assert read_choice("B. cat", {}) == "B"


def test_the_text_of_two_options_is_ambiguous():
    assert read_choice("red", {"A": "red", "B": "Red", "C": "blue"}) is None


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [("B", "B", True), ("C", "B", False), ("cat", "B", True), ("B", "cat", True), ("dog", "cat", False),
     ("(B) cat", "B. cat", True), ("some animal", "B", None)],
)  # fmt: skip
def test_choice_with_options(answer: str, gold: str, right: bool | None):
    question = Question(id="q", text="Which?", gold=(gold,), meta={"options": list(ANIMALS.values())})
    assert choice(answer, question) is right


def test_options_come_from_meta_or_from_the_lines_of_the_question():
    assert options_of(Question(id="q", text="?", meta={"options": {"a": "x", "B": "y"}})) == {"A": "x", "B": "y"}
    text = "Which?\n(A) The color is red.\n(B) The color is blue.\nAnswer with a letter."
    assert options_of(Question(id="q", text=text)) == {"A": "The color is red.", "B": "The color is blue."}
    assert options_of(Question(id="q", text="Who?\nB. Clinton\nC. Rice")) == {}
    assert options_of(Question(id="q", text="Who?\nA. Lincoln")) == {}


def test_a_question_without_options_is_multiple_choice_only_by_a_capital_letter():
    assert choice("B", Question(id="q", text="?", gold=("A",))) is False
    assert choice("Answer: A", Question(id="q", text="?", gold=("A",))) is True
    assert choice("Rome", Question(id="q", text="?", gold=("Lima",))) is None
    assert choice("B", Question(id="q", text="?", gold=("A", "Lima"))) is None
    assert choice("B", Question(id="q", text="?")) is None
