"""Questions without pictures: rows as they are published; the values are made up."""


def test_math500(read, score):
    values = {"problem": "Find $DE$.", "solution": "...", "answer": "\\sqrt{51}", "subject": "Precalculus", "level": 1}
    (item,) = read("math500", {**values, "unique_id": "test/precalculus/1303.json"})
    assert item.pictures == () and item.meta == {"level": "1"}
    assert score("math500", item, "$\\sqrt{51}$") == 1 and score("math500", item, "7") is None


def test_aime(read, score):
    (item,) = read("aime", {"id": 0, "problem": "How many?", "solution": "...", "answer": "073", "url": "https://x"})
    assert score("aime", item, "73") == score("aime", item, "\\boxed{073}") == 1 and score("aime", item, "730") == 0


def test_amc(read, score):
    (item,) = read("amc", {"id": 0, "problem": "How many?", "answer": 142.0, "url": "https://x"})
    assert item.gold == ("142",) and score("amc", item, "142") == 1 and score("amc", item, "143") == 0
    (item,) = read("amc", {"id": 1, "problem": "How many?", "answer": 0.5, "url": "https://x"})
    assert score("amc", item, "\\frac{1}{2}") == 1


def test_olympiadbench(read, score, bad):
    values = {
        "id": 2231, "subfield": "Geometry", "context": None, "question": "Determine $C$.", "solution": ["..."],
        "final_answer": ["$\\frac{1}{2}$"], "is_multiple_answer": False, "unit": None, "answer_type": "Numerical",
    }  # fmt: skip
    (item,) = read("olympiadbench", values)
    assert item.text == "Determine $C$." and score("olympiadbench", item, "0.5") == 1
    (item,) = read(
        "olympiadbench", {**values, "context": "Let.", "unit": "cm", "error": "1e-1", "final_answer": ["3.14"]}
    )
    assert item.text == "Let.\nDetermine $C$.\nGive the answer in cm, without the unit."
    assert score("olympiadbench", item, "3.2") == 1 and score("olympiadbench", item, "3.3") == 0
    bad("olympiadbench", {**values, "final_answer": []}, "no final_answer")
