import asyncio
import dataclasses

import pytest

from foveal.curate.folder import Passes
from foveal.curate.sampling import count_left, passes, remember, sample
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages
from foveal.errors import ConfigError, RecordError
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import scan_run


def answer(text):
    return f"<think>Well.</think><answer>{text}</answer>"


def test_verdicts_are_in_the_order_of_the_questions_and_more_samples_ask_the_missing_ones(curation, asked):
    folder, done = curation(5), []
    who = asked(ScriptedPolicy([answer("1")]), concurrency=4)
    assert count_left(folder, "difficulty", folder.questions(), 2) == 10
    asyncio.run(sample(folder, "difficulty", who, folder.questions(), 2, done.append))
    assert len(done) == 10 and count_left(folder, "difficulty", folder.questions(), 3) == 5
    asyncio.run(sample(folder, "difficulty", who, folder.questions(), 3))
    found = folder.verdicts("difficulty", Passes)
    assert list(found.values()) == [Passes(id=f"q{n}", samples=3, right=3 * (n == 1)) for n in range(5)]
    assert not (folder.run("difficulty") / "images").exists(), "answers are kept, pictures are not"


def test_somebody_else_may_not_go_on(curation, asked):
    folder = curation(1)
    asyncio.run(sample(folder, "difficulty", asked(ScriptedPolicy([answer("1")])), folder.questions(), 1))
    for other, says in (
        (asked(ScriptedPolicy([answer("1")], "other")), 'policy was "scripted"'),
        (asked(ScriptedPolicy([answer("1")]), seed=1), "seed was 0"),
        (asked(ScriptedPolicy([answer("1")]), temperature=0.5), "temperature was 1.0"),
    ):
        with pytest.raises(ConfigError, match=says):
            asyncio.run(sample(folder, "difficulty", other, folder.questions(), 2))


def test_what_no_judge_has_scored_is_counted_apart(curation, asked):
    folder = curation(2)
    asyncio.run(sample(folder, "benefit", asked(ScriptedPolicy([answer("1")])), folder.questions(), 3))
    run = sorted(scan_run(folder.run("benefit")), key=lambda one: one.id)
    run[3] = run[3].model_copy(update={"reward": {}, "unscored": "the judge is down"})
    found = passes(run, 3)
    assert found["q0"] == Passes(id="q0", samples=3, right=0) and found["q0"].rate == 0
    assert found["q1"] == Passes(id="q1", samples=2, right=2, unscored=1) and found["q1"].rate == 1


def test_fewer_samples_than_were_asked_count_the_first_of_them_everywhere(curation, asked):
    folder = curation(3)

    def turn(messages):
        return answer("1")

    asyncio.run(sample(folder, "difficulty", asked(ScriptedPolicy(turn)), folder.questions(), 4))
    run = folder.run("difficulty")
    late = [one.model_copy(update={"reward": {"accuracy": float(one.id[-1] in "23")}}) for one in scan_run(run)]
    (run / "trajectories.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in late))
    assert asyncio.run(sample(folder, "difficulty", asked(ScriptedPolicy(turn)), folder.questions(), 3)).made == 0
    assert set(folder.verdicts("difficulty", Passes).values()) == {
        Passes(id=f"q{n}", samples=3, right=1) for n in range(3)
    }
    chosen = CurateSettings.model_validate({"skip": ["check"], "difficulty": {"samples": 2, "most_right": 0}})
    with pytest.raises(ConfigError, match=r"has counted 3 samples, and difficulty.samples is 2 now[\s\S]*asks nobody"):
        _ = Stages(folder, chosen).hard
    asyncio.run(sample(folder, "difficulty", asked(ScriptedPolicy(turn)), folder.questions(), 2))
    assert len(Stages(folder, chosen).hard.kept) == 3, "the first two were wrong"
    odd = late[0].model_copy(update={"id": "made by hand"})
    assert passes([odd], 8) == {}


def test_a_checkpoint_that_was_trained_again_in_place_is_somebody_else(curation, asked):
    folder = curation(1)

    def ask(weights):
        who = dataclasses.replace(asked(ScriptedPolicy(lambda messages: "<answer>0</answer>")), weights=weights)
        return asyncio.run(sample(folder, "window", who, folder.questions(), 1)).made

    assert (ask("a"), ask("a")) == (1, 0)
    with pytest.raises(ConfigError, match='weights was "a"'):
        ask("b")


def test_a_checkpoint_is_known_by_its_weights_however_its_path_is_written(curation, asked):
    folder, seeds = curation(1), []

    class Noting(ScriptedPolicy):
        def open(self, images, sampling):
            seeds.append(sampling.seed)
            return super().open(images, sampling)

    def ask(name, weights, samples, step="window"):
        who = dataclasses.replace(asked(Noting([answer("0")], name)), weights=weights)
        return asyncio.run(sample(folder, step, who, folder.questions(), samples)).made

    assert [ask("runs/base", "a", 2), ask("./runs/base", "a", 2), ask("/moved", "a", 3)] == [2, 0, 1]
    assert ask("/moved", "a", 3, "benefit") == 3 and sorted(seeds[:3]) == sorted(seeds[3:]), (
        "seeds follow from the weights, too"
    )
    with pytest.raises(ConfigError, match=r'policy was "runs/base", weights was "a"'):
        ask("runs/other", "b", 3)


@pytest.mark.parametrize("content", ["", "[1]", "{", "\0"])
def test_a_note_of_who_was_asked_that_cannot_be_read_is_told(tmp_path, content):
    (tmp_path / "asked.json").write_text(content)
    with pytest.raises(ConfigError, match=r"asked.json cannot be read"):
        remember(tmp_path, {"policy": "a"})


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"\n", b"{}\n"])
def test_verdicts_that_cannot_be_read_are_told_with_their_line(curation, line):
    folder = curation(1)
    folder.write_verdicts("benefit", [Passes(id="q0", samples=1, right=1)])
    with (folder.path / "verdicts" / "benefit.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(RecordError, match=r"benefit.jsonl line 2 is no verdict"):
        folder.verdicts("benefit", Passes)
