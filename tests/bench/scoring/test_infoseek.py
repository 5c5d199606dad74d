import pytest

from foveal.bench.scoring.infoseek import entity, read_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("9-10", [9, 10]), ("about 1,234.5 m", [1234.5]), ("-3", [-3]), ("between 5 and 7 and 9", [5, 7]),
     ("10 to 2", [10]), ("none", []), (".5", [0.5]), ("1.2e3", [1200]), ("5.", [5]), ("1990-2000", [1990, 2000])],
)  # fmt: skip
def test_numbers_are_read_as_infoseek_eval_reads_them(text: str, numbers: list[float]):
    assert read_numbers(text) == numbers


@pytest.mark.parametrize(
    ("answer", "score"),
    [("1.0", 1), ("0.9", 1), ("1.1", 1), ("1.11", 0), ("0.95 - 1.05", 1), ("0.9 to 1.3", 1), ("0.9 to 1.31", 0),
     ("1.2-1.4", 0), ("unknown", 0), ("1.0 kg", 1)],
)  # fmt: skip
def test_quantities(ask, answer: str, score: int):
    """edchengg/infoseek_eval, prepare_qid2example: `{"wikidata": 1.0, "range": [0.9, 1.1]}` becomes the range; its
    metric_numerical_range wants a range to lie inside or to overlap by half."""
    assert entity(answer, ask("0.9", "1.1", question_type="numerical")) == score


def test_names_and_times(ask):
    """open-vision-language/infoseek, README: all forms of `answer_eval` are accepted."""
    china = ask("cn", "People's Republic of China", "China", "\U0001f1e8\U0001f1f3", question_type="string")
    assert (
        entity("the People's Republic of China", china)
        == entity("CN", china)
        == entity("\U0001f1e8\U0001f1f3", china)
        == 1
    )
    assert entity("Japan", china) is None
    assert entity("1889", ask("1888", "1889", "1890", question_type="time")) == 1
