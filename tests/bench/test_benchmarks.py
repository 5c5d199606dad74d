"""Rows as they are published, one benchmark after the other; the values are made up."""

import json
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import pytest

from foveal.bench.benchmark import Scored
from foveal.bench.benchmarks import charxiv_descriptive
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.rows import BadRow, Item, Row
from foveal.trajectory import ImageStore, Question


def read(name: str, values: dict[str, Any], folder: Path | None = None, number: int = 0) -> list[Item]:
    return list(BENCHMARKS[name].read(Row(values, number, folder)))


def score(name: str, item: Item, answer: str) -> float | None:
    question = item.question(ImageStore(), BENCHMARKS[name].suffix)
    return BENCHMARKS[name].rule(answer, question)


def bad(name: str, values: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        read(name, values)


@pytest.fixture
def hub(png) -> dict[str, Any]:
    """A picture as the hub has it, undecoded."""
    return {"bytes": png(), "path": "1.png"}


def test_realx(hub):
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


def test_vstar_of_the_hub(hub):
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


def test_vstar_tsv(base64_png):
    values = {"index": "5", "question": "Left or right?", "A": "left", "B": "right", "C": "", "D": None, "answer": "B"}
    (item,) = read("vstar", {**values, "category": "relative_position", "image": base64_png})
    assert item.meta == {"options": {"A": "left", "B": "right"}} and score("vstar", item, "right") == 1


@pytest.mark.parametrize("name", ["hrbench4k", "hrbench8k"])
def test_hrbench(name: str, base64_png):
    values = {"index": 0, "question": "Which colour?", "A": "red", "B": "blue", "C": "tan", "D": "grey", "answer": "A"}
    more = {"category": "single", "image": base64_png}
    (item,) = read(name, {**values, **more, "cycle_category": 0})
    turned = {**values, "A": "grey", "B": "red", "C": "blue", "D": "tan", "answer": "B", "index": 1}
    (second,) = read(name, {**turned, **more, "cycle_category": 1})
    (other,) = read(name, {**turned, **more, "cycle_category": 1, "question": "Which shade?"})
    assert item.meta["base"] == second.meta["base"] != other.meta["base"]
    assert (second.meta["cycle"], second.gold, second.family) == ("1", ("B",), "single")
    bad(name, {**values, **more}, "no cycle_category")


def test_mmerealworld(base64_png):
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


def test_treebench(base64_png):
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


def test_tirbench(tmp_path, png):
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


def test_seed2plus(hub, base64_png):
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


def test_charxiv_descriptive(hub):
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


def test_charxiv_reasoning(hub):
    (item,) = read("charxiv-reasoning", {**CHART, "image": hub})
    assert item.text == "Which falls?\nAnswer with a number of 2 decimal places." and item.family == "number-in-general"
    (item,) = read("charxiv-reasoning", {**CHART, "image": hub, "reasoning_a": "12"})
    assert item.text.endswith("a whole number.")
    bad("charxiv-reasoning", {**CHART, "image": hub, "reasoning_a_type": 0}, "reasoning_a_type is 0, not 1 to 4")


def test_chartqa(hub, base64_png):
    values = {"question": "How many?", "answer": "14", "type": "human_test", "image": hub}
    (item,) = read("chartqa", values, number=3)
    assert (item.id, item.family) == ("chartqa-3", "human_test") and score("chartqa", item, "14.5") == 1
    table = {"index": 0, "question": "How many?", "answer": "14", "split": "test_human", "image": base64_png}
    assert read("chartqa", table)[0].id == "0"


def test_ocrbench(hub, base64_png, tmp_path, png):
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


MATHVISTA = {
    "pid": "1", "question": "How far?", "image": "images/1.jpg", "choices": None, "unit": "m", "precision": 1.0,
    "answer": "1.2", "question_type": "free_form", "answer_type": "float",
    "metadata": {"task": "textbook question answering", "skills": ["scientific reasoning"], "context": "figure"},
}  # fmt: skip


def test_mathvista(hub):
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


def test_mathverse(hub):
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


def test_mathvision(hub):
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


def test_wemath(tmp_path, hub, png):
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


def test_dynamath(base64_png, tmp_path, png):
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


def test_logicvista(hub, tmp_path, png):
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


VERL = {
    "data_id": "fvqa_test_1", "data_source": "mmsearch_r1/fvqa_test", "image_urls": None,
    "prompt": [{"role": "system", "content": "..."}, {"role": "user", "content": "<image>\nWhich country?"}],
    "reward_model": {"ground_truth": "Spain", "candidate_answers": '["ESP", "Kingdom of Spain"]', "style": "rule"},
}  # fmt: skip


@pytest.mark.parametrize("name", ["fvqa", "infoseek"])
def test_rows_of_verl(name: str, hub):
    (item,) = read(name, {**VERL, "images": [hub, hub]})
    assert (item.id, item.text, len(item.pictures)) == ("fvqa_test_1", "Which country?", 2)
    assert item.gold[:3] == ("Spain", "ESP", "Kingdom of Spain")
    assert score(name, item, "the kingdom of Spain.") == 1 and score(name, item, "Portugal") is None
    plain = {
        **VERL,
        "images": [hub],
        "data_id": None,
        "reward_model": {"ground_truth": "Spain", "candidate_answers": None},
    }
    (item,) = list(BENCHMARKS[name].read(Row(plain, 8)))
    assert (item.id, item.gold) == ("row-8", ("Spain",))
    bad(name, {**VERL, "images": [hub], "prompt": [{"role": "system", "content": "x"}]}, "no message of the user")
    bad(name, {**VERL, "images": [hub], "reward_model": {"ground_truth": ""}}, "no ground_truth")


def test_infoseek_lines(tmp_path, png):
    (tmp_path / "oven_01963180.jpg").write_bytes(png(kind="JPEG"))
    values = {
        "data_id": "infoseek_val_1", "image_id": "oven_01963180", "question": "Where?", "data_split": "val",
        "answer": ["People's Republic of China"], "answer_eval": ["cn", "China", "🇨🇳"],
    }  # fmt: skip
    (item,) = read("infoseek", values, tmp_path)
    assert item.family == "string" and score("infoseek", item, "the China") == 1 and score("infoseek", item, "🇨🇳") == 1
    for measured in ({"wikidata": 10.0, "range": [9.0, 11.0]}, [{"wikidata": 10.0, "range": [9.0, 11.0]}]):
        (item,) = read("infoseek", {**values, "answer_eval": measured}, tmp_path)
        assert item.meta["question_type"] == "numerical"
        assert score("infoseek", item, "about 9.5 kg") == 1 and score("infoseek", item, "12") == 0
    with pytest.raises(BadRow, match=r"there is no file oven_2\.jpg"):
        read("infoseek", {**values, "image_id": "oven_2"}, tmp_path)


def test_mmsearch(hub):
    values = {
        "sample_id": "1",
        "query": "When?",
        "query_image": None,
        "area": "news",
        "subfield": "sports",
        "gt_answer": "3 May",
    }
    (item,) = read("mmsearch", {**values, "alternative_gt_answers": ["May 3rd", "3 May"], "image_search_result": hub})
    assert item.pictures == () and item.gold == ("3 May", "May 3rd")
    (item,) = read("mmsearch", {**values, "query_image": hub, "alternative_gt_answers": None})
    assert len(item.pictures) == 1 and score("mmsearch", item, "may 3rd") is None


def test_simplevqa(base64_png):
    values = {
        "data_id": 0,
        "question": "图中所示穴位所属的经脉是什么？",
        "answer": "足阳明胃经",
        "language": "CN",
        "image": base64_png,
    }
    (item,) = read("simplevqa", values)
    assert (
        item.family == "CN"
        and score("simplevqa", item, "足阳明胃经。") is None
        and score("simplevqa", item, "足阳明胃经") == 1
    )


def test_math500():
    values = {"problem": "Find $DE$.", "solution": "...", "answer": "\\sqrt{51}", "subject": "Precalculus", "level": 1}
    (item,) = read("math500", {**values, "unique_id": "test/precalculus/1303.json"})
    assert item.pictures == () and item.meta == {"level": "1"}
    assert score("math500", item, "$\\sqrt{51}$") == 1 and score("math500", item, "7") is None


def test_aime():
    (item,) = read("aime", {"id": 0, "problem": "How many?", "solution": "...", "answer": "073", "url": "https://x"})
    assert score("aime", item, "73") == score("aime", item, "\\boxed{073}") == 1 and score("aime", item, "730") == 0


def test_amc():
    (item,) = read("amc", {"id": 0, "problem": "How many?", "answer": 142.0, "url": "https://x"})
    assert item.gold == ("142",) and score("amc", item, "142") == 1 and score("amc", item, "143") == 0
    (item,) = read("amc", {"id": 1, "problem": "How many?", "answer": 0.5, "url": "https://x"})
    assert score("amc", item, "\\frac{1}{2}") == 1


def test_olympiadbench():
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


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_reader_says_what_is_wrong_with_an_empty_row(name: str):
    with pytest.raises(BadRow):
        BENCHMARKS[name].read(Row({}, 0))
    junk = {
        key: object() for key in ("query", "question", "text", "problem", "prompt", "answer", "image", "index", "id")
    }
    with pytest.raises(BadRow):
        BENCHMARKS[name].read(Row(junk, 0))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_records_are_whole(name: str):
    record = BENCHMARKS[name]
    assert record.name == name and record.items > 0 and record.sources and record.paper.endswith((".", "set"))
    may_be_empty = {"config", "suffix", "unconfirmed", "judge"}
    assert all(getattr(record, field.name) for field in fields(record) if field.name not in may_be_empty)
    assert record.tools.code and record.tools.why
    assert record.summary([]) == {}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rules_score_between_0_and_1_whatever_is_answered(name: str, ask):
    meta = {"answer_type": "float", "template": 7, "difficulty": 2, "question_type": "string"}
    for gold in ("B", "12", "x", "[1, 2, 3, 4]"):
        question: Question = ask(gold, family="jigsaw", **meta)
        for answer in (
            "",
            " ",
            "B",
            "12",
            "\\boxed{",
            "[",
            "1/0",
            "ﬁ",
            "x" * 5000,
            "1" * 5000,
            "\0",
            json.dumps([1] * 4),
        ):
            value = BENCHMARKS[name].rule(answer, question)
            assert value is None or 0 <= value <= 1


class Junk(dict[str, Any]):
    """A row that has something in every column."""

    VALUES = (
        None, "", "B", "7", "1", "[", "[1, 2]", "['a', {'b'}]", 1, 0.0, 1.5, float("nan"), -3, True, b"x", [],
        ["a", "b"], [None], {}, {"bytes": b"x"}, {"role": "user", "content": "?"}, [{"role": "user", "content": "?"}],
        [{"range": [1, "x"]}], {"range": [1, 2]}, {"range": 5},
        {"ground_truth": "x", "candidate_answers": "["}, {"task": 1, "skills": "x"}, {"difficulty": "x"}, "A. 1; B. 2",
        "multi_choice", "multi-choice", "numerical", "A:1\nB:2", "(A) 1\n(B) 2", (1, 2, 3), [str(n) for n in range(40)],
    )  # fmt: skip

    def __init__(self, seed: int):
        self.random = Random(seed)

    def get(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = self.random.choice(self.VALUES)
        return self[name]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_of_junk_become_items_or_are_told(name: str):
    for seed in range(2000):
        try:
            items = BENCHMARKS[name].read(Row(Junk(seed), 0))
        except BadRow:
            continue
        for item in items:
            question = Question(id=item.id, text=item.text, gold=item.gold, family=item.family, meta=dict(item.meta))
            BENCHMARKS[name].summary([Scored(question, 1.0)])
            if "\\" not in question.gold[0]:
                BENCHMARKS[name].rule("not that", question)
