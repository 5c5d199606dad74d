import asyncio
import json
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from foveal.curate.folder import Passes
from foveal.curate.questions import read_questions
from foveal.curate.sets import source_of
from foveal.curate.settings import CurateSettings
from foveal.curate.split import Placed, split
from foveal.curate.stages import Stages
from foveal.curate.synthesis import run_of, synthesize, verify
from foveal.errors import ConfigError, InputError, RecordError
from foveal.files import alone
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter, read_run
from foveal.trajectory import Question, StopReason, Trajectory, Turn


def settings(**changes):
    teachers = [{"name": "alice", "policy": "a"}, {"name": "bob", "policy": "b"}]
    sampling = {"difficulty": {"samples": 8}, "benefit": {"samples": 8}}
    verify = {"placeholders": True, **changes.pop("verify", {})}
    return CurateSettings.model_validate({"teachers": teachers, "verify": verify, **sampling, **changes})


def teacher(messages):
    number = messages[1].text.split()[2].rstrip("?")
    look = "<think>I look.</think>\n<code>\n```python\nf(1)\n```\n</code>"
    return look if len(messages) == 2 else f"<think>Well.</think><answer>{number}</answer>"


@pytest.fixture
def curated(measured, asked, tools):
    """What nobody solved is taught by alice and bob."""

    def make(chosen, count=20):
        folder = measured(count)
        who = {name: asked(ScriptedPolicy(teacher, name), tools=tools) for name in ("alice", "bob")}
        questions = Stages(folder, chosen).asked
        asyncio.run(synthesize(folder, chosen, who, questions))
        verify(folder, chosen, questions)
        return folder

    return make


def places(folder):
    return {name: (one.set, one.reason) for name, one in folder.verdicts("split", Placed).items()}


def test_every_question_is_in_one_set_or_has_a_reason(curated):
    chosen = settings()
    folder = curated(chosen)
    sets = split(folder, chosen)
    expected = {f"q{number}": ("sft", None) for number in range(10, 20)}
    expected |= dict.fromkeys(("q0", "q1"), (None, "leak of picture")) | dict.fromkeys(("q2", "q3"), (None, "too easy"))
    expected |= {"q4": (None, "too easy with tools"), **dict.fromkeys(("q5", "q6", "q7", "q8", "q9"), ("rl", None))}
    assert places(folder) == expected
    assert (sets.sft["train"], sets.rl["train"], sets.waiting, sets.changed) == (10, 5, {}, ())
    rl = read_questions([folder.path / "rl" / "train.jsonl"])
    assert [one.row.id for one in rl] == ["q5", "q6", "q7", "q8", "q9"] and all(
        p.is_file() for one in rl for p in one.pictures
    )
    run = read_run(folder.path / "sft" / "train")
    assert not run.problems and [t.question.id for t in run.trajectories] == [f"q{n}" for n in range(10, 20)]
    assert {t.settings["teacher"] for t in run.trajectories} == {"alice", "bob"}, "the teachers take turns"
    assert {
        (t.seconds, t.started, t.turns[0].seconds, t.turns[0].observation.cell.seconds) for t in run.trajectories
    } == {(0.0, "", 0.0, 0.0)}


def test_what_is_not_known_waits_and_is_in_no_set(curated):
    chosen = settings()
    folder = curated(chosen)
    verdicts = folder.verdicts("benefit", Passes)
    verdicts["q7"] = Passes(id="q7", samples=6, right=3, unscored=2)
    del verdicts["q12"]
    folder.write_verdicts("benefit", verdicts.values())
    sets = split(folder, chosen)
    assert places(folder)["q7"] == places(folder)["q12"] == (None, "waiting")
    assert (sets.sft["train"], sets.rl["train"], sets.waiting) == (9, 4, {"benefit": 2})


def test_what_was_given_up_says_so(curated):
    chosen = settings()
    folder = curated(chosen)
    verdicts = folder.verdicts("benefit", Passes) | {"q7": Passes(id="q7", samples=7, right=3, given_up=1)}
    folder.write_verdicts("benefit", verdicts.values())
    assert split(folder, chosen).waiting == {}
    assert places(folder)["q7"] == (None, "given up")
    assert split(folder, settings(split={"most_rl": 1})).rl["train"] == 1
    assert Counter(reason for _, reason in places(folder).values())["not drawn"] == 3, "what is solved is no reason"
    own = settings(window={"student": {"policy": "x"}}, split={"most_rl": 1})
    folder.write_verdicts("window", [Passes(id=f"q{n}", samples=8, right=4 if n != 5 else 0) for n in range(4, 10)])
    split(folder, own)
    assert places(folder)["q5"] == (None, "too hard"), "the window of its own has asked what benefit has given up"
    assert {places(folder)[f"q{n}"] for n in (4, 6, 7, 8, 9)} == {("rl", None), (None, "not drawn")}


def test_a_question_of_the_sets_is_not_dropped_because_a_step_is_to_ask_for_more(curated):
    folder = curated(settings())
    split(folder, settings())
    before, rows = places(folder), (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes()
    more = settings(difficulty={"samples": 9})
    with pytest.raises(ConfigError, match=r"15 questions of the sets .* wait for difficulty[\s\S]*curate difficulty"):
        split(folder, more)
    assert places(folder) == before
    assert (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes() == rows
    (folder.path / "verdicts" / "split.jsonl").unlink()
    assert split(folder, more).waiting == {"difficulty": 18}, "who wants to can cut without them"


def test_without_teachers_nothing_waits_for_them(curated):
    folder = curated(settings())
    (folder.path / "verdicts" / "verify.jsonl").unlink()
    assert split(folder, settings()).waiting == {"synthesize": 10}
    assert split(folder, settings(teachers=[])).waiting == {}
    assert places(folder)["q12"] == (None, "no teachers") and places(folder)["q5"] == ("rl", None)


def test_a_stricter_rule_lets_questions_wait_for_teachers_with_tries_left(curated):
    folder = curated(settings())
    split(folder, settings())
    strict = settings(synthesis={"samples": 2}, verify={"most_tokens": 1})
    verify(folder, strict, Stages(folder, strict).asked)
    assert split(folder, strict).waiting == {"synthesize": 10}
    assert not (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes()


def test_a_cut_with_other_settings_names_them(curated):
    folder = curated(settings())
    assert split(folder, settings(split={"most_sft": 4})).changed == ()
    changed = split(folder, settings(window={"lowest": 0.5}, balance={"sft": {"even": 0.5}})).changed
    assert changed == (
        "balance.sft.even was not set, and is 0.5 now",
        "split.most_sft was 4, and is not set now",
        "window.lowest was 0.125, and is 0.5 now",
    )
    idle = settings(window={"lowest": 0.5}, balance={"sft": {"even": 0.5}}, student={"policy": "y", "concurrency": 3})
    assert split(folder, idle).changed == (), "who is asked, and how, is no threshold"
    kept = json.loads((folder.path / "verdicts" / "split-settings.json").read_text())
    assert kept["balance.sft.even"] == 0.5 and kept["teachers"] == ["alice", "bob"]


def test_the_cold_start_stays_what_the_model_of_the_window_has_learned(curated):
    window = {"student": {"policy": "x"}}
    chosen = settings(window=window, split={"most_sft": 6})
    folder = curated(chosen)
    split(folder, chosen)
    learned = {name for name, place in places(folder).items() if place[0] == "sft"}
    left = [one.row.id for one in Stages(folder, chosen).for_window(learned)]
    folder.write_verdicts("window", [Passes(id=n, samples=8, right=4) for n in left])
    assert split(folder, chosen).rl["train"] == 10
    before = places(folder)
    forgotten = settings(window=window)
    why = r"0 questions would leave that, 4 would come to it: split.most_sft was 6, and is not set now"
    with pytest.raises(ConfigError, match=rf"{why}[\s\S]*move .*window.jsonl and .*/window away"):
        split(folder, forgotten)
    assert places(folder) == before
    assert split(folder, settings(window={**window, "lowest": 0.6}, split={"most_sft": 6})).rl["train"] == 0
    (folder.path / "verdicts" / "window.jsonl").unlink()
    assert split(folder, forgotten).sft["train"] == 10, "another model can be trained"


def test_what_nobody_knows_the_answer_of_is_dropped_before_anybody_is_asked(curated):
    chosen = settings()
    folder = curated(chosen)
    questions = folder.path / "questions.jsonl"
    questions.write_text(questions.read_text().replace('"gold": ["7"]', '"gold": []'))
    assert Stages(folder, chosen).checked.dropped["q7"] == "no answer"
    assert Stages(folder, settings(skip=["check"])).checked.dropped == {"q7": "no answer"}
    split(folder, chosen)
    assert places(folder)["q7"] == (None, "no answer")


def test_a_cut_that_fails_leaves_sets_and_verdicts_as_they_were(curated):
    folder = curated(settings())
    split(folder, settings())
    before = places(folder)
    kept = (folder.path / "verdicts" / "split-settings.json").read_bytes()
    with pytest.raises(ConfigError, match="asks for"):
        split(folder, settings(split={"most_sft": 20}, long_cot={"share": 0.9}))
    assert places(folder) == before
    assert (folder.path / "verdicts" / "split-settings.json").read_bytes() == kept
    assert len(read_run(folder.path / "sft" / "train").trajectories) == 10


def test_several_trajectories_of_a_question_are_of_several_teachers(curated):
    chosen = settings(verify={"per_question": 2})
    folder = curated(chosen)
    assert split(folder, chosen).sft["train"] == 20
    taught = [(t.question.id, t.settings["teacher"]) for t in read_run(folder.path / "sft" / "train").trajectories]
    assert set(taught) == {(f"q{number}", name) for number in range(10, 20) for name in ("alice", "bob")}
    ids = [t.id for t in read_run(folder.path / "sft" / "train").trajectories]
    assert len(set(ids)) == 20


def test_sizes_and_shares(curated):
    chosen = settings(split={"most_sft": 4, "most_rl": 2})
    folder = curated(chosen)
    sets = split(folder, chosen)
    assert (sets.sft["train"], sets.rl["train"]) == (4, 2)
    assert sum(reason == "not drawn" for _, reason in places(folder).values()) == 9
    chosen = settings(balance={"sft": {"even": 0.2}, "rl": {"odd": 0.34}})
    sets = split(folder, chosen)
    families = [t.question.family for t in read_run(folder.path / "sft" / "train").trajectories]
    assert (families.count("even"), families.count("odd")) == (1, 5)
    assert [one.row.family for one in read_questions([folder.path / "rl" / "train.jsonl"])].count("odd") == 1
    assert sum(reason == "over its share" for _, reason in places(folder).values()) == 4 + 2
    with pytest.raises(ConfigError, match=r"come to 0\.5"):
        split(folder, settings(balance={"sft": {"even": 0.25, "odd": 0.25}}))


@pytest.mark.parametrize(("set_", "by"), [("sft", "family"), ("rl", "family"), ("rl", "domain")])
def test_a_share_of_what_does_not_exist_is_refused_with_what_does(curated, set_, by):
    folder = curated(settings())
    there = "even, odd" if by == "family" else "other"
    with pytest.raises(ConfigError, match=rf"balance.{set_} has a share for 'evn'[\s\S]*name one of {there}$"):
        split(folder, settings(balance={"by": by, set_: {"evn": 0.5}}))
    assert not folder.has("split")


@pytest.mark.parametrize("share", [-0.1, 1.1, 30])
def test_a_share_is_of_one(share):
    with pytest.raises(ValidationError, match=r"balance.sft.even"):
        settings(balance={"sft": {"even": share}})


@pytest.mark.parametrize(
    ("each", "most", "share", "rows", "reasoning"),
    [(1, 4, 0.0, 4, 0), (2, 7, 0.0, 6, 0), (2, 10, 0.5, 8, 4), (1, 10, 0.8, 10, 8)],
)
def test_the_size_of_the_cold_start_is_that_of_its_trajectories(curated, each, most, share, rows, reasoning):
    chosen = settings(verify={"per_question": each}, split={"most_sft": most}, long_cot={"share": share})
    folder = curated(chosen)
    source_of(folder).write_verdicts("check", [])
    with RunWriter(folder.run("long-cot")) as writer:
        for number in range(9):
            question = Question(id=f"thoughts-{number}", text="Why?", gold=("1",))
            writer.write(
                Trajectory(id=question.id, question=question, policy="long-cot", profile="foveal",
                           turns=(Turn(text="So."),), answer="1", stop_reason=StopReason.ANSWERED)
            )  # fmt: skip
    sets = split(folder, chosen)
    assert (sets.sft, sets.long_cot) == ({"train": rows, "held_out": 0}, {"train": reasoning, "held_out": 0})
    assert len(read_run(folder.path / "sft" / "train").trajectories) == rows


def test_trajectories_are_not_held_while_they_are_written(curated):
    chosen = settings()
    folder = curated(chosen)
    file = run_of(folder, "alice") / "trajectories.jsonl"
    long = [json.loads(line) for line in file.read_text().splitlines()]
    for one in long:
        one["turns"][-1]["text"] += " so" * 300_000
    file.write_text("".join(json.dumps(one) + "\n" for one in long))
    (run_of(folder, "bob") / "trajectories.jsonl").write_text("")
    verify(folder, chosen, Stages(folder, chosen).asked)
    tracemalloc.start()
    split(folder, chosen)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder.path / "sft" / "train" / "trajectories.jsonl").stat().st_size > 9e6
    assert peak < 7e6, "ten trajectories of 0.9 MB, of which one and its copies are there at a time"


def test_a_trajectory_that_went_away_since_it_was_verified_is_told(curated):
    chosen = settings()
    folder = curated(chosen)
    split(folder, chosen)
    for name in ("alice", "bob"):
        file = run_of(folder, name) / "trajectories.jsonl"
        file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RecordError, match=r"q1\d/0 of .* was verified, and cannot be read"):
        split(folder, chosen)
    (run_of(folder, "alice") / "trajectories.jsonl").unlink()
    with pytest.raises(RecordError, match=r"alice cannot be read"):
        split(folder, chosen)
    assert len(read_run(folder.path / "sft" / "train").trajectories) == 10, "the old set is still there"


def test_a_picture_that_went_away_is_told(curated):
    folder = curated(settings())
    for name in ("alice", "bob"):
        for file in (run_of(folder, name) / "images").iterdir():
            file.unlink()
    with pytest.raises(RecordError, match=r"picture .*[0-9a-f]{64}\.png of trajectory q1\d/0 is missing"):
        split(folder, settings())


def test_parts_do_not_share_a_picture_and_a_new_cut_replaces_the_old_one(curated):
    chosen = settings(split={"held_out": 0.5}, seed=3)
    folder = curated(chosen)
    sets = split(folder, chosen)
    assert sets.sft["held_out"] and sets.sft["train"] and sum(sets.sft.values()) == 10
    pictures = {}
    for part in ("train", "held_out"):
        run = read_run(folder.path / "sft" / part)
        pictures[part] = {ref.sha256 for t in run.trajectories for ref in t.question.images}
    assert not pictures["train"] & pictures["held_out"]
    split(folder, settings())
    assert not read_run(folder.path / "sft" / "held_out").trajectories
    assert not (folder.path / "rl" / "held_out.jsonl").exists() and not list(folder.path.glob("*.part"))


def test_a_picture_in_another_format_and_size_is_in_the_same_part(curated):
    folder = curated(settings(), 24)
    rng, pictures = np.random.default_rng(0), folder.path / "pictures"
    for pair in range(6):
        scene = Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).resize(
            (240, 240), Image.Resampling.BICUBIC
        )
        scene.save(pictures / f"{2 * pair}.png")
        scene.resize((160, 160)).save(pictures / f"{2 * pair + 1}.png", "JPEG", quality=60)
    ways = set()
    for seed in range(6):
        chosen = settings(split={"held_out": 0.5}, seed=seed, skip=["check", "difficulty"])
        names = [one.row.id for one in folder.questions()]
        folder.write_verdicts("benefit", [Passes(id=name, samples=8, right=4) for name in names])
        split(folder, chosen)
        part = {name: one.part for name, one in folder.verdicts("split", Placed).items()}
        for pair in range(6):
            ways.add(part[f"q{4 * pair}"])
            assert len({part[f"q{4 * pair + number}"] for number in range(4)}) == 1
    assert ways == {"train", "held_out"}


def test_a_window_of_its_own_model_asks_what_the_cold_start_did_not_learn(curated):
    chosen = settings(window={"student": {"policy": "x"}}, split={"most_sft": 6})
    folder = curated(chosen)
    sets = split(folder, chosen)
    assert (sets.sft["train"], sets.rl["train"]) == (6, 0), "the window is not known yet"
    learned = {name for name, place in places(folder).items() if place[0] == "sft"}
    candidates = [one.row.id for one in Stages(folder, chosen).for_window(learned)]
    assert len(candidates) == 20 - 4 - 6 and not learned & set(candidates)
    folder.write_verdicts("window", [Passes(id=n, samples=8, right=k) for k, n in enumerate(candidates[:9])])
    sets = split(folder, chosen)
    assert (sets.sft["train"], sets.rl["train"]) == (6, 7), "of 0 to 8 right, 1 to 7 are in the window"
    assert sets.waiting == {"window": 1}


def test_a_step_that_was_left_out_lets_everything_pass(curated):
    chosen = settings()
    folder = curated(chosen)
    assert len(Stages(folder, settings(skip=["check"])).checked.kept) == 20
    assert len(Stages(folder, settings(skip=["difficulty"])).hard.kept) == 18
    for step in ("check", "difficulty", "benefit"):
        (folder.path / "verdicts" / f"{step}.jsonl").rename(folder.path / "aside")
        with pytest.raises(ConfigError, match=f"curate {step}"):
            split(folder, chosen)
        (folder.path / "aside").rename(folder.path / "verdicts" / f"{step}.jsonl")


def test_the_rest_of_the_pipeline_does_not_change_who_is_drawn(curated):
    chosen = settings(split={"most_sft": 5})
    folder = curated(chosen)
    split(folder, chosen)
    before = {name for name, place in places(folder).items() if place[0] == "sft"}
    lines = (folder.path / "questions.jsonl").read_text().splitlines()
    (folder.path / "questions.jsonl").write_text("".join(f"{line}\n" for line in reversed(lines)))
    split(folder, chosen)
    assert {name for name, place in places(folder).items() if place[0] == "sft"} == before
    assert json.loads((folder.path / "verdicts" / "split.jsonl").read_text().splitlines()[0])["id"] == "q19"


def test_two_processes_do_not_write_the_sets_of_one_folder_at_a_time(curated):
    folder = curated(settings())
    split(folder, settings())
    before = (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes()
    with alone(folder.path), pytest.raises(InputError, match="another process is writing"):
        split(folder, settings(seed=5))
    assert (folder.path / "sft" / "train" / "trajectories.jsonl").read_bytes() == before
    assert not list(folder.path.glob("*.part"))
