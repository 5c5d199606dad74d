"""`foveal bench --report`: saved runs drawn again, one in the terminal or several side by side on a page."""

import json
from pathlib import Path

import pytest

from foveal.bench.header import FILE, Code, Header
from foveal.cli import main
from foveal.policy.paid import Price
from foveal.records import RunWriter
from foveal.trajectory import Question, StopReason, Trajectory, Turn


def save(folder: Path, right: int, planned: int = 8) -> Path:
    """A run without tools of eight questions, the first so many of them right."""
    with RunWriter(folder / "without-tools") as writer:
        for number in range(8):
            question = Question(id=f"q{number}", text="?", gold=("A",), meta={"options": {"A": "x", "B": "y"}})
            writer.write(Trajectory(
                id=f"q{number}/0", question=question, policy="m", profile="foveal", stop_reason=StopReason.ANSWERED,
                turns=(Turn(text="<answer>A</answer>"),), answer="A" if number < right else "B",
                reward={"accuracy": float(number < right)}, settings={"bench": {"by": "rule", "problem": ""}},
            ))  # fmt: skip
    header = Header(
        benchmark="vstar", title="V*", data="d", items=8, left_out=0, questions_sha256="0" * 64, n=planned, repeats=1,
        seed=0, temperature=0.0, policy=folder.name, profile="foveal", thumbnails=True, prompts={}, suffix="",
        tools={"offered": []}, tools_why="w", limits={"max_image_pixels": 100}, scorer="s", judge=None, price=Price(),
        modes=("without-tools",), code=(Code(since="", foveal="0", commit=None),),
    )  # fmt: skip
    (folder / FILE).write_text(header.model_dump_json())
    return folder


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["bench", *words])
    assert isinstance(end.value.code, int)
    return end.value.code


def test_one_run_in_the_terminal_and_as_a_page(tmp_path, capsys):
    run, page, figures = save(tmp_path / "a", 4), tmp_path / "page", tmp_path / "f.json"
    assert command("--report", str(run), "--page", str(page), "--json", str(figures)) == 0
    said = capsys.readouterr().out
    assert "50.0 %" in said and "21.5 to 78.5 %" in said and f"page: {page / 'index.html'}" in said
    assert json.loads(figures.read_text())["accuracy"] == 0.5
    assert (page / "pages" / "1-vstar" / "without-tools" / "pages" / "8.html").is_file()


def test_several_runs_side_by_side(tmp_path, capsys):
    runs = [str(save(tmp_path / name, right)) for name, right in (("a", 4), ("b", 8))]
    page, figures = tmp_path / "page", tmp_path / "f.json"
    assert command("--report", *runs, "--page", str(page), "--json", str(figures)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{runs[0]}: V*, a: 50.0 % (21.5 to 78.5 %) of 8 questions"
    assert said[1].startswith(f"{runs[1]}: V*, b: 100.0 %")
    assert {name: one["accuracy"] for name, one in json.loads(figures.read_text()).items()} == {
        runs[0]: 0.5,
        runs[1]: 1.0,
    }
    assert (page / "index.html").read_text().count("not in the papers") == 0
    assert command("--report", str(save(tmp_path / "c", 1, planned=9)), runs[0], "--page", str(page)) == 1


def test_saved_answers_are_scored_again_before_they_are_drawn(tmp_path, capsys):
    run = save(tmp_path / "a", 4)
    file = run / "without-tools" / "trajectories.jsonl"
    file.write_text(file.read_text().replace('"accuracy":0.0', '"accuracy":1.0'))
    assert command("--report", str(run)) == 0 and "100.0 %" in capsys.readouterr().out
    assert command("--report", str(run), "--rescore") == 0 and "50.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["vstar", "--page", "p"], "--page is for saved runs"),
        (["--list", "--page", "p"], "--page is for saved runs"),
        (["--list", "--report", "a"], "name a benchmark, or --list, or --report RUN"),
        (["--report", "a", "b"], "name its folder: --page DIR"),
        (["--report", "nowhere", "--page", "p"], "nowhere holds no benchmark run"),
        (["--rescore"], "name a benchmark, or --list, or --report RUN"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(*words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
