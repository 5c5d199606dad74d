import pytest

from foveal.bench.scoring.choices import labels, letter, read_labels


@pytest.mark.parametrize(("answer", "score"), [("B", 1), ("(b)", 1), ("dog", 1), ("A", 0), ("cat or dog", None)])
def test_letter(ask, answer: str, score: float | None):
    assert letter(answer, ask("B", options={"A": "cat", "B": "dog"})) == score


@pytest.mark.parametrize(
    ("text", "found"),
    [("B, D", "BD"), ("DB", "BD"), ("(D) and (B)", "BD"), ("B & D.", "BD"), ("The answer is B and D", "BD"), ("b", "B"),
     ("3", "3"), ("A", "A"), ("A and B and C", "ABC"), ("B D", "BD"), ("**B**", "B")],
)  # fmt: skip
def test_labels_are_read(text: str, found: str):
    assert read_labels(text) == frozenset(found)


@pytest.mark.parametrize("text", ["", "the dog", "B or D", "Box", "figure B", "not A", "dog B", "ab"])
def test_what_is_no_label(text: str):
    assert read_labels(text) is None


def test_worked_examples_of_logicvista(ask):
    """Its extraction prompt (VLMEvalKit, utils/logicvista.py): the letters of an answer are compared as a set."""
    assert labels("ABCDE", ask("A, B, C, D, E")) == 1 and labels("D", ask("D")) == 1
    assert labels("D, B", ask("B, D")) == 1 and labels("B", ask("B, D")) == 0 and labels("B", ask("D")) == 0
    assert labels("a cute teddy bear", ask("A")) is None
