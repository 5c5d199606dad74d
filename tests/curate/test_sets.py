import json

import pytest

from foveal.curate.folder import Folder, Passes
from foveal.curate.leaks import CheckVerdict
from foveal.curate.longcot import take_reasoning
from foveal.curate.sets import source_of
from foveal.curate.split import Placed, changes, split
from foveal.curate.stages import Stages
from foveal.errors import ConfigError, InputError
from foveal.protocol import FOVEAL
from foveal.records import RunWriter, read_run
from foveal.trajectory import Question, StopReason, Trajectory, Turn

WINDOW = {"student": {"policy": "x"}}


@pytest.fixture
def reasoning():
    """Writes trajectories of reasoning alone, `thoughts-0` ..., of which the first so many leak from a benchmark."""

    def write(folder: Folder, count: int, leaking: int = 0):
        names = [f"thoughts-{number}" for number in range(count)]
        leak = {"benchmark": "b", "item": "1", "overlap": 1.0, "words": 20}
        verdicts = [CheckVerdict(id=name, texts=(leak,) if place < leaking else ()) for place, name in enumerate(names)]
        source_of(folder).write_verdicts("check", verdicts)
        with RunWriter(folder.run("long-cot")) as writer:
            for name in names:
                question = Question(id=name, text="Why?", gold=("1",))
                writer.write(
                    Trajectory(id=name, question=question, policy="long-cot", profile="foveal",
                               turns=(Turn(text=f"So {name}."),), answer="1", stop_reason=StopReason.ANSWERED)
                )  # fmt: skip

    return write


def learned(folder, part="train"):
    return read_run(folder.path / "sft" / part).trajectories


def of_reasoning(folder):
    return [one.question.id for one in learned(folder) if one.settings["teacher"] == "long-cot"]


def test_reasoning_that_leaks_is_not_learned(curated, settings, reasoning):
    chosen = settings(long_cot={"share": 0.5}, split={})
    folder = curated(chosen)
    reasoning(folder, 8, leaking=3)
    assert split(folder, chosen).long_cot["train"] == 5
    assert of_reasoning(folder) == [f"thoughts-{number}" for number in range(3, 8)]
    with pytest.raises(ConfigError, match="asks for 8 trajectories of reasoning, and there are 5"):
        split(folder, settings(long_cot={"share": 0.6}, split={}))
    more = settings(long_cot={"share": 0.6}, split={}, check={"text_overlap": 1.1})
    assert split(folder, more).long_cot["train"] == 8, "thresholds can be changed afterwards"


@pytest.fixture
def asked_window(curated, settings, reasoning):
    """A curation whose cold start was learned by the model that was asked for the window; and its settings."""
    chosen = settings(window=WINDOW, long_cot={"share": 0.5}, split={"most_sft": 6})
    folder = curated(chosen)
    reasoning(folder, 9)
    split(folder, chosen)
    names = {name for name, one in folder.verdicts("split", Placed).items() if one.set == "sft"}
    left = [one.row.id for one in Stages(folder, chosen).for_window(names)]
    folder.write_verdicts("window", [Passes(id=name, samples=8, right=4) for name in left])
    split(folder, chosen)
    return folder, chosen


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"long_cot": {"share": 0.25}}, r"0 questions would leave that, 1 would come to it: long_cot\.share was 0\.5"),
        (
            {"long_cot": {"share": 0.4}},
            r"other trajectories would be in sft/train: long_cot\.share was 0\.5, and is 0\.4",
        ),
        ({"split": {"most_sft": 6, "held_out": 0.5}}, r"other trajectories .*: split\.held_out was 0\.0, and is 0\.5"),
        ({"seed": 7}, r"([1-9]) questions would leave that, \1 would come to it: seed was 0, and is 7 now"),
    ],
)
def test_once_the_window_was_asked_the_cold_start_is_that_which_was_learned(asked_window, settings, other, why):
    folder, chosen = asked_window
    same = {"window": WINDOW, "long_cot": {"share": 0.5}, "split": {"most_sft": 6}}
    before = (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=rf"{why}[\s\S]*move .*window.jsonl and .*/window away"):
        split(folder, settings(**(same | other)))
    assert (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes() == before
    assert split(folder, chosen).changed == ()
    (folder.path / "verdicts" / "window.jsonl").unlink()
    split(folder, settings(**(same | other)))
    assert (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes() != before, "another model can be trained"


def name_licence(folder, licence):
    """What `add` does to questions that are there."""
    rows = [json.loads(line) for line in (folder.path / "questions.jsonl").read_text().splitlines()]
    lines = [json.dumps({**row, "meta": {**row["meta"], "licence": licence}}) for row in rows]
    (folder.path / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_a_licence_that_is_named_later_is_with_the_rows_of_both_sets_and_no_other_cold_start(
    asked_window, settings, add_figures
):
    folder, chosen = asked_window
    assert all("licence" not in one.question.meta for one in learned(folder))
    name_licence(folder, "MIT")
    add_figures(folder.path, licence="MIT")
    assert changes(folder, chosen) == ['sources.s.licence was "CC BY 4.0", and is "MIT" now']
    assert split(folder, chosen).rl["train"]
    rows = [json.loads(line) for line in (folder.path / "rl" / "train.jsonl").read_text().splitlines()]
    assert {row["meta"]["licence"] for row in rows} == {"MIT"}
    told = {one.question.meta.get("licence") for one in learned(folder) if one.settings["teacher"] != "long-cot"}
    assert told == {"MIT"} and changes(folder, chosen) == []


def test_a_licence_of_reasoning_that_is_named_later_is_with_its_rows(curated, settings, tmp_path):
    rows = [{"q": f"{n} + {n}?", "s": f"Twice {n}.", "a": 2 * n} for n in range(6)]
    (tmp_path / "cot.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"question": "q", "reasoning": "s", "answer": "a"}

    def chosen(**named):
        source = {"name": "math", "path": str(tmp_path / "cot.jsonl"), "columns": columns, **named}
        return settings(long_cot={"share": 0.5, "sources": [source]}, split={})

    def licences():
        return {one.question.meta.get("licence") for one in learned(folder) if one.settings["teacher"] == "long-cot"}

    folder = curated(chosen())
    take_reasoning(folder, chosen(licence="MIT"), FOVEAL)
    split(folder, chosen(licence="MIT"))
    assert licences() == {"MIT"}
    take_reasoning(folder, chosen(licence="CC0-1.0"), FOVEAL)
    assert changes(folder, chosen()) == ['long_cot.sources.math.licence was "MIT", and is "CC0-1.0" now']
    split(folder, chosen())
    assert licences() == {"CC0-1.0"}
    take_reasoning(folder, chosen(), FOVEAL)
    split(folder, chosen())
    assert licences() == {None}


def test_the_settings_that_sets_follow_from_are_without_the_judge_and_with_the_seed(curated, settings):
    judged = {"judge": {"url": "http://joe:s3cret@10.0.0.1/v1", "model": "j"}}
    folder = curated(settings())
    split(folder, settings(reward=judged))
    assert "s3cret" not in (text := (folder.path / "verdicts" / "split-settings.json").read_text())
    assert "judge" not in text and changes(folder, settings()) == []
    assert changes(folder, settings(seed=5)) == ["seed was 0, and is 5 now"]


def test_sets_whose_cutting_was_interrupted_are_not_told_as_those_of_the_settings_before(curated, settings):
    folder = curated(settings())
    split(folder, settings())
    (folder.path / "verdicts" / "split.jsonl").unlink()
    (folder.path / "verdicts" / "split.jsonl").mkdir()  # as if the disk were full when the sets were in their places
    with pytest.raises(InputError, match="cannot be written"):
        split(folder, settings(split={"most_sft": 2}))
    assert sum(len(learned(folder, part)) for part in ("train", "held_out")) == 2
    assert changes(folder, settings()) is None and changes(folder, settings(split={"most_sft": 2})) is None
