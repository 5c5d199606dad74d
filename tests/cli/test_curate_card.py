import json

import pytest
from PIL import Image

from foveal.cli import main
from foveal.curate.folder import Folder, Passes

COUNT = 6


@pytest.fixture
def config(tmp_path):
    """Six raw rows with pictures and one without a question; no model is needed for what is done with them."""
    (tmp_path / "raw").mkdir()
    rows = [{"q": f"What is {n}?", "pic": f"{n}.png", "a": n} for n in range(COUNT)]
    for number in range(COUNT):
        Image.new("RGB", (64, 64), (40 * number, 0, 99)).save(tmp_path / "raw" / f"{number}.png")
    rows.append({"q": "", "pic": "0.png", "a": 1})
    (tmp_path / "raw" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "curate.toml"
    file.write_text(f"""
skip = ["check"]
[[sources]]
name = "raw"
path = "{tmp_path / "raw" / "rows.jsonl"}"
licence = "CC0-1.0"
columns = {{ question = "q", images = "pic", answer = "a" }}
""")
    return file


@pytest.fixture
def curate(config, tmp_path, capsys):
    """Runs a step in `tmp_path / "set"`: its exit code, figures and words."""

    def run(step, *words):
        out = tmp_path / "figures.json"
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as end:
            main(
                ["curate", step, "--config", str(config), "--folder", str(tmp_path / "set"), "--json", str(out), *words]
            )
        said = capsys.readouterr()
        return end.value.code, json.loads(out.read_text()) if out.exists() else {}, said.out + said.err

    return run


def view(*words):
    with pytest.raises(SystemExit) as end:
        main(["view", *map(str, words)])
    return end.value.code


def measure(folder):
    """What a student would have come to: it answers 0 without tools, and 1 to 4 with them half of the time."""
    curation = Folder(folder)
    names = [one.row.id for one in curation.questions()]
    curation.write_verdicts("difficulty", [Passes(id=n, samples=8, right=8 if n == names[0] else 0) for n in names])
    curation.write_verdicts("benefit", [Passes(id=n, samples=8, right=0 if n == names[-1] else 4) for n in names[1:]])


def test_a_card_as_far_as_the_curation_has_come(curate, tmp_path, capsys):
    folder = tmp_path / "set"
    assert curate("add")[0] == 0
    code, figures, said = curate("card")
    assert code == 0 and figures == {
        **{"step": "card", "questions": 6, "sources.rows_in": 7, "sources.rows_out": 6, "sources.waiting": 0},
        **{"sources.dropped.no_question": 1},
    }
    assert said.splitlines()[-2:] == [str(folder / "README.md"), str(folder / "page.html")]
    measure(folder)
    assert curate("split")[0] == 0
    code, figures, _ = curate("card")
    assert code == 0 and figures["difficulty.dropped.too easy"] == 1 and figures["benefit.rows_out"] == 1
    assert (figures["window.rows_out"], figures["rl.rows_out"], figures["rl.train"]) == (4, 4, 4)
    text = (folder / "README.md").read_text()
    assert "license:\n- cc0-1.0" in text and "| rl: reinforcement learning | train | 4 | 4 |" in text
    assert "in the window <b>4</b>" in (folder / "page.html").read_text()
    assert json.loads((folder / "card.json").read_text())["settings"]["skip"] == ["check"]


def test_view_draws_a_curation(curate, tmp_path, capsys):
    folder = tmp_path / "set"
    curate("add")
    assert view(folder) == 2
    assert "fix: write it: foveal curate card" in capsys.readouterr().err
    measure(folder)
    curate("split")
    curate("card")
    (folder / "page.html").unlink()
    assert view(folder) == 0
    assert capsys.readouterr().out.strip() == str(folder / "page.html") and (folder / "page.html").is_file()
    assert view(folder, "--out", tmp_path / "site") == 0
    assert (tmp_path / "site" / "page.html").read_bytes() == (folder / "page.html").read_bytes()
    assert list((tmp_path / "site" / "pictures").iterdir())


def test_other_thresholds_need_other_sets(curate, tmp_path):
    curate("add")
    measure(tmp_path / "set")
    curate("split")
    code, figures, said = curate("card", "--window.highest", "0.25")
    assert (code, figures) == (2, {}) and "fix: run foveal curate split again" in said
    assert curate("split", "--window.highest", "0.25")[0] == 0
    assert curate("card", "--window.highest", "0.25")[1]["window.dropped.too easy with tools"] == 4


def test_split_ends_with_code_1_where_questions_wait_and_takes_no_set_away(curate, tmp_path):
    curate("add")
    measure(tmp_path / "set")
    code, figures, said = curate("split")
    assert (code, figures["waiting"], figures["rl.train"]) == (0, 0, 4) and "wait:" not in said
    rows = (tmp_path / "set" / "rl" / "train.jsonl").read_bytes()
    code, figures, said = curate("split", "--difficulty.samples", "9")
    assert (code, figures) == (2, {}) and "fix: run foveal curate difficulty" in said
    assert (tmp_path / "set" / "rl" / "train.jsonl").read_bytes() == rows
    (tmp_path / "set" / "verdicts" / "split.jsonl").unlink()
    code, figures, said = curate("split", "--difficulty.samples", "9")
    assert (code, figures["waiting"], figures["rl.train"]) == (1, 6, 0)
    assert "6 questions wait: run foveal curate difficulty, and split again" in said
    assert curate("split")[0] == 0, "it goes back as easily"
    assert "cut anew: window.highest was 0.875, and is 0.5 now" in curate("split", "--window.highest", "0.5")[2]


def test_a_licence_is_named_by_adding_again(curate, config, tmp_path):
    text, folder = config.read_text(), tmp_path / "set"
    config.write_text(text.replace('licence = "CC0-1.0"\n', ""))
    curate("add")
    measure(folder)
    curate("split")
    assert curate("card")[0] == 0
    assert (
        "**none named**" in (folder / "README.md").read_text() and "CC0" not in (folder / "rl/train.jsonl").read_text()
    )
    config.write_text(text)
    assert curate("add")[0] == 0
    code, _, said = curate("card")
    assert (
        code == 2 and 'sources.raw.licence was not set, and is "CC0-1.0" now' in said and "curate split again" in said
    )
    assert "cut anew: sources.raw.licence was not set" in curate("split")[2] and curate("card")[0] == 0
    card = (folder / "README.md").read_text()
    assert "license:\n- cc0-1.0" in card and "none named" not in card
    rows = [json.loads(line) for line in (folder / "rl" / "train.jsonl").read_text().splitlines()]
    assert [row["meta"]["licence"] for row in rows] == ["CC0-1.0"] * 4


def test_a_source_of_which_nothing_can_be_kept_is_code_2_and_can_be_mended(curate, config, tmp_path):
    text = config.read_text()
    config.write_text(text.replace('images = "pic"', 'images = "q"'))
    code, figures, said = curate("add")
    assert (code, figures) == (
        2,
        {},
    ) and "set aside were 6 for picture_missing, 1 for no_question: rows.jsonl row 1" in said
    config.write_text(text.replace("licence", f'image_folder = "{tmp_path / "nope"}"\nlicence'))
    code, _, said = curate("add")
    assert code == 2 and "nope is no folder" in said
    config.write_text(text)
    assert curate("add")[1]["rows_out"] == 6


def test_raw_files_without_rows_are_code_2(curate, tmp_path):
    (tmp_path / "raw" / "rows.jsonl").write_text("")
    code, figures, said = curate("add")
    assert (code, figures) == (2, {}) and "source raw: there is no row in" in said and "fix: name files" in said
    assert not (tmp_path / "set" / "sources.json").exists()


def test_what_cannot_be_told_is_code_2(curate, tmp_path):
    code, _, said = curate("card")
    assert code == 2 and "holds no questions yet" in said
    curate("add")
    (tmp_path / "set" / "README.md").write_text("# My own words")
    code, _, said = curate("card")
    assert code == 2 and "was not written by foveal" in said
    assert (tmp_path / "set" / "README.md").read_text() == "# My own words"


def test_the_real_command_runs_without_a_warning(process, config):
    for step in ("add", "card"):
        done = process("curate", step, "--config", config, "--folder", "set")
        assert (done.returncode, done.stderr) == (0, "")
