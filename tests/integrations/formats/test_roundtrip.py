"""Out and back again: what comes back is what the format can hold, and what it cannot is told of."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.curate.questions import read_questions
from foveal.integrations.formats.transfer import bring, export
from foveal.protocol import DEEPEYES_V2, FOVEAL, Call, Code, Profile, parse_turn
from foveal.records import RunWriter, read_run
from foveal.trajectory import (
    CellResult,
    ImagePart,
    ImageStore,
    Message,
    Observation,
    Part,
    Question,
    StopReason,
    TextPart,
    Tokens,
    ToolCall,
    Trajectory,
    Turn,
)

RUN_FORMATS = ("trl", "llamafactory", "hub-folder")
QUESTION_FORMATS = ("trl", "verl", "hub-folder", "inspect")
IMAGES = ImageStore()
REFS = [IMAGES.put(Image.new("RGB", (10 + side, 12), colour)) for side, colour in enumerate(("red", "blue", "white"))]

LETTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TRAPS = st.sampled_from(
    ["<image>", "<video>", "<|image_pad|>", "</think>", "\r\n\u2028", "\x00", "<im", "age>", "\ufeff"]
)
TEXTS = st.lists(LETTERS | LETTERS | LETTERS | TRAPS, max_size=3).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=5,
)
PARTS = st.lists(
    TEXTS.map(lambda text: TextPart(text=text)) | st.sampled_from(REFS).map(lambda ref: ImagePart(image=ref)),
    max_size=5,
).map(tuple)
SAID = st.one_of(
    TEXTS,
    LETTERS.map(lambda text: f"<think>{text}</think>\n<code>\n```python\nprint({text!r})\n```\n</code>"),
    LETTERS.map(lambda text: f"<tool_call>{json.dumps({'name': 'search', 'arguments': {'query': text}})}</tool_call>"),
    LETTERS.map(lambda text: f"<think>so</think><answer>{text}</answer>"),
)
PLAIN_MESSAGES = st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), parts=PARTS), max_size=2)
SYSTEM = st.builds(lambda text: [Message(role="system", parts=(TextPart(text=text),))], TEXTS) | st.just([])


@st.composite
def turns(draw: st.DrawFn, profile: Profile) -> Turn:
    text, finish = draw(SAID), draw(st.sampled_from(["stop", "stop", "length"]))
    parsed = parse_turn(text, profile)
    call = None
    if finish == "stop" or parsed.closed:
        match parsed.action:
            case Code(code):
                call = ToolCall(tool="code", arguments={"code": code})
            case Call(tool, arguments):
                call = ToolCall(tool=tool, arguments=arguments)
    observation = draw(st.none() | st.just(Observation(tool="code", cell=CellResult(status="ok", stdout="4"))))
    shown = draw(PARTS) if draw(st.integers(0, 9)) else ()
    return Turn(text=text, finish=finish, call=call, observation=observation, observation_parts=shown, seconds=2.0)


@st.composite
def trajectories(draw: st.DrawFn, name: str) -> Trajectory:
    profile = draw(st.sampled_from([FOVEAL, DEEPEYES_V2]))
    few_shot = draw(PLAIN_MESSAGES) if not draw(st.integers(0, 4)) else []
    user = Message(role="user", parts=draw(PARTS) or (TextPart(text="?"),))
    prompt = (*draw(SYSTEM), *few_shot, user)
    return Trajectory(
        id=name,
        question=draw(
            st.builds(
                Question,
                id=TEXTS,
                text=TEXTS,
                images=st.just(tuple(ref for message in prompt for ref in message.images)),
                gold=st.lists(TEXTS, max_size=2).map(tuple),
                family=st.none() | TEXTS,
                meta=st.dictionaries(LETTERS, JSON, max_size=3),
            )
        ),
        policy=draw(TEXTS),
        profile=profile.name,
        prompt=prompt,
        turns=tuple(draw(st.lists(turns(profile), max_size=4))),
        answer=draw(st.none() | TEXTS),
        stop_reason=draw(st.sampled_from(StopReason)),
        error=draw(st.none() | TEXTS),
        tokens=Tokens(ids=(1, 2), loss_mask=(0, 1), logprobs=(0.0, -1.0)),
        reward=draw(st.dictionaries(LETTERS, st.floats(allow_nan=False), max_size=2)),
        settings={"seed": 3},
        started="2026-11-21T00:00:00",
        seconds=1.5,
    )


SETS = st.integers(1, 4).flatmap(lambda count: st.tuples(*(trajectories(f"t{number}") for number in range(count))))


@pytest.mark.parametrize("form", RUN_FORMATS)
@settings(max_examples=25, deadline=None)
@given(originals=SETS)
def test_a_trajectory_comes_back_as_far_as_the_format_holds_it(form, originals):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with RunWriter(folder / "run") as writer:
            for trajectory in originals:
                writer.write(trajectory, IMAGES)
        out = export(folder / "run", form, folder / "out")
        fitting = [trajectory for trajectory in originals if fits(trajectory, form)]
        rejects = list(rejected(folder / "out"))
        assert out.kept == len(fitting)
        assert [row["row"] for row in rejects] == [n for n, t in enumerate(originals, 1) if t not in fitting]
        assert all(row["reason"] for row in rejects)
        if not fitting:
            assert [path.name for path in (folder / "out").iterdir()] == ["rejects.jsonl"]
            return
        back = bring(folder / "out", form, folder / "back")
        assert (back.kept, back.rejected) == (len(fitting), 0)
        returned = read_run(folder / "back")
        assert returned.problems == ()
        assert list(returned.trajectories) == [held(trajectory, form) for trajectory in fitting]
        for trajectory in returned.trajectories:
            assert all(returned.images.get(ref).tobytes() == IMAGES.get(ref).tobytes() for ref in trajectory.images)


@pytest.mark.parametrize("form", RUN_FORMATS)
def test_what_the_micro_world_does_comes_back(micro_run, tmp_path, form):
    export(micro_run, form, tmp_path / "out")
    assert not (tmp_path / "out" / "rejects.jsonl").exists()
    bring(tmp_path / "out", form, tmp_path / "back")
    originals, returned = read_run(micro_run), read_run(tmp_path / "back")
    assert len(originals.trajectories) > 5 and returned.problems == ()
    assert [held(t, form) for t in originals.trajectories] == list(returned.trajectories)
    assert any(turn.call and turn.call.tool == "search" for t in returned.trajectories for turn in t.turns)
    assert sum(len(t.images) for t in returned.trajectories) > len(returned.trajectories)


@pytest.mark.parametrize("form", RUN_FORMATS)
def test_calls_answer_and_profile_are_read_from_the_turns_if_nothing_else_tells(
    micro_run, tmp_path, form, strip_labels
):
    """Rows as another program would have written them, without `foveal`."""
    export(micro_run, form, tmp_path / "out")
    strip_labels(tmp_path / "out")
    bring(tmp_path / "out", form, tmp_path / "back")
    for original, returned in zip(
        read_run(micro_run).trajectories, read_run(tmp_path / "back").trajectories, strict=True
    ):
        assert returned.turns == held(original, form).turns
        assert (returned.answer, returned.profile) == (original.answer, "foveal")
        assert (returned.stop_reason, returned.prompt) == (original.stop_reason, original.prompt)
        assert original.question.text in returned.question.text and returned.question.gold == ()


@pytest.fixture
def strip_labels():
    import pyarrow.parquet as pq

    def strip(folder: Path) -> None:
        for path in folder.glob("data/*.parquet"):
            pq.write_table(pq.read_table(path).drop_columns(["foveal"]), path)
        for path in folder.glob("foveal.json"):
            rows = [{"messages": row["messages"], "images": row["images"]} for row in json.loads(path.read_text())]
            path.write_text(json.dumps(rows))

    return strip


@pytest.mark.parametrize("form", QUESTION_FORMATS)
def test_a_question_set_comes_back(question_set, tmp_path, form):
    out = export(question_set, form, tmp_path / "out")
    back = bring(tmp_path / "out", form, tmp_path / "back")
    assert (out.kept, out.rejected, back.kept, back.rejected) == (3, 0, 3, 0)
    originals = read_questions([question_set])
    returned = read_questions([tmp_path / "back" / "questions.jsonl"])
    stores = ImageStore(), ImageStore()
    assert [question.open(stores[1]) for question in returned] == [question.open(stores[0]) for question in originals]
    # A picture that every program reads alike is the same file as before; one with transparency is not.
    contents = [[path.read_bytes() for path in question.pictures] for question in (*originals, *returned)]
    assert contents[0] == contents[3] and contents[1][0] == contents[4][0] and contents[1][1] != contents[4][1]


@pytest.mark.parametrize("form", QUESTION_FORMATS)
@settings(max_examples=25, deadline=None)
@given(
    text=TEXTS.filter(bool),
    gold=st.lists(TEXTS, min_size=1, max_size=3).map(tuple),
    family=st.none() | TEXTS,
    meta=st.dictionaries(LETTERS | st.just("options"), JSON, max_size=3),
)
def test_whatever_a_question_says_comes_back_or_is_told_of(form, text, gold, family, meta):
    row = {"id": "q", "text": text, "gold": gold, "family": family, "meta": meta}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
        out = export(folder / "q.jsonl", form, folder / "out")
        marks = {"trl": TOKENS, "verl": MARKS | TOKENS}.get(form, set())
        assert out.kept == (not any(mark in text for mark in marks))
        if out.kept:
            bring(folder / "out", form, folder / "back")
            assert [returned.row for returned in read_questions([folder / "back" / "questions.jsonl"])] == [
                original.row for original in read_questions([folder / "q.jsonl"])
            ]


MARKS = {"<image>", "<video>", "<audio>"}
TOKENS = {"<|image_pad|>", "<|video_pad|>"}


def fits(trajectory: Trajectory, form: str) -> bool:
    """The rules of docs/formats.md, told another way."""
    if not trajectory.turns:
        return False
    messages = [*trajectory.prompt]
    for turn in trajectory.turns:
        messages.append(Message(role="assistant", parts=(TextPart(text=turn.text),)))
        if turn.observation_parts:
            messages.append(Message(role="user", parts=turn.observation_parts))
    if form == "llamafactory" and messages[-1].role == "user":
        messages.pop()
    words = {"trl": TOKENS, "llamafactory": MARKS | TOKENS, "hub-folder": set()}[form]
    for message in messages:
        texts = re.split(
            "\0IMAGE\0", "".join(p.text if isinstance(p, TextPart) else "\0IMAGE\0" for p in message.parts)
        )
        if any(word in text for word in words for text in texts):
            return False
    roles = "".join(message.role[0] for message in messages)
    return form != "llamafactory" or re.fullmatch("s?(ua)+", roles) is not None


def held(trajectory: Trajectory, form: str) -> Trajectory:
    """What a format can hold of a trajectory."""
    turns = [
        Turn(text=turn.text, finish=turn.finish, call=turn.call, observation_parts=simple(turn.observation_parts))
        for turn in trajectory.turns
    ]
    if form == "llamafactory":
        turns[-1] = turns[-1].model_copy(update={"observation_parts": ()})
    prompt = tuple(Message(role=message.role, parts=simple(message.parts, least=1)) for message in trajectory.prompt)
    gone = {"tokens": None, "settings": {}, "started": "", "seconds": 0.0}
    return trajectory.model_copy(update={**gone, "turns": tuple(turns), "prompt": prompt})


def simple(parts: tuple[Part, ...], least: int = 0) -> tuple[Part, ...]:
    """Texts side by side are one; an empty one is none, unless there is nothing else."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, TextPart) and out and isinstance(out[-1], TextPart):
            out[-1] = TextPart(text=out[-1].text + part.text)
        elif not isinstance(part, TextPart) or part.text:
            out.append(part)
    return tuple(out) or ((TextPart(text=""),) if parts or least else ())


def rejected(folder: Path) -> Iterator[dict]:
    file = folder / "rejects.jsonl"
    yield from map(json.loads, file.read_text().splitlines() if file.exists() else ())
