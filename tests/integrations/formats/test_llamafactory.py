"""LLaMA-Factory's own rules, and the layout of DeepEyesV2's cold-start files."""

import json
from pathlib import Path

import pytest

from foveal.integrations.formats.transfer import bring, export
from foveal.records import RunWriter, read_run
from foveal.trajectory import Message, TextPart


def check_as_the_trainer_does(folder: Path, name: str) -> list[dict]:
    """What LLaMA-Factory 0.9.5 asks of a `sharegpt` set, read from `dataset_info.json`; it skips or fails otherwise.

    Written from `llamafactory/data/parser.py`, `converter.py` (turns alternate, their number is even, the system
    message stands apart) and `mm_plugin.py` (as many placeholders as pictures, outside of the system message).
    """
    entry = json.loads((folder / "dataset_info.json").read_text())[name]
    assert entry["formatting"] == "sharegpt"
    columns, tags = entry["columns"], entry["tags"]
    rows = json.loads((folder / entry["file_name"]).read_text(encoding="utf-8"))
    for row in rows:
        messages = list(row[columns["messages"]])
        if messages[0][tags["role_tag"]] == tags["system_tag"]:
            messages.pop(0)
        expected = [tags["user_tag"], tags["assistant_tag"]] * (len(messages) // 2)
        assert [message[tags["role_tag"]] for message in messages] == expected and messages
        texts = [message[tags["content_tag"]] for message in messages]
        assert sum(text.count("<image>") for text in texts) == len(row[columns["images"]])
        assert not any(mark in text for text in texts for mark in ("<video>", "<audio>"))
        assert all((folder / image).is_file() for image in row[columns["images"]])
    return rows


def test_every_row_is_one_that_the_trainer_takes(micro_run, tmp_path):
    export(micro_run, "llamafactory", tmp_path / "out")
    rows = check_as_the_trainer_does(tmp_path / "out", "foveal")
    assert len(rows) == len(read_run(micro_run).trajectories)
    assert all(isinstance(row["foveal"], str) for row in rows)  # columns of `datasets` have one type


def test_observations_are_turns_of_the_user_with_their_pictures(run, tmp_path):
    export(run, "llamafactory", tmp_path / "out")
    (row,) = check_as_the_trainer_does(tmp_path / "out", "foveal")
    texts = [message["content"] for message in row["messages"]]
    assert texts[1] == "<image>What is it?" and texts[3] == "Code execution result:\nImages:\n<image>"
    assert len(set(row["images"])) == 2


def test_a_literal_placeholder_is_refused_and_the_others_go_on(tmp_path, trajectory):
    with RunWriter(tmp_path / "run") as writer:
        writer.write(trajectory(writer, "bad", "It says <image> there."))
        writer.write(trajectory(writer, "good"))
        nobody = trajectory(writer, "mute").model_copy(update={"turns": ()})
        writer.write(nobody)
        twice = trajectory(writer, "twice")
        prompt = (*twice.prompt, Message(role="user", parts=(TextPart(text="Well?"),)))
        writer.write(twice.model_copy(update={"prompt": prompt}))
    result = export(tmp_path / "run", "llamafactory", tmp_path / "out")
    assert (result.kept, result.rejected) == (1, 3)
    (row,) = check_as_the_trainer_does(tmp_path / "out", "foveal")
    assert row["id"] == "good"
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == [1, 3, 4]
    assert "message 3 (assistant) says <image>, which stands for a picture" in rejects[0]["reason"]
    assert "no turn" in rejects[1]["reason"] and "message 3 is of the user" in rejects[2]["reason"]
    # TRL has typed parts, and takes two of the three.
    assert export(tmp_path / "run", "trl", tmp_path / "trl").kept == 3


@pytest.fixture
def released(run, tmp_path):
    """Two parts and a folder of pictures, as the release has them."""
    pictures = sorted((run / "images").iterdir())
    folder = tmp_path / "released"
    (folder / "images" / "vstar").mkdir(parents=True)
    for number, path in enumerate(pictures):
        (folder / "images" / "vstar" / f"{number}.png").write_bytes(path.read_bytes())
    first = {
        "messages": [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": "<image>\nWhat is it? Answer in <answer>."},
            {"role": "assistant", "content": "<think>a</think>\n<code>\n```python\nprint(1)\n```\n</code>"},
            {
                "role": "user",
                "content": "Code execution result:\nstdout:\n```\n1\n```\n\nstderr:\n```\n\n```\n\nImages:\n<image>",
            },
            {"role": "assistant", "content": '<think>b</think><tool_call>{"name": "image_search"}</tool_call>'},
            {"role": "user", "content": "<tool_response>\nA Google image search for the image found 0 results"},
            {"role": "assistant", "content": "<think>c</think><answer>noise</answer>"},
        ],
        "images": ["images/vstar/0.png", "images/vstar/1.png"],
    }
    text_only = {
        "messages": [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "<answer>2</answer>"}],
        "images": [],
    }
    fewer = {**text_only, "messages": [{"role": "user", "content": "<image>"}, text_only["messages"][1]]}
    gone = {**fewer, "images": ["images/vstar/9.png"]}
    (folder / "sft_part_0.json").write_text(json.dumps([first, text_only]))
    (folder / "sft_part_1.json").write_text(json.dumps([fewer, gone, "text", {"id": 3}]))
    (folder / "dataset_info.json").write_text('{"deepeyesv2_p1": {},\n}')  # no JSON, as released
    return folder


def test_the_released_cold_start_set_is_read(released, tmp_path):
    result = bring(released, "llamafactory", tmp_path / "back")
    assert (result.kind, result.kept, result.rejected) == ("run", 2, 4)
    first, second = read_run(tmp_path / "back").trajectories
    assert (first.profile, first.answer, first.stop_reason) == ("deepeyes-v2", "noise", "answered")
    calls = [(turn.call.tool, turn.call.arguments) if turn.call else None for turn in first.turns]
    assert calls == [("code", {"code": "print(1)"}), ("image_search", {}), None]
    assert [part.type for part in first.turns[0].observation_parts] == ["text", "image"]
    assert first.prompt[0].role == "system" and first.question.text == "What is it? Answer in <answer>."
    assert (first.id, second.id, second.images) == ("sft_part_0-1", "sft_part_0-2", ())
    rejects = [json.loads(line) for line in (tmp_path / "back" / "rejects.jsonl").read_text().splitlines()]
    assert [(Path(reject["file"]).name, reject["row"]) for reject in rejects] == [
        ("sft_part_1.json", number) for number in (1, 2, 3, 4)
    ]
    says = ["1 times <image> for 0 pictures", "9.png cannot be used: there is no", "instead of an object", "messages"]
    assert all(word in reject["reason"] for word, reject in zip(says, rejects, strict=True))


def test_rows_with_the_older_tags_are_read(tmp_path):
    asked = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
    rows = [
        {
            "conversations": [
                {"from": "human", "value": "How much?"},
                {"from": "function_call", "value": asked},
                {"from": "observation", "value": "<tool_response>\nA search for 'x' found 0 results"},
                {"from": "gpt", "value": "<answer>7</answer>"},
            ],
            "system": "Be short.",
        }
    ]
    (tmp_path / "old.json").write_text(json.dumps(rows))
    assert bring(tmp_path / "old.json", "llamafactory", tmp_path / "back").kept == 1
    (trajectory,) = read_run(tmp_path / "back").trajectories
    assert (trajectory.profile, trajectory.prompt[0].text, trajectory.answer) == ("foveal", "Be short.", "7")
    assert trajectory.turns[0].call.arguments == {"query": "x"}


def test_halves_of_letters_and_torn_files_are_told_of(tmp_path):
    (tmp_path / "set").mkdir()
    good = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<answer>1</answer>"}]}
    half = {"messages": [{"role": "user", "content": "\ud800"}, {"role": "assistant", "content": "x"}]}
    (tmp_path / "set" / "a.jsonl").write_text(json.dumps(half) + "\n" + json.dumps(good) + "\n")
    (tmp_path / "set" / "b.json").write_text(json.dumps([good, good])[:-20])
    result = bring(tmp_path / "set", "llamafactory", tmp_path / "back")
    assert (result.kept, result.rejected) == (2, 2)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "back" / "rejects.jsonl").read_text().splitlines()]
    assert "half a letter" in reasons[0] and "breaks off" in reasons[1]
