"""RealX-Bench and real-world understanding: rows as they are published; the values are made up."""

import pytest


def test_realx(read, score, bad, hub):
    values = {
        "query": "Which team?",
        "answer": "Real Madrid or Los Blancos",
        "perception": 1,
        "search": 1.0,
        "reason": "0",
    }
    (item,) = read("realx", {**values, "image": hub}, number=4)
    assert item.id == "realx-4" and len(item.pictures) == 1
    assert item.gold == ("Real Madrid or Los Blancos", "Real Madrid", "Los Blancos")
    assert item.meta == {"perception": True, "search": True, "reason": False}
    assert score("realx", item, "the Los Blancos.") == 1 and score("realx", item, "Barcelona") is None
    bad("realx", {**values, "answer": ""}, "no answer")
    bad("realx", {**values, "search": "hard"}, "search is 'hard', not 0 or 1")


def test_vstar_of_the_hub(read, score, bad, hub):
    text = (
        "What is the material of the glove?\n(A) rubber\n(B) cotton\n(C) kevlar\n(D) leather\nAnswer with the letter."
    )
    values = {"text": text, "label": "A", "category": "direct_attributes", "question_id": "0", "image": hub}
    (item,) = read("vstar", values)
    assert (item.id, item.gold, item.family) == ("0", ("A",), "direct_attributes")
    assert item.text.splitlines() == [
        "What is the material of the glove?",
        "A. rubber",
        "B. cotton",
        "C. kevlar",
        "D. leather",
    ]
    assert score("vstar", item, "(A) rubber") == 1 and score("vstar", item, "B") == 0
    assert score("vstar", item, "It looks like rubber to me") is None
    bad("vstar", {**values, "text": "What?"}, r"no lines \(A\)")
    bad("vstar", {**values, "label": "E"}, "'E' is none of the options")


def test_vstar_tsv(read, score, base64_png):
    values = {"index": "5", "question": "Left or right?", "A": "left", "B": "right", "C": "", "D": None, "answer": "B"}
    (item,) = read("vstar", {**values, "category": "relative_position", "image": base64_png})
    assert item.meta == {"options": {"A": "left", "B": "right"}} and score("vstar", item, "right") == 1


@pytest.mark.parametrize("name", ["hrbench4k", "hrbench8k"])
def test_hrbench(read, bad, name: str, base64_png):
    values = {"index": 0, "question": "Which colour?", "A": "red", "B": "blue", "C": "tan", "D": "grey", "answer": "A"}
    more = {"category": "single", "image": base64_png}
    (item,) = read(name, {**values, **more, "cycle_category": 0})
    turned = {**values, "A": "grey", "B": "red", "C": "blue", "D": "tan", "answer": "B", "index": 1}
    (second,) = read(name, {**turned, **more, "cycle_category": 1})
    (other,) = read(name, {**turned, **more, "cycle_category": 1, "question": "Which shade?"})
    assert item.meta["base"] == second.meta["base"] != other.meta["base"]
    assert (second.meta["cycle"], second.gold, second.family) == ("1", ("B",), "single")
    bad(name, {**values, **more}, "no cycle_category")


def test_mmerealworld(read, score, base64_png):
    options = ["(A) 12", "(B) 13", "(C) 14", "(D) 15", "(E) The image does not feature the number."]
    values = {
        "index": 3, "question": "How many?", "multi-choice options": options, "answer": "E", "bytes": base64_png,
        "category": "Perception/OCR with Complex Context", "l2-category": "license",
    }  # fmt: skip
    (item,) = read("mmerealworld", values)
    assert item.text.splitlines()[-1] == "E. The image does not feature the number."
    assert (item.family, item.meta["subtask"]) == ("perception", "OCR with Complex Context")
    assert score("mmerealworld", item, "e") == 1 and score("mmerealworld", item, "13") == 0
    written = {**values, "multi-choice options": str(options), "category": "Reasoning/Monitoring"}
    assert read("mmerealworld", written)[0].family == "reasoning"


def test_treebench(read, score, bad, base64_png):
    values = {"index": 1, "question": "Which?", "A": "cup", "B": "mug", "C": "jar", "D": "pot", "E": "pan", "F": "lid"}
    more = {
        "answer": "F",
        "category": "Perception/Attributes",
        "image": base64_png,
        "target_instances": "[[1, 2, 3, 4]]",
    }
    (item,) = read("treebench", {**values, **more})
    assert item.meta["boxes"] == [[1, 2, 3, 4]] and score("treebench", item, "F. lid") == 1
    bad("treebench", {**values, **more, "target_instances": "none"}, "target_instances is no list")


def test_tirbench(read, score, tmp_path, png):
    (tmp_path / "data").mkdir()
    for name in ("7.jpg", "60.jpg"):
        (tmp_path / "data" / name).write_bytes(png())
    values = {"id": 7, "prompt": "Solve it.", "image_1": "data/7.jpg", "image_2": "", "meta_data": None}
    jigsaw = {**values, "task": "jigsaw", "answer": [1, 2, 3, 4], "meta_data": {"difficulty": 2}}
    (item,) = read("tirbench", jigsaw, tmp_path)
    assert item.gold == ("[1, 2, 3, 4]",) and score("tirbench", item, "1, 2, 4, 3") == 0.5
    (item,) = read(
        "tirbench", {**values, "task": "spot_difference", "answer": "1, 2, 3", "image_2": "data/7.jpg"}, tmp_path
    )
    assert len(item.pictures) == 2 and score("tirbench", item, "2, 3, 4") == 0.5
    (item,) = read("tirbench", {**values, "task": "ocr", "answer": "x", "image_1": "data/60.jpg"}, tmp_path)
    assert score("tirbench", item, "It says mobi.") == 1 and score("tirbench", item, "Mobi") == 0
