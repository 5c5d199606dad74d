import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.rejects import Reject
from foveal.curate.released import CachedSearch, ShareGptRecord, read_search_cache, read_sharegpt
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


def say(role, content):
    return {"role": role, "content": content}


GOOD = {
    "messages": [say("system", "s"), say("user", "<image>Look."), say("assistant", "<code>"), say("user", "<image>")],
    "images": ["a.png", "sub/b.png"],
}


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({**GOOD, "images": ["a.png"]}, "image_marks"),
        ({**GOOD, "images": None}, "image_marks"),
        ({**GOOD, "images": [1, 2]}, "bad_field"),
        ({"images": []}, "bad_field"),
        ({"messages": []}, "bad_field"),
        ({"messages": [say("user", "a"), say("tool", "b")]}, "bad_field"),
        ({"messages": [say("user", "a"), say("assistant", None)]}, "bad_field"),
        ({"messages": [say("user", "a"), "b"]}, "bad_field"),
        ({"messages": [say("user", "a"), say("user", "b")]}, "no_answer"),
        ("text", "not_a_row"),
    ],
)
def test_a_conversation_that_does_not_add_up_is_a_reject(tmp_path, record, reason):
    path = tmp_path / "sft_part_0.json"
    path.write_text(json.dumps([record, GOOD]))
    first, second = read_sharegpt(path)
    assert isinstance(first, Reject) and (first.row, first.reason) == (1, reason)
    assert isinstance(second, ShareGptRecord) and second.row == 2


def test_half_of_a_utf_16_pair_is_told(tmp_path):
    path = tmp_path / "sft.json"  # JSON lines under this name, too
    path.write_text(json.dumps({"messages": [say("user", "a"), say("assistant", "\ud83d")]}) + "\n")
    (reject,) = read_sharegpt(path)
    assert reject.reason == "bad_field" and "UTF-16" in reject.message


def test_conversations_with_their_pictures(tmp_path):
    path = tmp_path / "sft.json"
    path.write_text(json.dumps([GOOD, {"messages": [say("user", "1+1?"), say("assistant", "2")]}])[:-1])
    first, second, torn = read_sharegpt(path, tmp_path / "images")
    assert first.images == (tmp_path / "images" / "a.png", tmp_path / "images" / "sub" / "b.png")
    assert [message.role for message in first.messages] == ["system", "user", "assistant", "user"]
    assert second.images == () and second.messages[1].content == "2"
    assert torn.reason == "unreadable" and torn.file == "sft.json"


def test_recorded_image_searches(tmp_path):
    path = tmp_path / "cache.json"
    cache = {
        "fvqa_train_1": {
            "tool_returned_web_title": ["One", None, "Three"],
            "cached_images_path": ["train/1.png", None, "/abs/3.png"],
        },
        "short": {"tool_returned_web_title": ["One"], "cached_images_path": []},
        "empty": {},
        "number": 5,
        "own": {"tool_returned_web_title_list": ["T"], "tool_returned_images_urls": ["https://x.test/1.jpg"]},
        "none": {"tool_returned_web_title": [], "cached_images_path": []},
    }
    path.write_text(json.dumps(cache))
    found = list(read_search_cache(path, tmp_path / "images"))
    good = {search.data_id: search.hits for search in found if isinstance(search, CachedSearch)}
    assert list(good) == ["fvqa_train_1", "own", "none"]
    assert [(hit.title, hit.picture) for hit in good["fvqa_train_1"]] == [
        *(("One", str(tmp_path / "images" / "train" / "1.png")), ("", None), ("Three", "/abs/3.png"))
    ]
    assert good["own"][0].picture == "https://x.test/1.jpg" and good["none"] == ()
    bad = [(search.row, search.reason) for search in found if isinstance(search, Reject)]
    assert bad == [(2, "bad_field"), (3, "bad_field"), (4, "bad_field")]
    path.write_text(json.dumps(cache)[:200])
    *_, last = read_search_cache(path)
    assert last.reason == "unreadable"


def test_a_pickle_is_not_opened(tmp_path):
    path = tmp_path / "cache.pkl"
    path.write_bytes(b"\x80\x04\x95}\x94.")
    (reject,) = read_search_cache(path)
    assert reject.reason == "unreadable"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "images", "role", "content", "tool_returned_web_title", "cached_images_path"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(json_values, max_size=3), st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_no_json_makes_the_readers_fail(tmp_path_factory, records, cache):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "a.json").write_text(json.dumps(records))
    (folder / "b.json").write_text(json.dumps(cache))
    assert len(list(read_sharegpt(folder / "a.json"))) == len(records)
    assert len(list(read_search_cache(folder / "b.json"))) == len(cache)
