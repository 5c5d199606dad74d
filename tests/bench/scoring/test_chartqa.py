import pytest

from foveal.bench.scoring.chartqa import relaxed

PUBLISHED = [
    ("abc", "abc", 1), ("abc", "Abc", 1), ("Abc", "abc", 1), ("100%", "96%", 1), ("100%", "94%", 0),
    ("100%", "0.96", 1), ("100%", "0.94", 0), ("Don't", "Won't", 0),
]  # fmt: skip
"""google-research/pix2struct, metrics_test.py, test_pix2struct_metrics: relaxed accuracy 62.5 % over these eight."""


@pytest.mark.parametrize(("answer", "gold", "score"), PUBLISHED)
def test_worked_examples_of_pix2struct(ask, answer: str, gold: str, score: int):
    assert relaxed(answer, ask(gold)) == score


def test_their_mean(ask):
    assert sum(relaxed(answer, ask(gold)) for answer, gold, _ in PUBLISHED) / len(PUBLISHED) == 0.625


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("10.5", "10", 1), ("9.5", "10", 1), ("10.51", "10", 0), ("-10", "10", 0), ("-9.6", "-10", 1), ("5%", "5", 0),
     ("0", "0", 1), ("0.0", "0", 0), ("1e2", "100", 1), ("2019", "2018", 1), ("1,000", "1000", 0), ("**14**.", "14", 1),
     ("$0.42$", "0.42", 1), ("", "14", 0), ("nan", "14", 0), ("[a, b]", "[A, B]", 1)],
)  # fmt: skip
def test_the_published_rule_at_its_edges(ask, answer: str, gold: str, score: int):
    assert relaxed(answer, ask(gold)) == score
