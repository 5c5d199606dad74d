"""Runs that are written anew in their place."""

import asyncio
import os
import resource

import pytest

from foveal import records
from foveal.errors import RecordError
from foveal.records import RunWriter, edit_run, read_run
from foveal.trajectory import Question, StopReason, Trajectory


def trajectory(number: int) -> Trajectory:
    question = Question(id=f"q{number}", text="what?")
    return Trajectory(id=f"t{number}", question=question, policy="p", profile="foveal", stop_reason=StopReason.ANSWERED)


async def rewarded(batch):
    return [one.model_copy(update={"reward": {"accuracy": 1.0}}) for one in batch]


def test_a_run_is_edited_a_batch_at_a_time_in_order_and_what_stays_is_not_written_anew(tmp_path):
    with RunWriter(tmp_path) as writer:
        for number in range(150):
            writer.write(trajectory(number))
    file, sizes = tmp_path / "trajectories.jsonl", []
    file.chmod(0o640)
    file.write_bytes(file.read_bytes().replace(b'"policy"', b' "policy"'))  # as another program may write it
    before = file.read_bytes().splitlines()

    async def every_other(batch):
        sizes.append(len(batch))
        return [(await rewarded([one]))[0] if int(one.id[1:]) % 2 else one for one in batch]

    with edit_run(tmp_path) as editor:
        asyncio.run(editor.draft(every_other))
        assert file.read_bytes().splitlines() == before, "the old one, until the new one is whole"
        editor.commit()
    assert sizes == [64, 64, 22] and file.stat().st_mode & 0o777 == 0o640
    assert [t.reward for t in read_run(tmp_path).trajectories] == [{}, {"accuracy": 1.0}] * 75
    assert [t.id for t in read_run(tmp_path).trajectories] == [f"t{number}" for number in range(150)]
    assert file.read_bytes().splitlines()[::2] == before[::2]


def test_an_edited_run_keeps_every_line_that_was_not_read(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
        writer.write(trajectory(2))
    file = tmp_path / "trajectories.jsonl"
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + b"not a\rline\n" + second + b'{"torn')
    with edit_run(tmp_path) as editor:
        asyncio.run(editor.draft(rewarded))
        assert editor.unreadable == 2
        editor.commit()
    lines = file.read_bytes().split(b"\n")
    assert lines[1] == b"not a\rline" and lines[3] == b'{"torn'
    assert [t.reward for t in read_run(tmp_path).trajectories] == [{"accuracy": 1.0}] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trajectories.jsonl"]


def test_a_run_cannot_be_edited_and_written_at_once(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
        with pytest.raises(RecordError, match="another process is writing"), edit_run(tmp_path):
            pass
    with edit_run(tmp_path), pytest.raises(RecordError, match="another process is writing"):
        RunWriter(tmp_path, resume=True)


def test_a_lock_on_a_file_that_was_replaced_meanwhile_is_none(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))

    async def second(batch):
        return [trajectory(2)]

    opened_before = os.open(tmp_path / "trajectories.jsonl", os.O_RDWR)
    try:
        with edit_run(tmp_path) as editor:
            asyncio.run(editor.draft(second))
            editor.commit()
        # Whoever got this lock would write into a file that nobody reads.
        with pytest.raises(RecordError, match="another process is writing"):
            records._lock(opened_before, tmp_path / "trajectories.jsonl")
    finally:
        os.close(opened_before)
    with RunWriter(tmp_path, resume=True) as writer:
        writer.write(trajectory(3))
    assert [t.id for t in read_run(tmp_path).trajectories] == ["t2", "t3"]


def test_a_failed_edit_leaves_the_run_as_it_was(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.write(trajectory(1))
    before = (tmp_path / "trajectories.jsonl").read_bytes()

    async def fewer(batch):
        return []

    async def slow(batch):
        raise TimeoutError("the judge did not answer")

    with edit_run(tmp_path) as editor, pytest.raises(ValueError):
        asyncio.run(editor.draft(fewer))
    with edit_run(tmp_path) as editor, pytest.raises(RuntimeError, match="the judge did not answer"):
        asyncio.run(editor.draft(slow))
    before_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before_limit[1]))  # as a full disk
    try:
        with edit_run(tmp_path) as editor, pytest.raises(RecordError, match="make room"):
            asyncio.run(editor.draft(rewarded))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before_limit)
    with edit_run(tmp_path) as editor:
        asyncio.run(editor.draft(rewarded))  # and nothing more
    assert (tmp_path / "trajectories.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["trajectories.jsonl"]
    with pytest.raises(RecordError, match="holds no run"), edit_run(tmp_path / "elsewhere"):
        pass
