from foveal.records import RunWriter
from foveal.trajectory import Question, StopReason, Trajectory, Turn


def test_view_draws_a_run_and_says_where(foveal, process, tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        question = Question(id="q", text="How many?")
        turn = Turn(text="<answer>4</answer>")
        record = Trajectory(
            id="t", question=question, policy="p", profile="foveal", turns=(turn,), answer="4",
            stop_reason=StopReason.ANSWERED,
        )  # fmt: skip
        writer.write(record)
    done = process("view", "run")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "run" / "index.html"))
    assert "How many?" in (tmp_path / "run" / "index.html").read_text()
    done = foveal("view", "run", "--out", "site")
    assert done.stdout.strip() == str(tmp_path / "site" / "index.html")


def test_a_folder_without_a_run_is_code_2(foveal, tmp_path):
    done = foveal("view", tmp_path)
    assert done.returncode == 2
    assert "holds no run" in done.stderr and "fix:" in done.stderr
