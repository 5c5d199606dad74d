import asyncio

import pytest

from foveal.asking import Progress
from foveal.curate.failing import SESSIONS, given_up, note_failures
from foveal.curate.folder import Passes
from foveal.curate.sampling import count_left, sample
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages
from foveal.curate.synthesis import synthesize, verify
from foveal.errors import PolicyError, RecordError
from foveal.policy.scripted import ScriptedPolicy


def refusing(*numbers, name="scripted"):
    """A policy that fails at questions of these numbers, whatever happens, and answers 1 to others."""

    def turn(messages):
        if int(messages[1].text.split()[2].rstrip("?")) in numbers:
            raise PolicyError("I will not look at that")
        return "<think>Well.</think><answer>1</answer>"

    return ScriptedPolicy(turn, name)


def test_what_fails_in_three_sessions_is_given_up_and_counted(curation, asked):
    folder, who = curation(5), asked(refusing(2), concurrency=2)
    folder.write_verdicts("check", [])
    chosen = CurateSettings.model_validate({"skip": ["check"], "difficulty": {"samples": 2, "most_right": 1}})
    for session in range(1, SESSIONS + 1):
        progress = asyncio.run(sample(folder, "difficulty", who, folder.questions(), 2))
        last = session == SESSIONS
        assert (progress.failed, progress.given_up, progress.error is None) == ((0, 2, True) if last else (2, 0, False))
        hard = Stages(folder, chosen).hard
        assert [one.row.id for one in hard.waiting] == ([] if last else ["q2"])
    assert hard.reasons["given up"] == 1 and hard.dropped["q2"] == "given up"
    assert folder.verdicts("difficulty", Passes)["q2"] == Passes(id="q2", samples=0, right=0, given_up=2)
    assert count_left(folder, "difficulty", folder.questions(), 2) == 0
    assert asyncio.run(sample(folder, "difficulty", who, folder.questions(), 2)).made == 0
    (folder.run("difficulty") / "failures.jsonl").unlink()
    assert asyncio.run(sample(folder, "difficulty", asked(refusing()), folder.questions(), 2)).made == 2


def test_the_set_for_reinforcement_learning_has_no_question_that_was_given_up(curation, asked):
    folder = curation(4)
    chosen = CurateSettings.model_validate({"skip": ["check", "difficulty"], "benefit": {"samples": 1}})
    for _ in range(SESSIONS):
        asyncio.run(sample(folder, "benefit", asked(refusing(3)), folder.questions(), 1))
    stages = Stages(folder, chosen)
    assert [one.row.id for one in stages.solved] == ["q1"] and stages.unsolved.dropped["q3"] == "given up"


def test_an_endpoint_that_is_down_gives_up_nothing(curation, asked):
    folder = curation(9)
    down = asked(refusing(*range(9)), concurrency=1)
    for _ in range(SESSIONS + 1):
        progress = asyncio.run(sample(folder, "difficulty", down, folder.questions(), 1))
        assert progress.stopped and not progress.given_up
    few = asked(refusing(*range(9)), concurrency=9)  # too few are left for many failures in a row
    for _ in range(SESSIONS + 1):
        progress = asyncio.run(sample(folder, "difficulty", few, folder.questions(), 1))
        assert (progress.stopped, progress.failed, progress.given_up) == (None, 9, 0)
    assert not given_up(folder.run("difficulty"))
    assert asyncio.run(sample(folder, "difficulty", asked(refusing()), folder.questions(), 1)).made == 9


def test_a_teacher_that_will_not_goes_on_with_the_next_try_and_the_question_has_a_reason(curation, asked):
    folder = curation(3)
    chosen = CurateSettings.model_validate({"teachers": [{"name": "bob", "policy": "b"}]})
    who = {"bob": asked(refusing(2, name="bob"))}
    for session in range(SESSIONS):
        asyncio.run(synthesize(folder, chosen, who, folder.questions()))
        found = verify(folder, chosen, folder.questions())
        assert ("q2" in found) == (session == SESSIONS - 1)
    assert (found["q2"].tries, found["q2"].given_up) == ((), 1)
    folder.write_verdicts("benefit", [Passes(id=f"q{n}", samples=8, right=0) for n in range(3)])
    skipped = chosen.model_copy(update={"skip": ("check", "difficulty")})
    assert Stages(folder, skipped).verified.dropped["q2"] == "given up"
    more = chosen.model_copy(update={"synthesis": chosen.synthesis.model_copy(update={"samples": 2})})
    made = asyncio.run(synthesize(folder, more, {"bob": asked(refusing(name="bob"))}, folder.questions()))
    assert made["bob"].made == 3, "the second try of all three, and no other of the first"


@pytest.mark.parametrize("content", ["{}\n", "\n", "\xff"])
def test_a_list_of_failures_that_cannot_be_read_is_told(tmp_path, content):
    (tmp_path / "failures.jsonl").write_text(content, encoding="latin-1")
    with pytest.raises(RecordError, match=r"failures.jsonl cannot be read"):
        given_up(tmp_path)
    with pytest.raises(RecordError, match="remove it"):
        note_failures(tmp_path, Progress(made=1, failed=1, reasons={"q/0": "down"}))
