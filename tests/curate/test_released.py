import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings


def picture(colour="red"):
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return buffer.getvalue()


def rl_row(question="How many?", **changes):
    """A row as in paper.md section 2.4: verl's schema with the tool of DeepEyesV2."""
    return {
        "data_source": "perception",
        "prompt": [
            {"role": "system", "content": "You may write code."},
            {"role": "user", "content": f"<image>\n{question}\nFormat strictly as <think>...</think>"},
        ],
        "images": [{"bytes": picture()}],
        "env_name": "deepeyes_v2",
        "reward_model": {"ground_truth": "3", "style": "model"},
        "extra_info": {"index": "tally_7", "question": question, "answer": "3"},
    } | changes


def rl_source(tmp_path, rows, name="perception_all_1"):
    (tmp_path / "rl").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rl" / f"{name}.parquet", row_group_size=2)
    return SourceSettings(name="rl", path=str(tmp_path / "rl"), format="deepeyes-rl")


def added(tmp_path, source):
    add_sources(tmp_path / "out", [source])
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    lines = (tmp_path / "out" / "questions.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], [(reject["row"], reject["reason"]) for reject in rejects]


def test_released_rl_rows_become_questions(tmp_path):
    rows = [
        rl_row(),
        rl_row(
            data_source="reason", images=[], prompt=[{"role": "user", "content": "What is 1 + 2?"}], question="1+2?"
        ),
        rl_row("Who?", data_source="search", extra_info={"index": "fvqa_train_3", "question": "Who?", "answer": "x"}),
    ]
    questions, rejects = added(tmp_path, rl_source(tmp_path, rows))
    assert rejects == [] and len(read_questions([tmp_path / "out" / "questions.jsonl"])) == 3
    assert [(row["id"], row["text"], row["family"], row["meta"]["domain"]) for row in questions] == [
        ("rl-tally_7", "How many?", "perception", "perception"),
        ("rl-tally_7.2", "1+2?", "reasoning", "reason"),
        ("rl-fvqa_train_3", "Who?", "search", "search"),
    ]
    assert questions[0]["gold"] == ["3"] and questions[2]["meta"]["id"] == "fvqa_train_3"
    assert "images" not in questions[1]
    path = tmp_path / "out" / questions[0]["images"][0]
    assert path.read_bytes() == picture()


def test_rl_rows_that_do_not_add_up_are_set_aside(tmp_path):
    rows = [
        rl_row("a", images=[]),
        rl_row("b", images=[{"bytes": picture()}, {"bytes": picture("blue")}]),
        rl_row("c", reward_model={"ground_truth": "", "style": "model"}),
        rl_row("d", images=[{"bytes": picture()[:60]}]),
        rl_row("e", images=[{"bytes": None}]),
        rl_row("f"),
    ]
    questions, rejects = added(tmp_path, rl_source(tmp_path, rows))
    assert [row["text"] for row in questions] == ["f"]
    assert [reason for _, reason in rejects] == [
        *("image_marks", "image_marks", "no_answer", "picture_broken", "picture_missing")
    ]


def test_the_prompt_was_counted_and_not_its_copy(tmp_path):
    two = [{"bytes": picture()}, {"bytes": picture("blue")}]

    def asked(prompt, question):
        said = [{"role": "user", "content": prompt}]
        return rl_row(images=two, prompt=said, extra_info={"index": question, "question": question})

    rows = [
        asked("<image><image>\nWhich is red?", "<image>\nWhich is red?"),
        asked("<image><image>\nWhich is blue?", "Which is blue?\n<image> <image> <image>"),
        asked("Is <image> left of <image>?", "Is <image> left of <image>?"),
        asked("<image><image>Which is like?", "Which is like <image> here?"),
        asked("<image>Who?", "Who?"),
    ]
    questions, rejects = added(tmp_path, rl_source(tmp_path, rows))
    assert [row["text"] for row in questions] == ["Which is red?", "Which is blue?", "Is image_1 left of image_2?"]
    assert rejects == [(4, "image_marks"), (5, "image_marks")]


def test_what_the_columns_lack_is_told_by_the_prompt_and_the_file(tmp_path):
    row = rl_row("Which one?")
    del row["data_source"], row["extra_info"]
    questions, rejects = added(tmp_path, rl_source(tmp_path, [row], "vstar_test"))
    assert rejects == [] and questions[0]["meta"]["domain"] == questions[0]["family"] == "vstar-test"
    assert questions[0]["text"].startswith("Which one?\nFormat") and questions[0]["id"] == "rl-1"


def test_pictures_as_base64_in_the_bytes(tmp_path):
    import base64

    row = rl_row(images=[{"bytes": base64.b64encode(picture()).decode()}])
    questions, rejects = added(tmp_path, rl_source(tmp_path, [row]))
    assert rejects == [] and (tmp_path / "out" / questions[0]["images"][0]).read_bytes() == picture()


def test_rows_of_mmsearch_r1_need_only_a_mapping(tmp_path):
    """Its candidate answers are a JSON list in a text."""
    row = {
        "data_id": "fvqa_train_3",
        "prompt": [{"role": "user", "content": "<image>Who built it?"}],
        "images": [{"bytes": picture(), "path": None}],
        "reward_model": {"ground_truth": "Eiffel", "candidate_answers": '["Gustave Eiffel", "Eiffel"]'},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "fvqa_train.parquet")
    columns = {"question": "prompt.0.content", "images": "images", "answer": "reward_model.ground_truth"}
    columns |= {"alternatives": "reward_model.candidate_answers", "id": "data_id"}
    source = {"name": "fvqa", "path": str(tmp_path / "fvqa_train.parquet"), "columns": columns, "family": "search"}
    questions, rejects = added(tmp_path, SourceSettings.model_validate(source))
    assert rejects == []
    assert (questions[0]["id"], questions[0]["text"]) == ("fvqa-fvqa_train_3", "Who built it?")
    assert questions[0]["gold"] == ["Eiffel", "Gustave Eiffel"]
