"""What fits where, rows that are left out, and an export that is killed."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foveal.curate.questions import read_questions
from foveal.errors import ConfigError, InputError, RecordError
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.transfer import HOLDS, bring, export
from foveal.records import RunWriter, read_run

SOURCE = Path(__file__).parents[3] / "src"


@pytest.mark.parametrize("form", list(HOLDS))
def test_a_set_goes_where_it_makes_sense_and_else_it_is_said_where(form, run, question_set, tmp_path):
    for kind, source in (("run", run), ("questions", question_set)):
        if kind in HOLDS[form]:
            assert export(source, form, tmp_path / "out" / kind).kind == kind
            continue
        with pytest.raises(ConfigError, match=f"{form} takes a .*{source.name} is a ") as caught:
            export(source, form, tmp_path / "out" / kind)
        assert all(name in caught.value.fix for name, kinds in HOLDS.items() if kind in kinds)
        assert not (tmp_path / "out" / kind).exists()


def test_prompts_are_taken_only_where_they_go(run, question_set, tmp_path):
    for source, form in ((run, "trl"), (question_set, "inspect"), (question_set, "hub-folder")):
        with pytest.raises(ConfigError, match="only questions for trl and verl"):
            export(source, form, tmp_path / "out", "You look.")


def test_sources_and_folders_that_cannot_be_used(run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    for source, out, says in (
        (tmp_path / "none", "out", "there is no"),
        (tmp_path / "empty", "out", "holds no run"),
        (run, "full", "already holds something"),
        (run, "full/x", "already holds something"),
        (run, "full/x/out", "cannot be written"),
    ):
        with pytest.raises(InputError, match=says):
            export(source, "trl", tmp_path / out)
    for source, form, says in (
        (tmp_path / "none", "trl", "there is no"),
        (tmp_path / "empty", "verl", r"no file \.parquet"),
        (tmp_path / "empty", "llamafactory", r"no file \.json or \.jsonl"),
        (tmp_path / "full" / "x", "inspect", "none of"),
    ):
        with pytest.raises(InputError, match=says):
            bring(source, form, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "run"]
    assert export(run, "trl", tmp_path / "empty").kept == 1  # an empty folder is as good as none


def test_a_run_without_a_line_and_a_file_without_a_row_are_refused(tmp_path):
    RunWriter(tmp_path / "run").close()
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(InputError, match="nothing to carry over"):
        export(tmp_path / "run", "llamafactory", tmp_path / "out")
    with pytest.raises(InputError, match="nothing to carry over"):
        bring(tmp_path / "rows.jsonl", "inspect", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "run"]


def test_lines_that_are_broken_and_pictures_that_are_gone_are_listed(tmp_path, trajectory, noise_ref):
    with RunWriter(tmp_path / "run") as writer:
        first = trajectory(writer, "t1")
        writer.write(first)
        ref = noise_ref(writer, 9)
        message = first.prompt[1].model_copy(
            update={"parts": (first.prompt[1].parts[0].model_copy(update={"image": ref}),)}
        )
        writer.write(first.model_copy(update={"id": "t2", "prompt": (message,)}))
    (tmp_path / "run" / "images" / f"{ref.sha256}.png").unlink()
    with (tmp_path / "run" / "trajectories.jsonl").open("a") as file:
        file.write('{"version": 9}\n{"vers')
    for form in ("trl", "llamafactory", "hub-folder"):
        result = export(tmp_path / "run", form, tmp_path / form)
        assert (result.kept, result.rejected) == (1, 3)
        rejects = [json.loads(line) for line in (tmp_path / form / "rejects.jsonl").read_text().splitlines()]
        assert [reject["row"] for reject in rejects] == [2, 3, 4]
        assert "missing" in rejects[0]["reason"] and "version" in rejects[1]["reason"]
        assert {Path(reject["file"]).name for reject in rejects} == {"trajectories.jsonl"}


def test_a_picture_that_is_damaged_costs_its_question_only(question_set, tmp_path):
    path = question_set.parent / "pictures" / "b.jpg"
    path.write_bytes(path.read_bytes()[:400])
    result = export(question_set, "verl", tmp_path / "out")
    assert (result.kept, result.rejected) == (2, 1)
    assert "b.jpg cannot be used: damaged picture" in result.rejects[0].reason and result.rejects[0].where.row == 2


@pytest.mark.parametrize("form", ["trl", "verl", "hub-folder", "inspect"])
def test_a_line_of_a_question_set_that_cannot_be_used_costs_itself_only(form, question_set, tmp_path):
    row = {"id": "q9", "text": "?", "gold": "1"}
    bad = [
        {**row, "images": ["pictures/none.png"]},
        {**row, "images": ["x" * 300]},
        {"text": "?"},
        {**row, "id": "q1"},
        {**row, "id": "bytes"},
        row,  # whose name no row has taken that can be used
    ]
    lines = [json.dumps(line).encode() for line in bad]
    lines[4] = lines[4].replace(b"?", b"\xe9")
    with question_set.open("ab") as file:
        file.write(b"\n" + b"\n".join(lines) + b'\n{"id": "q10", "te')
    result = export(question_set, form, tmp_path / "out")
    assert (result.kept, result.rejected) == (4, 6)
    rejects = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == [5, 6, 7, 8, 9, 11]
    said = ["none.png cannot be used: there is no", "too long", "id Field required", "that of line 1", "JSON", "JSON"]
    assert all(word in reject["reason"] for word, reject in zip(said, rejects, strict=True))
    bring(tmp_path / "out", form, tmp_path / "back")
    assert [q.row.id for q in read_questions([tmp_path / "back" / "questions.jsonl"])] == ["q1", "q2", "q3", "q9"]


def test_a_question_set_without_a_good_line_leaves_the_list_alone(tmp_path):
    (tmp_path / "q.jsonl").write_text("{torn\n[]\n")
    result = export(tmp_path / "q.jsonl", "trl", tmp_path / "out")
    assert (result.kept, result.rejected) == (0, 2)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rejects.jsonl"]


def test_a_file_that_cannot_be_read_is_not_taken_for_a_folder_that_cannot_be_written(tmp_path):
    """A regular file for all who look, whose first byte nobody may read: the memory of this process."""
    memory = Path("/proc/self/mem")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trajectories.jsonl").symlink_to(memory)
    for source in (memory, tmp_path / "run"):
        with pytest.raises(InputError, match=r"(mem|trajectories\.jsonl) cannot be read: "):
            export(source, "trl", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_names_are_unique_whatever_files_and_rows_are_called(tmp_path):
    """The hub's layout, each split with the same file name and numbers from 0; and a row named as another would be."""
    names = [["0", "1", "0#0000-1"], ["0", "1"], ["0", "1"], ["0", "0", None], [None]]
    for number, split in enumerate(names):
        (tmp_path / "hub" / str(number)).mkdir(parents=True)
        said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<answer>x</answer>"}]
        rows = [
            {"id": name, "extra_info": {"index": name}, "prompt": said[:1], "completion": said[1:]} for name in split
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub" / str(number) / "0000.parquet")
    result = bring(tmp_path / "hub", "verl", tmp_path / "questions")
    found = [question.row.id for question in read_questions([tmp_path / "questions" / "questions.jsonl"])]
    assert (result.kept, len(set(found))) == (11, 11)
    assert found[:7] == ["0", "1", "0#0000-1", "0#0000-1.2", "1#0000-2", "0#0000-1.3", "1#0000-2.2"]
    bring(tmp_path / "hub", "trl", tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert ([trajectory.id for trajectory in run.trajectories], run.problems) == (found, ())


def test_a_disk_that_fills_up_is_no_reason_to_leave_rows_out(run, tmp_path):
    export(run, "trl", tmp_path / "out")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limit[1]))  # bytes of a file: less than a trajectory
    try:
        with pytest.raises((InputError, RecordError), match="cannot be written"):
            bring(tmp_path / "out", "trl", tmp_path / "back")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_settings_file_among_the_rows_is_told_of(run, tmp_path):
    export(run, "llamafactory", tmp_path / "out")
    (tmp_path / "out" / "trainer.json").write_text('{"dataset": "foveal",\n"cutoff_len": 1}')
    result = bring(tmp_path / "out", "llamafactory", tmp_path / "back")
    assert (result.kept, result.rejected) == (1, 1) and result.rejects[0].where.file.name == "trainer.json"


def test_a_photo_on_its_side_is_set_upright(tmp_path):
    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "side.jpg", exif=exif)
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "?", "images": ["side.jpg"], "gold": "1"}\n')
    export(tmp_path / "q.jsonl", "inspect", tmp_path / "out")
    (picture,) = (tmp_path / "out" / "images").iterdir()
    with Image.open(picture) as upright:
        assert (upright.size, upright.format, len(upright.getexif())) == ((20, 40), "PNG", 0)


def test_an_export_that_is_killed_leaves_nothing_under_its_name(tmp_path, trajectory):
    with RunWriter(tmp_path / "run") as writer:
        line = trajectory(writer, "t").model_dump_json()
    (tmp_path / "run" / "trajectories.jsonl").write_text(f"{line}\n" * 5000)
    program = (
        "from pathlib import Path\nfrom foveal.integrations.formats.transfer import export\n"
        "export(Path('run'), 'llamafactory', Path('out'))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=env) as process:
        while not any(path.stat().st_size for path in tmp_path.glob(".out.part-*/foveal.json")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    (tmp_path / "run" / "trajectories.jsonl").write_text(f"{line}\n" * 3)
    assert export(tmp_path / "run", "llamafactory", tmp_path / "out").kept == 3


def test_an_export_that_fails_leaves_nothing_at_all(run, tmp_path):
    """A disk that is full, as the kernel's own device for it."""
    with pytest.raises(InputError, match="cannot be written"), Outbox(tmp_path / "out") as outbox:
        (outbox.folder / "rows").symlink_to("/dev/full")
        (outbox.folder / "rows").write_text("x")
    with pytest.raises(KeyboardInterrupt), Outbox(tmp_path / "out"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_pictures_are_not_held_all_at_once(tmp_path):
    """Twenty pictures of 0.5 MB each, one at a time: a few of them are in memory, not twenty."""
    rows = []
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (410, 410, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png", compress_level=1)
        rows.append(json.dumps({"id": str(number), "text": "?", "gold": "1", "images": [f"{number}.png"]}))
    (tmp_path / "q.jsonl").write_text("\n".join(rows))
    tracemalloc.start()
    export(tmp_path / "q.jsonl", "inspect", tmp_path / "out")
    bring(tmp_path / "out", "inspect", tmp_path / "back")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
