import json

import pytest
from PIL import Image

from foveal.curate.questions import read_questions
from foveal.records import RunWriter, read_run
from foveal.trajectory import ImagePart, Message, Question, StopReason, TextPart, ToolCall, Trajectory, Turn

CODE = "<think>I look.</think>\n<code>\n```python\nimage_1\n```\n</code>"


@pytest.fixture
def run(tmp_path):
    """A run of two: one that every format takes, and one that says `<image>`."""
    with RunWriter(tmp_path / "run") as writer:
        ref = writer.images.put(Image.new("RGB", (30, 20), "red"))
        for name, said in (("good", CODE), ("bad", f"<image>{CODE}")):
            first = Turn(
                text=said,
                call=ToolCall(tool="code", arguments={"code": "image_1"}),
                observation_parts=(TextPart(text="Images:\n"), ImagePart(image=ref)),
            )
            record = Trajectory(
                id=name, question=Question(id=name, text="What?", images=(ref,), gold=("red",)), policy="p",
                profile="foveal", prompt=(Message(role="user", parts=(ImagePart(image=ref), TextPart(text="What?"))),),
                turns=(first, Turn(text="<answer>red</answer>")), answer="red", stop_reason=StopReason.ANSWERED,
            )  # fmt: skip
            writer.write(record)
    return tmp_path / "run"


@pytest.mark.parametrize(("form", "kept"), [("trl", 2), ("llamafactory", 1), ("hub-folder", 2)])
def test_a_run_goes_out_and_comes_back(foveal, run, tmp_path, form, kept):
    done = foveal("export", "run", "--to", form, "--out", "out", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    assert f"{kept} conversations in out" in done.stdout and "read it with" in done.stdout
    figures = json.loads((tmp_path / "out.json").read_text())
    assert (figures["kind"], figures["kept"], figures["rejected"]) == ("run", kept, 2 - kept)
    done = foveal("import", "out", "--from", form, "--out", "back", "--json", "back.json")
    assert done.returncode == 0, done.stderr
    assert "foveal view back" in done.stdout
    assert list(read_run(tmp_path / "back").trajectories) == list(read_run(run).trajectories)[:kept]
    assert json.loads((tmp_path / "back.json").read_text())["kept"] == kept
    assert foveal("view", "back").returncode == 0
    assert foveal("score", "back", "--preset", "official").returncode == 0


def test_the_real_commands_run_without_a_warning(process, run, tmp_path):
    for words in (
        ("export", "run", "--to", "trl", "--out", "out"),
        ("import", "out", "--from", "trl", "--out", "back"),
    ):
        done = process(*words)
        assert (done.returncode, done.stderr) == (0, "")
    assert len(read_run(tmp_path / "back").trajectories) == 2


def test_what_is_left_out_is_counted_shown_and_listed(foveal, run, tmp_path):
    done = foveal("export", "run", "--to", "llamafactory", "--out", "out")
    assert "1 left out, listed in out/rejects.jsonl" in done.stdout
    assert "run/trajectories.jsonl row 2: message 2 (assistant) says <image>" in done.stdout
    (line,) = (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == 2


def test_nothing_kept_is_code_1(foveal, tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "?"}\n')
    done = foveal("export", "q.jsonl", "--to", "verl", "--out", "out")
    assert done.returncode == 1
    assert "0 questions" in done.stdout and "no accepted answer" in done.stdout and "read it with" not in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rejects.jsonl"]


@pytest.mark.parametrize("form", ["trl", "verl", "hub-folder", "inspect"])
def test_a_question_set_goes_out_and_comes_back(foveal, tmp_path, form):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "What?", "images": ["red.png"], "gold": "red"}\n')
    prompt = []
    if form in ("trl", "verl"):
        (tmp_path / "system.txt").write_text("You look.")
        prompt = ["--system-prompt", "system.txt"]
    done = foveal("export", "q.jsonl", "--to", form, "--out", "out", *prompt)
    assert done.returncode == 0, done.stderr
    done = foveal("import", "out", "--from", form, "--out", "back")
    assert done.returncode == 0 and "back/questions.jsonl" in done.stdout
    (question,) = read_questions([tmp_path / "back" / "questions.jsonl"])
    assert (question.row.text, question.row.gold) == ("What?", ("red",))
    assert question.pictures[0].read_bytes() == (tmp_path / "red.png").read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["export", "run", "--to", "verl", "--out", "out"], "verl takes a question set, and run is a run folder"),
        (["export", "none", "--to", "trl", "--out", "out"], "there is no none"),
        (["export", "run", "--to", "trl", "--out", "run"], "already holds something"),
        (["export", "run", "--to", "trl", "--out", "out", "--system-prompt", "none"], "prompt file none"),
        (["export", "run", "--to", "trl", "--out", "out", "--json", "no/x.json"], "cannot be written"),
        (["import", "none", "--from", "trl", "--out", "out"], "there is no none"),
        (["import", "run", "--from", "verl", "--out", "out"], "there is no file .parquet in run"),
    ],
)
def test_what_cannot_be_done_is_code_2_with_the_fix(foveal, run, tmp_path, words, says):
    done = foveal(*words)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert says in done.stderr and "fix:" in done.stderr and "Traceback" not in done.stderr
