import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from foveal.errors import RecordError
from foveal.records import RunWriter, read_run, scan_run
from foveal.trajectory import (
    CellResult,
    ImagePart,
    ImageRef,
    ImageStore,
    Message,
    Observation,
    Question,
    SearchHit,
    StopReason,
    TextPart,
    Tokens,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
)


def trajectory(number: int, images: tuple[ImageRef, ...] = ()) -> Trajectory:
    question = Question(id=f"q{number}", text="what?", images=images)
    return Trajectory(id=f"t{number}", question=question, policy="p", profile="foveal", stop_reason=StopReason.ANSWERED)


def test_round_trip_with_pictures(tmp_path):
    store = ImageStore()
    ref = store.put(Image.new("RGB", (5, 4), "red"))
    with RunWriter(tmp_path / "run") as writer:
        writer.write(trajectory(1, (ref,)), store)
        writer.write(trajectory(2, (ref,)))  # the picture is there already
    run = read_run(tmp_path / "run")
    assert run.trajectories == (trajectory(1, (ref,)), trajectory(2, (ref,)))
    assert run.problems == ()
    assert run.images.get(ref).getpixel((0, 0)) == (255, 0, 0)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FLOATS = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
# Pictures are named here, not stored: their round trip is tested above.
CELL = st.builds(CellResult, stdout=TEXT, stderr=TEXT, result=st.none() | TEXT, seconds=FLOATS, images=st.just(()))
HIT = st.builds(SearchHit, title=TEXT, link=st.none() | TEXT, score=st.none() | FLOATS, thumbnail=st.none())
OBSERVATION = st.one_of(
    st.builds(Observation, tool=TEXT, cell=CELL, hits=st.none(), error=st.none(), image=st.none(), query=st.none()),
    st.builds(
        Observation,
        tool=TEXT,
        hits=st.lists(HIT, max_size=3).map(tuple),
        cell=st.none(),
        error=st.none(),
        image=st.none(),
        query=st.none() | TEXT,
    ),
    st.builds(
        Observation,
        tool=TEXT,
        error=st.builds(ToolError, kind=st.sampled_from(["format", "search"]), message=TEXT),
        cell=st.none(),
        hits=st.none(),
        image=st.none(),
        query=st.none(),
    ),
)
PARTS = st.lists(st.builds(TextPart, text=TEXT), max_size=2).map(tuple)
TURN = st.builds(
    Turn,
    text=TEXT,
    call=st.none() | st.builds(ToolCall, tool=TEXT, arguments=OBJECT),
    observation=st.none() | OBSERVATION,
    observation_parts=PARTS,
    seconds=FLOATS,
)
TOKENS = st.lists(st.tuples(st.integers(0, 200_000), st.sampled_from([0, 1]), FLOATS), max_size=5).map(
    lambda rows: Tokens(
        ids=tuple(row[0] for row in rows), loss_mask=tuple(row[1] for row in rows), logprobs=tuple(r[2] for r in rows)
    )
)
TRAJECTORY = st.builds(
    Trajectory,
    id=TEXT,
    question=st.builds(Question, id=TEXT, text=TEXT, images=st.just(()), gold=st.tuples(TEXT), meta=OBJECT),
    policy=TEXT,
    profile=TEXT,
    prompt=st.lists(st.builds(Message, role=st.just("user"), parts=PARTS), max_size=2).map(tuple),
    turns=st.lists(TURN, max_size=3).map(tuple),
    answer=st.none() | TEXT,
    stop_reason=st.sampled_from(StopReason),
    tokens=st.none() | TOKENS,
    reward=st.dictionaries(TEXT, FLOATS, max_size=3),
    settings=OBJECT,
    seconds=FLOATS,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(records=st.lists(TRAJECTORY, max_size=3, unique_by=lambda record: record.id))
def test_round_trip_is_exact(tmp_path_factory, records):
    folder = tmp_path_factory.mktemp("run")
    with RunWriter(folder) as writer:
        for record in records:
            writer.write(record)
    run = read_run(folder)
    assert run.trajectories == tuple(records)
    assert run.problems == ()
    # Equality takes 1 for 1.0 and 0.0 for -0.0; the written form does not.
    assert [r.model_dump_json() for r in run.trajectories] == [r.model_dump_json() for r in records]


def test_nan_survives(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1).model_copy(update={"reward": {"a": math.nan, "b": math.inf}}))
    reward = read_run(tmp_path).trajectories[0].reward
    assert math.isnan(reward["a"]) and reward["b"] == math.inf


def test_picture_shown_in_an_observation_must_be_there(tmp_path):
    store = ImageStore()
    ref = store.put(Image.new("RGB", (3, 3)))
    shown = trajectory(1).model_copy(update={"turns": (Turn(text="x", observation_parts=(ImagePart(image=ref),)),)})
    with RunWriter(tmp_path) as writer:
        with pytest.raises(RecordError, match=r"write\(trajectory, images\)"):
            writer.write(shown)
        assert read_run(tmp_path).trajectories == ()
        writer.write(shown, store)
    assert read_run(tmp_path).images.get(ref).size == (3, 3)


def test_missing_picture_is_a_problem_of_the_run(tmp_path):
    store = ImageStore()
    ref = store.put(Image.new("RGB", (3, 3)))
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1, (ref,)), store)
    (tmp_path / "images" / f"{ref.sha256}.png").unlink()
    run = read_run(tmp_path)
    assert len(run.trajectories) == 1
    assert "picture" in run.problems[0] and "missing" in run.problems[0]


def test_a_run_is_not_written_over(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
    with pytest.raises(RecordError, match="already holds a run"):
        RunWriter(tmp_path)
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(2))
    assert [t.id for t in read_run(tmp_path).trajectories] == ["t1", "t2"]


def test_one_writer_at_a_time(tmp_path):
    with RunWriter(tmp_path), pytest.raises(RecordError, match="another process"):
        RunWriter(tmp_path, resume=True)
    RunWriter(tmp_path).close()


def test_torn_last_line_is_reported_and_moved_aside(tmp_path, caplog):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
        writer.write(trajectory(2))
    file = tmp_path / "trajectories.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    run = read_run(tmp_path)
    assert [t.id for t in run.trajectories] == ["t1"]
    assert "line 2 is torn" in run.problems[0]
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(3))
        assert writer.torn is not None
        assert writer.torn.read_bytes() == whole.split(b"\n")[1][:-29]
    assert "torn line" in caplog.text
    run = read_run(tmp_path)
    assert [t.id for t in run.trajectories] == ["t1", "t3"]
    assert run.problems == ("torn-1.part holds a torn line of an earlier writer",)


def test_only_the_newline_was_lost(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
    file = tmp_path / "trajectories.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    assert read_run(tmp_path).problems == ()
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(2))
    run = read_run(tmp_path)
    assert ([t.id for t in run.trajectories], run.problems) == (["t1", "t2"], ())


def test_first_line_torn(tmp_path):
    (tmp_path / "trajectories.jsonl").write_bytes(b'{"version":1,"id":')
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(1))
    assert [t.id for t in read_run(tmp_path).trajectories] == ["t1"]


def test_broken_line_in_the_middle_is_named(tmp_path):
    with RunWriter(tmp_path) as writer:
        for number in (1, 2, 3):
            writer.write(trajectory(number))
    file = tmp_path / "trajectories.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"answered"', b'"bored"')
    file.write_bytes(b"\n".join(lines))
    run = read_run(tmp_path)
    assert [t.id for t in run.trajectories] == ["t1", "t3"]
    assert "line 2" in run.problems[0] and "stop_reason" in run.problems[0]


def test_repeated_id_is_a_problem(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
        writer.write(trajectory(1))
    assert "t1 was already" in read_run(tmp_path).problems[0]


def test_unknown_version_is_refused(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
    file = tmp_path / "trajectories.jsonl"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "version": 9, "news": 1}) + "\n")
    with pytest.raises(RecordError, match="version 9"):
        read_run(tmp_path)
    with pytest.raises(RecordError, match="version 9"):
        RunWriter(tmp_path, resume=True)


def test_no_run(tmp_path):
    with pytest.raises(RecordError, match="holds no run"):
        read_run(tmp_path)


WRITER = """
    import sys
    from pathlib import Path
    from foveal.records import RunWriter
    from foveal.trajectory import Question, StopReason, Trajectory

    with RunWriter(Path(sys.argv[1])) as writer:
        for number in range(10**9):
            question = Question(id=str(number), text="x" * 200_000)
            writer.write(Trajectory(id=str(number), question=question, policy="p", profile="foveal",
                                    stop_reason=StopReason.ANSWERED))
            sys.stdout.write(f"{number}\\n")
            sys.stdout.flush()
"""


def test_killed_writer_loses_at_most_the_unfinished_line(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "4\n":
                break
        process.send_signal(signal.SIGKILL)
        told = [4, *(int(line) for line in process.stdout if line.endswith("\n"))]
    run = read_run(tmp_path)
    ids = [int(t.id) for t in run.trajectories]
    # Everything that the writer had reported as written is there, in order, and at most one more.
    assert ids == list(range(len(ids)))
    assert told[-1] + 1 <= len(ids) <= told[-1] + 2
    assert all("torn" in problem for problem in run.problems)
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(1))
    after = read_run(tmp_path)
    assert [t.id for t in after.trajectories] == [*map(str, ids), "t1"]


def test_a_scored_line_reads_as_before_the_field_unscored(tmp_path):
    line = trajectory(1).model_dump_json()
    assert "unscored" not in line  # an older reader refuses fields that it does not know
    failed = trajectory(1).model_copy(update={"unscored": "the judge is down"})
    assert Trajectory.model_validate_json(failed.model_dump_json()) == failed
    assert Trajectory.model_validate_json(line).unscored is None


def test_a_run_is_scanned_line_by_line_and_what_is_broken_is_told(tmp_path, caplog):
    with RunWriter(tmp_path, pictures=False) as writer:
        for number in range(3):
            writer.write(trajectory(number))
    file = tmp_path / "trajectories.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + '{"broken": 1}\n' + lines[2] + lines[1][:40])
    assert [one.id for one in scan_run(tmp_path)] == ["t0", "t2"]
    assert "line 2" in caplog.text and "line 4" in caplog.text
    assert list(scan_run(tmp_path / "nothing")) == []


def test_a_run_whose_first_line_is_damaged_is_gone_on_with(tmp_path):
    with RunWriter(tmp_path) as writer:
        for number in range(2):
            writer.write(trajectory(number))
    file = tmp_path / "trajectories.jsonl"
    file.write_text("{damaged\n" + file.read_text().splitlines(keepends=True)[1])
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(2))
    assert [one.id for one in scan_run(tmp_path)] == ["t1", "t2"]


@pytest.mark.parametrize("size", [1, 2**20 - 200, 2**20, 3 * 2**20])
def test_a_torn_line_of_any_length_is_moved_aside(tmp_path, size):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(0))
    file = tmp_path / "trajectories.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + b"x" * size)
    with RunWriter(tmp_path, resume=True) as writer:
        assert writer.torn is not None and writer.torn.read_bytes() == b"x" * size
    assert file.read_bytes() == whole


def test_a_run_without_pictures_can_be_scored_but_says_that_they_are_missing(tmp_path):
    with RunWriter(tmp_path, pictures=False) as writer:
        writer.write(trajectory(0, (ImageStore().put(Image.new("RGB", (5, 4), "red")),)))
    run = read_run(tmp_path)
    assert len(run.trajectories) == 1 and "missing" in run.problems[0]
