"""What inspect-ai is given to ask and to log; `make check-inspect` runs the rest with inspect-ai itself."""

import base64
import io
import json

import pytest
from PIL import Image

from foveal.bench.rows import Item
from foveal.errors import InputError
from foveal.integrations.formats.inspect import read
from foveal.integrations.inspectlog import about, message, messages, question, sample
from foveal.trajectory import (
    CellResult,
    ImagePart,
    ImageStore,
    Message,
    Observation,
    Question,
    StopReason,
    TextPart,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
)


def png(color: str = "red", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), color).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def item(tmp_path) -> Item:
    (tmp_path / "one.png").write_bytes(png("blue"))
    pictures = (tmp_path / "one.png", png("red", "JPEG"))
    return Item("q-1", "Which flag?", ("red", "Rot"), pictures, "flags", {"perception": True, "hops": ["see"]})


def test_a_sample_is_what_was_asked(item):
    made = sample(item, "Answer shortly.")
    content = made["input"][0]["content"]
    assert content[0]["image"] == str(item.pictures[0]) and content[1]["image"].startswith("data:image/jpeg;base64,")
    assert content[2] == {"type": "text", "text": "Which flag?\nAnswer shortly."}
    assert (made["id"], made["target"]) == ("q-1", ["red", "Rot"])


def test_the_solver_gets_back_what_the_task_put_in(item):
    images = ImageStore()
    made = json.loads(json.dumps(sample(item, "Answer shortly.")))
    found = question("q-1", made, images)
    assert found == item.question(ImageStore(), "Answer shortly.")
    assert [images.get(ref).size for ref in found.images] == [(8, 6), (8, 6)]


def test_exported_samples_and_those_of_tasks_are_read_alike(item, tmp_path):
    (tmp_path / "samples.jsonl").write_text(json.dumps(sample(item, "")) + "\n")
    (task,) = read(tmp_path / "samples.jsonl")
    assert (task.text, task.gold, task.family, task.meta) == (item.text, item.gold, item.family, item.meta)
    assert len(task.pictures) == 2


def test_samples_of_other_tasks():
    found = question("7", {"input": "How many?", "target": "3"}, ImageStore())
    assert (found.id, found.text, found.gold, found.images) == ("7", "How many?", ("3",), ())
    data = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    parts = [{"type": "image", "image": data, "detail": "auto"}, {"type": "text", "text": "What?"}]
    found = question("8", {"input": [{"role": "user", "content": parts}], "target": ["a", "b"]}, ImageStore())
    assert (len(found.images), found.gold) == (1, ("a", "b"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"input": [{"role": "system", "content": "x"}]}, "more than what a user says"),
        ({"input": ""}, "no text"),
        ({"input": [{"role": "user", "content": [{"type": "audio", "audio": "x"}]}]}, "neither text nor picture"),
        ({"input": [{"role": "user", "content": [{"type": "image", "image": "http://a/b.png"}]}]}, "is on the web"),
        ({"input": "x", "metadata": {"foveal": {"gold": 7}}}, "does not describe a question"),
    ],
)
def test_what_is_no_question_is_told(fields, why):
    with pytest.raises(InputError, match=why):
        question("q", fields, ImageStore())
    with pytest.raises(InputError, match="picture 1 of question q"):
        bad = [{"type": "image", "image": "data:image/png;base64,AAAA"}, {"type": "text", "text": "?"}]
        question("q", {"input": [{"role": "user", "content": bad}]}, ImageStore())


def test_a_picture_that_is_none_ends_the_task():
    with pytest.raises(InputError, match="question q cannot be read"):
        sample(Item("q", "?", ("x",), (b"no picture",)), "")


def test_a_trajectory_as_messages():
    images = ImageStore()
    ref = images.put(Image.new("RGB", (8, 6)))
    code = ToolCall(tool="code", arguments={"code": "1 + 1"})
    shown = (TextPart(text="2"), ImagePart(image=ref))
    refused = Observation(tool="", error=ToolError(kind="format", message="no action"))
    down = Observation(tool="search", error=ToolError(kind="search", message="down"))
    turns = (
        Turn(text="<code>1 + 1</code>", call=code, observation=Observation(tool="code", cell=CellResult(status="ok")),
             observation_parts=shown, completion_tokens=5),
        Turn(text="hm", observation=refused, observation_parts=(TextPart(text="no action"),), completion_tokens=2),
        Turn(text="s", call=ToolCall(tool="search", arguments={"query": "q"}), observation=down),
        Turn(text="<answer>2</answer>"),
    )  # fmt: skip
    prompt = (
        Message(role="system", parts=(TextPart(text="Look."),)),
        Message(role="user", parts=(ImagePart(image=ref), TextPart(text="?"))),
    )
    trajectory = Trajectory(
        id="q/0", question=Question(id="q", text="?"), policy="m", profile="foveal", prompt=prompt, turns=turns,
        answer="2", stop_reason=StopReason.ANSWERED, seconds=1.23456,
    )  # fmt: skip
    found = messages(trajectory, images)
    roles = ["system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool", "assistant"]
    assert [one["role"] for one in found] == roles
    assert found[0]["content"] == "Look." and found[1]["content"][0]["image"].startswith("data:image/png;base64,")
    assert found[2]["tool_calls"] == [{"id": "call-1", "function": "code", "arguments": {"code": "1 + 1"}}]
    assert found[3]["tool_call_id"] == "call-1" and [part["type"] for part in found[3]["content"]] == ["text", "image"]
    assert found[5]["content"] == "no action" and "tool_calls" not in found[4]
    assert found[7]["error"] == {"type": "unknown", "message": "down"} and found[7]["content"] == ""
    assert found[1] == message(prompt[1], images)
    figures = about(trajectory)
    assert (figures["stop_reason"], figures["calls"], figures["operations"]) == ("answered", 2, ["numeric", "search"])
    assert (figures["turns"], figures["completion_tokens"], figures["seconds"]) == (4, 7, 1.235)
    json.dumps([found, figures])
