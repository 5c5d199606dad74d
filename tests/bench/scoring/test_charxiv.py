import pytest

from foveal.bench.scoring.charxiv import rubric

TITLE, LABEL, STEP, CROSS, LEGEND, TREND, LAYOUT = 1, 4, 8, 11, 13, 16, 18


@pytest.mark.parametrize(
    ("template", "answer", "gold", "official", "ours"),
    [(TITLE, "The number of students in each grade", "The variance of students in each grade", 0, None),
     (TITLE, "Not Applicable", "Not Applicable", 1, 1), (TITLE, "A_v^t", "A^t_v", 1, None),
     (LABEL, "1.0", "1.00", 1, 1), (LABEL, "0", "Not Applicable", 0, 0),
     (STEP, "5", "6", 0, 0), (STEP, "0", "Not Applicable", 0, 0), (STEP, "4", "4", 1, 1),
     (CROSS, "No, there are no intersections.", "no", 1, 1), (CROSS, "No, all the lines are parallel.", "Yes", 0, 0),
     (CROSS, "There are no lines in the plot.", "Not Applicable", 1, None),
     (LEGEND, "A, B, C", "B, A, C", 0, None), (LEGEND, "T56, B33", "T56,B33,A12", 0, None),
     (TREND, "Increases", "Decreases", 0, None), (TREND, "Decreases", "Decreases then increases", 0, None),
     (LAYOUT, "2 by 3", "3 by 2", 0, 0), (LAYOUT, "1 by 1", "1 by 1", 1, 1),
     (LAYOUT, "there are two rows and three columns", "2 by 3", 1, None),
     (None, "P55762", "P56962", 0, None), (None, "b", "(b)", 1, None),
     (None, "increasing", "increasing then decreasing", 0, None),
     (None, "[50, 100]", "[50, 100]", 1, 1), (None, "0.012", "0.01", 0, 0), (None, "1.5e3", "1500", 1, 1),
     (None, "0.01", "10^-2", 1, 1)],
)  # fmt: skip
def test_worked_examples_of_the_rubrics(
    ask, template: int | None, answer: str, gold: str, official: int, ours: int | None
):
    """princeton-nlp/CharXiv, src/constants.py: the examples of every rubric, with the answers extracted there."""
    assert rubric(answer, ask(gold, template=template)) == ours
    assert ours in (official, None), "a rule may leave a case to the judge, but not decide against the rubric"


@pytest.mark.parametrize(
    ("template", "answer", "gold", "score"),
    [(LAYOUT, "2 x 3", "2 by 3", 1), (STEP, "N/A", "not applicable", 1), (STEP, "N/A", "5", 0),
     (STEP, "5 %", "5", None),
     (STEP, "none that I can see", "Not Applicable", None), (CROSS, "yes", "Yes", 1), (TITLE, "**Loss**", "loss", 1)],
)  # fmt: skip
def test_other_forms(ask, template: int, answer: str, gold: str, score: float | None):
    assert rubric(answer, ask(gold, template=template)) == score
