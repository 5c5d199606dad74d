import pytest

from foveal.bench.scoring.tir import by_task


@pytest.mark.parametrize(
    ("task", "answer", "gold", "score"),
    [("ocr", "The sign says mobi-X", "mobi", 1), ("ocr", "MOBI", "mobi", 0),
     ("word_search", "(3, 4)", "[3, 4]", 1), ("word_search", "4, 3", "[3, 4]", 0), ("word_search", "12", "12", 1),
     ("word_search", "row 3", "[3, 4]", 0), ("spot_difference", "1, 2, 3", "[2, 3, 4]", 0.5),
     ("spot_difference", "none", "[2, 3]", 0), ("spot_difference", "5", "5", 1), ("spot_difference", "6", "5", 0),
     ("math", "B", "B", 1), ("color", "(C)", "B", 0), ("maze", "DB", "BD", 1), ("contrast", "0.50", "0.5", 1),
     ("instrument", "6.3", "6.30", 1), ("instrument", "6.4", "6.3", 0), ("math", "about six", "6", None)],
)  # fmt: skip
def test_tasks(ask, task: str, answer: str, gold: str, score: float | None):
    assert by_task(answer, ask(gold, family=task)) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [("1, 2, 3, 4", 1), ("1 2 4 3", 0.5), ("4,3,2,1", 0), ("1, 2, 3", 0), ("Order: 1，2，3，4.", 1),
     ("Row 1: 1 2, row 2: 3 4", 0), ("In 2 steps:\n01, 02, 03, 04", 1), ("", 0)],
)  # fmt: skip
def test_jigsaws_count_the_pieces_in_place(ask, answer: str, score: float):
    assert by_task(answer, ask("[1, 2, 3, 4]", family="jigsaw", difficulty="2")) == score


def test_worked_extraction_of_a_jigsaw(ask):
    """agents-x-project/TIR-Bench, demo_prompts.py, demo_prompt_jigsaw: what is extracted from the third response."""
    response = "1, 2, 4, 5, 9, 6, 7, 8, 10, 20, 11, 3, 12, 13, 15, 21, 14, 17, 18, 19, 16, 22, 23, 24, 25"
    gold = ", ".join(map(str, range(1, 26)))
    found = by_task(f"**{response}**", ask(gold, family="jigsaw", difficulty=5))
    assert found == sum(int(piece) == place for place, piece in enumerate(response.split(", "), 1)) / 25
