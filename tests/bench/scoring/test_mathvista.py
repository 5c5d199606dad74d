import pytest

from foveal.bench.scoring.mathvista import typed

FRACTIONS = {"A": "3/11", "B": "8/11", "C": "6/11", "D": "3/5"}


@pytest.mark.parametrize(
    ("answer", "gold", "meta", "score"),
    [("14", "14", {"answer_type": "integer"}, 1), ("0.6", "0.6", {"answer_type": "float", "precision": 1}, 1),
     ("$1.45", "1.45", {"answer_type": "float", "precision": 2}, 1),
     ("[2007, 2008]", "[2007, 2008]", {"answer_type": "list"}, 1),
     ("B", "B", {"answer_type": "text", "options": FRACTIONS}, 1),
     ("(B) 8/11", "B", {"answer_type": "text", "options": FRACTIONS}, 1)],
)  # fmt: skip
def test_worked_examples_of_the_extraction_prompt(ask, answer: str, gold: str, meta: dict[str, object], score: int):
    """MathVista, evaluation/prompts/ext_ans.py, which VLMEvalKit has in utils/mathvista.py: what is extracted from the
    five responses, and the type of each."""
    assert typed(answer, ask(gold, **meta)) == score


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "places", "score"),
    [("14.9", "14", "integer", None, 1), ("1,000 g", "1000", "integer", None, 1), ("15", "14", "integer", None, 0),
     ("-0.5", "0", "integer", None, 1), ("2.675", "2.67", "float", 2, 1), ("0.55", "0.6", "float", 1, 1),
     ("0.549", "0.6", "float", 1, 0), ("1.0", "1.04", "float", 1, 1), ("about 14", "14", "integer", None, None),
     ("1e400", "1", "float", 1, 0), ("Yes", "yes", "text", None, 1), ("No", "yes", "text", None, None)],
)  # fmt: skip
def test_numbers_as_calculate_score_has_them(
    ask, answer: str, gold: str, kind: str, places: int | None, score: float | None
):
    assert typed(answer, ask(gold, answer_type=kind, precision=places)) == score


@pytest.mark.parametrize(
    ("answer", "score"), [("[1,2]", 1), ("[2, 1]", 0), ("1, 2", None), ("[1.0, 2]", 0), ("[", None)]
)
def test_lists(ask, answer: str, score: float | None):
    assert typed(answer, ask("[1, 2]", answer_type="list")) == score


def test_a_wrong_text_is_not_the_most_similar_option(ask):
    """The benchmark takes the option with the smallest edit distance; then `8/12` would be right."""
    assert typed("8/12", ask("B", answer_type="text", options=FRACTIONS)) is None
