"""OCR and charts: rows as they are published; the values are made up."""

from foveal.bench.benchmarks import charxiv_descriptive


def test_seed2plus(read, score, bad, hub, base64_png):
    choices = {"choice_A": "80", "choice_B": "950", "choice_C": "20", "choice_D": "8,950"}
    values = {"question_id": "0", "question": "How many?", "answer": "D", "question_image_type": "Chart", "image": hub}
    (item,) = read("seed2plus", {**values, **choices})
    assert item.family == "chart" and score("seed2plus", item, "8,950") == 1 and score("seed2plus", item, "C") == 0
    table = {"index": "0", "question": "How many?", "A": "80", "B": "950", "answer": "A", "category": "chart"}
    assert read("seed2plus", {**table, "image": base64_png})[0].gold == ("A",)
    bad("seed2plus", {**values, **choices, "choice_C": None}, "no choice_C")


CHART = {
    "original_id": "2004.10956", "category": "cs", "subplot_loc": None, "subplot_row": 1, "subplot_col": 2,
    "descriptive_q1": 7, "descriptive_a1": "60", "descriptive_q2": 13, "descriptive_a2": "CNN, iCaRL*",
    "descriptive_q3": 11, "descriptive_a3": "Yes", "descriptive_q4": 19, "descriptive_a4": "Not Applicable",
    "reasoning_q": "Which falls?", "reasoning_a": "1.50", "reasoning_a_type": 4,
}  # fmt: skip


def test_charxiv_descriptive(read, score, bad, hub):
    items = read("charxiv-descriptive", {**CHART, "image": hub})
    assert [item.id for item in items] == [f"2004.10956/{number}" for number in (1, 2, 3, 4)]
    assert [item.meta["template"] for item in items] == [7, 13, 11, 19]
    assert items[0].text.startswith(
        "About the subplot in row 1 and column 2: Which labeled tick of the y-axis is highest"
    )
    assert items[3].text.startswith("How many subplots") and items[0].family == "extraction"
    assert score("charxiv-descriptive", items[0], "60.0") == 1 and score("charxiv-descriptive", items[0], "50") == 0
    single = {**CHART, "image": hub, "subplot_row": 0, "subplot_col": 0}
    assert read("charxiv-descriptive", single)[0].text.startswith("About this plot: ")
    assert read("charxiv-descriptive", {**single, "subplot_loc": [2, 3]})[0].text.startswith(
        "About the subplot in row 2"
    )
    named = {**single, "subplot_loc": "the bottom left plot"}
    assert read("charxiv-descriptive", named)[0].text.startswith("About the bottom left plot: ")
    bad("charxiv-descriptive", {**CHART, "image": hub, "descriptive_q2": 20}, "descriptive_q2 is 20, not the number")
    assert set(charxiv_descriptive.TEMPLATES) == set(range(1, 20))


def test_charxiv_reasoning(read, bad, hub):
    (item,) = read("charxiv-reasoning", {**CHART, "image": hub})
    assert item.text == "Which falls?\nAnswer with a number of 2 decimal places." and item.family == "number-in-general"
    (item,) = read("charxiv-reasoning", {**CHART, "image": hub, "reasoning_a": "12"})
    assert item.text.endswith("a whole number.")
    bad("charxiv-reasoning", {**CHART, "image": hub, "reasoning_a_type": 0}, "reasoning_a_type is 0, not 1 to 4")


def test_chartqa(read, score, hub, base64_png):
    values = {"question": "How many?", "answer": "14", "type": "human_test", "image": hub}
    (item,) = read("chartqa", values, number=3)
    assert (item.id, item.family) == ("chartqa-3", "human_test") and score("chartqa", item, "14.5") == 1
    table = {"index": 0, "question": "How many?", "answer": "14", "split": "test_human", "image": base64_png}
    assert read("chartqa", table)[0].id == "0"


def test_ocrbench(read, score, bad, hub, base64_png, tmp_path, png):
    values = {"dataset": "IIIT5K", "question": "What is written?", "question_type": "Regular Text Recognition"}
    (item,) = read("ocrbench", {**values, "answer": ["CENTRE", "CENTER"], "image": hub})
    assert item.gold == ("CENTRE", "CENTER") and score("ocrbench", item, "It says Center.") == 1
    (tmp_path / "IIIT5K").mkdir()
    (tmp_path / "IIIT5K" / "1.png").write_bytes(png())
    published = {
        "dataset_name": "HME100k", "id": 1, "image_path": "IIIT5K/1.png", "question": "Write it.",
        "answers": ["y _ { 2 } = - 1\n", "y_2 = - 1\n"], "type": "Handwritten Mathematical Expression Recognition",
    }  # fmt: skip
    (item,) = read("ocrbench", published, tmp_path)
    assert score("ocrbench", item, "$y_2=-1$") == 1 and score("ocrbench", item, "$Y_2=-1$") == 0
    table = {"index": 0, "question": "?", "answer": "['a', 'b']", "category": "Doc-oriented VQA", "image": base64_png}
    assert read("ocrbench", table)[0].gold == ("a", "b")
    bad("ocrbench", {**values, "answer": [], "image": hub}, "no answer")
