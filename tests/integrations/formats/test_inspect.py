"""The rules of inspect-ai's `json_dataset` (0.3.285). The library itself: `make check-inspect`."""

import base64
import json
from pathlib import Path

import pytest

from foveal.curate.questions import QuestionRow, read_questions
from foveal.integrations.formats.transfer import bring, export


def samples(folder: Path) -> list[dict]:
    """The samples, checked as `json_dataset` reads them: fields, parts, and paths from the folder of the file."""
    found = [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    for sample in found:
        assert set(sample) <= {"id", "input", "target", "choices", "metadata"}
        assert isinstance(sample["target"], str) or all(isinstance(answer, str) for answer in sample["target"])
        (message,) = sample["input"]
        assert message["role"] == "user"
        for part in message["content"]:
            assert set(part) == {"type", part["type"]} and isinstance(part[part["type"]], str)
            assert part["type"] == "text" or (folder / part["image"]).is_file()
    return found


def test_samples_have_pictures_target_and_choices(question_set, tmp_path):
    export(question_set, "inspect", tmp_path / "out")
    first, second, third = samples(tmp_path / "out")
    assert (first["id"], first["target"], first["choices"]) == ("q1", "B", ["x", "y"])
    assert [part["type"] for part in second["input"][0]["content"]] == ["image", "image", "text"]
    assert second["target"] == ["ja", "yes"] and "choices" not in second
    assert third["target"] == "42" and third["metadata"]["foveal"]["meta"] == {"hops": 1, "boxes": [[1, 2.5]]}


@pytest.mark.parametrize(
    ("options", "gold", "choices", "target"),
    [
        (["cat", "dog"], ("dog",), ["cat", "dog"], "B"),
        ({"A": "cat", "B": "dog"}, ("(b)",), ["cat", "dog"], "B"),
        (["cat", "dog", "cow"], ("A", "cow"), ["cat", "dog", "cow"], ["A", "C"]),
        (["cat", "dog"], ("bird",), None, "bird"),
        (["cat", " "], ("A",), None, "A"),
        ({"B": "cat", "A": "dog"}, ("A",), None, "A"),
        ([], ("A",), None, "A"),
    ],
)
def test_choices_are_given_only_where_the_letters_will_be_right(tmp_path, options, gold, choices, target):
    row = QuestionRow(id="q", text="?", gold=gold, meta={"options": options})
    (tmp_path / "q.jsonl").write_text(row.model_dump_json() + "\n")
    export(tmp_path / "q.jsonl", "inspect", tmp_path / "out")
    (sample,) = samples(tmp_path / "out")
    assert (sample.get("choices"), sample["target"]) == (choices, target)
    bring(tmp_path / "out", "inspect", tmp_path / "back")
    assert read_questions([tmp_path / "back" / "questions.jsonl"])[0].row == row


@pytest.mark.parametrize(
    ("text", "shown", "choices"),
    [
        ("Which?\nA. cat\nB. dog", "Which?", ["cat", "dog"]),
        ("Which? (A) cat (B) dog", "Which? (A) cat (B) dog", None),
        ("A cat or a dog?", "A cat or a dog?", ["cat", "dog"]),
    ],
)
def test_choices_are_in_the_text_or_apart_but_never_twice(tmp_path, text, shown, choices):
    row = QuestionRow(id="q", text=text, gold=("B",), meta={"options": {"A": "cat", "B": "dog"}})
    (tmp_path / "q.jsonl").write_text(row.model_dump_json() + "\n")
    export(tmp_path / "q.jsonl", "inspect", tmp_path / "out")
    (sample,) = samples(tmp_path / "out")
    assert (sample["input"][0]["content"][0]["text"], sample.get("choices")) == (shown, choices)
    bring(tmp_path / "out", "inspect", tmp_path / "back")
    assert read_questions([tmp_path / "back" / "questions.jsonl"])[0].row == row


def test_samples_of_others_are_read(question_set, tmp_path):
    picture = (question_set.parent / "pictures" / "a.png").read_bytes()
    url = "data:image/png;base64," + base64.b64encode(picture).decode()
    said = [{"type": "image", "image": url}, {"type": "text", "text": "?"}]
    lines = [
        {"input": "6 × 7?", "target": 42, "metadata": {"level": 1.5}},
        {"id": 9, "input": [{"role": "user", "content": said}], "target": ["a", "b"], "choices": ["x", "y"]},
        {"input": [{"role": "assistant", "content": "x"}], "target": "x"},
        {"input": [{"role": "user", "content": [{"type": "image", "image": "https://e.org/x.png"}]}]},
        {"input": [{"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,###"}]}]},
        {"input": "", "target": "x", "choices": ["x", "y"]},
        {"input": "?", "target": "A", "choices": ["x"] * 27},
        {"input": "x", "metadata": {"foveal": {"gold": 3}}},
    ]  # fmt: skip
    (tmp_path / "theirs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{torn\n")
    result = bring(tmp_path / "theirs.jsonl", "inspect", tmp_path / "back")
    first, second = read_questions([tmp_path / "back" / "questions.jsonl"])
    assert (first.row.text, first.row.gold, first.row.meta) == ("6 × 7?", ("42",), {"level": 1.5})
    assert (second.row.id, second.row.gold, second.row.text) == ("9", ("a", "b"), "?\nA. x\nB. y")
    assert second.row.meta == {"options": {"A": "x", "B": "y"}}
    assert second.pictures[0].read_bytes() == picture
    assert (result.kept, result.rejected) == (2, 7)
    rejects = [json.loads(line) for line in (tmp_path / "back" / "rejects.jsonl").read_text().splitlines()]
    says = ["more than what a user says", "on the web", "no base64", "no text", "27 choices", "not describe", "no JSON"]
    assert all(word in reject["reason"] for word, reject in zip(says, rejects, strict=True))
