"""Search: rows as they are published; the values are made up."""

import pytest

from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.rows import BadRow, Row

VERL = {
    "data_id": "fvqa_test_1", "data_source": "mmsearch_r1/fvqa_test", "image_urls": None,
    "prompt": [{"role": "system", "content": "..."}, {"role": "user", "content": "<image>\nWhich country?"}],
    "reward_model": {"ground_truth": "Spain", "candidate_answers": '["ESP", "Kingdom of Spain"]', "style": "rule"},
}  # fmt: skip


@pytest.mark.parametrize("name", ["fvqa", "infoseek"])
def test_rows_of_verl(read, score, bad, name: str, hub):
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


def test_infoseek_lines(read, score, tmp_path, png):
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


def test_mmsearch(read, score, hub):
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


def test_simplevqa(read, score, base64_png):
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
