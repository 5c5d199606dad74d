"""Mathematics and logic on pictures: rows as they are published; the values are made up."""

MATHVISTA = {
    "pid": "1", "question": "How far?", "image": "images/1.jpg", "choices": None, "unit": "m", "precision": 1.0,
    "answer": "1.2", "question_type": "free_form", "answer_type": "float",
    "metadata": {"task": "textbook question answering", "skills": ["scientific reasoning"], "context": "figure"},
}  # fmt: skip


def test_mathvista(read, score, bad, hub):
    (item,) = read("mathvista", {**MATHVISTA, "decoded_image": hub})
    assert item.text == "How far? (Unit: m)\nDecimal places: 1." and item.family == "textbook question answering"
    assert item.meta == {"answer_type": "float", "skills": ["scientific reasoning"], "precision": 1}
    assert score("mathvista", item, "1.23 m") == 1 and score("mathvista", item, "1.26") == 0
    choice = {
        **MATHVISTA,
        "question_type": "multi_choice",
        "answer_type": "text",
        "choices": ["3/11", "8/11"],
        "answer": "8/11",
    }
    (item,) = read("mathvista", {**choice, "decoded_image": hub, "unit": None})
    assert item.gold == ("B",) and score("mathvista", item, "(B) 8/11") == 1 and score("mathvista", item, "3/11") == 0
    many = {**MATHVISTA, "answer_type": "list", "answer": "[2007, 2008]", "precision": None, "unit": None}
    (item,) = read("mathvista", {**many, "decoded_image": hub})
    assert score("mathvista", item, "[2007,2008]") == 1 and score("mathvista", item, "2007 and 2008") is None
    bad("mathvista", {**MATHVISTA, "decoded_image": hub, "metadata": None}, "no metadata")


def test_mathverse(read, score, hub):
    values = {
        "sample_index": "1", "problem_index": "1", "problem_version": "Text Dominant", "question_type": "multi-choice",
        "question": "How large is it?\nChoices:\nA:145°\nB:125°\nC:110°", "answer": "A", "image": hub,
        "question_for_eval": "How large is it?\nChoices:\nA:145°\nB:125°\nC:110°",
    }  # fmt: skip
    (item,) = read("mathverse", values)
    assert item.meta["options"] == {"A": "145°", "B": "125°", "C": "110°"} and item.family == "Text Dominant"
    assert score("mathverse", item, "145°") == 1 and score("mathverse", item, "B") == 0
    (item,) = read("mathverse", {**values, "question": "", "problem_version": "Vision Only"})
    assert item.text.startswith("Answer the question that is written in the picture.") and item.meta["options"]
    free = {
        **values,
        "question_type": "free-form",
        "question": "Find y.",
        "question_for_eval": "Find y.",
        "answer": "y=5x",
    }
    (item,) = read("mathverse", free)
    assert "options" not in item.meta and score("mathverse", item, "$5x$") == 1


def test_mathvision(read, score, hub):
    values = {
        "id": "6",
        "question": "Which?\n<image1>",
        "answer": "D",
        "level": 3,
        "subject": "logic",
        "image": "images/6.jpg",
    }
    (item,) = read("mathvision", {**values, "options": ["A", "B", "C", "D", "E"], "decoded_image": hub})
    assert item.text == values["question"] and score("mathvision", item, "\\boxed{D}") == 1
    (item,) = read("mathvision", {**values, "options": ["$6$", "$7$", "$8$", "$\\frac{1}{2}$"], "decoded_image": hub})
    assert item.text.endswith("D. $\\frac{1}{2}$") and score("mathvision", item, "\\frac{1}{2}") == 1
    (item,) = read("mathvision", {**values, "options": [], "answer": "61", "decoded_image": hub})
    assert score("mathvision", item, "61") == 1 and score("mathvision", item, "16") == 0


def test_wemath(read, score, bad, tmp_path, hub, png):
    values = {
        "ID": "3steps_9", "key": "3steps_2", "question": "How long? (Use π = 3.14)", "answer": "B", "image_path": hub,
        "option": "A. 50.24; B. 25.12;C. 12.56; D. 6.28; E. No correct answer", "knowledge concept": "Circles",
    }  # fmt: skip
    (item,) = read("wemath", values)
    assert (item.id, item.family) == ("3steps_9/3steps_2", "3steps")
    assert item.meta["options"] == {"A": "50.24", "B": "25.12", "C": "12.56", "D": "6.28", "E": "No correct answer"}
    assert score("wemath", item, "25.12") == 1
    (tmp_path / "2steps" / "image").mkdir(parents=True)
    (tmp_path / "2steps" / "image" / "1-1.png").write_bytes(png())
    assert read("wemath", {**values, "image_path": "2steps/image/1-1.png"}, tmp_path)[0].pictures
    bad("wemath", {**values, "option": "25.12 or 3"}, "0 options")


def test_dynamath(read, score, base64_png, tmp_path, png):
    values = {
        "index": 12, "qid": 2, "varid": 3, "question": "Which month?", "answer": "May", "answer_type": "text",
        "subject": "statistics", "knowledge_level": "elementary school", "image": base64_png,
    }  # fmt: skip
    (item,) = read("dynamath", values)
    assert item.meta["seed"] == "2" and score("dynamath", item, "may") == 1 and score("dynamath", item, "a") is None
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "image1.png").write_bytes(png())
    published = {
        "key": "1", "question": "What period?", "answer": "2.0944", "image": "image/image1.png", "answer_type": "float",
        "subject": "analytic geometry", "level": "high school",
    }  # fmt: skip
    (item,) = read("dynamath", published, tmp_path)
    assert item.text == "What period?\nGive three decimal places." and item.meta["seed"] == item.id == "1"
    assert score("dynamath", item, "2.094") == 1 and score("dynamath", item, "2.09") == 0


def test_logicvista(read, score, bad, hub, tmp_path, png):
    values = {"id": "v1_0", "question": "Which two?", "answer": "B, D", "skill": ["deductive"], "image": hub}
    (item,) = read("logicvista", values)
    assert (
        item.family == "deductive" and score("logicvista", item, "D and B") == 1 and score("logicvista", item, "B") == 0
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "v1_20.png").write_bytes(png())
    published = {"key": "v1_20", "imagename": "v1_20.png", "question": "Which?", "answer": "3", "skill": ["spatial"]}
    (item,) = read("logicvista", published, tmp_path)
    assert item.id == "v1_20" and score("logicvista", item, "3") == 1
    bad("logicvista", {**values, "question": "", "answer": ""}, "no question")
