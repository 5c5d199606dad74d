import pytest

from foveal.bench.scoring.ocrbench import HANDWRITTEN_FORMULAS, contained


@pytest.mark.parametrize(
    ("answer", "golds", "score"),
    [("The word is CENTRE.", ("centre",), 1), ("cent re", ("centre",), 0), ("new\nyork", ("New York",), 1),
     ("x", ("a", "x"), 1), ("", ("a",), 0), ("12345", ("34",), 1), ("ÜBER", ("über",), 1)],
)  # fmt: skip
def test_text(ask, answer: str, golds: tuple[str, ...], score: int):
    assert contained(answer, ask(*golds, family="Scene Text-centric VQA")) == score


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("y_2=-1", "y _ { 2 } = - 1\n", 0), ("y _ {2} = -1", "y _ { 2 } = - 1\n", 1), ("$y_2 = -\n1$", "y_2 = - 1\n", 1),
     ("Y_2=-1", "y_2 = - 1", 0)],
)  # fmt: skip
def test_handwritten_formulas_without_spaces_but_with_case(ask, answer: str, gold: str, score: int):
    assert contained(answer, ask(gold, family=HANDWRITTEN_FORMULAS)) == score
