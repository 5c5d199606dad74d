import asyncio

import pytest
from pydantic import ValidationError

from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages
from foveal.curate.synthesis import count_left, run_of, synthesize, verify
from foveal.errors import ConfigError, PolicyError
from foveal.policy.paid import Ceiling, Ledger
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter, read_run, scan_run

TEACHERS = [{"name": "alice", "policy": "a"}, {"name": "bob", "policy": "b"}]


def settings(**changes):
    return CurateSettings.model_validate({"teachers": TEACHERS, **changes})


class Teacher:
    """Calls code and answers; right from its n-th try at a question on, counted over sessions."""

    def __init__(self, name, right_from=0):
        self.name, self.right_from, self.tries = name, right_from, {}

    def open(self, images, sampling):
        def turn(messages):
            text = messages[1].text
            if len(messages) == 2:
                self.tries[text] = self.tries.get(text, 0) + 1
                return "<think>I run it.</think>\n<code>\n```python\nprint(f(1))  # 42\n```\n</code>"
            number = text.split()[2].rstrip("?")
            right = self.tries[text] > self.right_from
            return f"<think>It said 42.</think><answer>{number if right else 'no idea'}</answer>"

        return ScriptedPolicy(turn).open(images, sampling)


@pytest.fixture
def teach(asked, tools):
    def run(folder, chosen, **teachers):
        who = {name: asked(teacher, tools=tools) for name, teacher in teachers.items()}
        return asyncio.run(synthesize(folder, chosen, who, folder.questions()))

    return run


def test_every_teacher_tries_until_a_trajectory_is_good(curation, teach):
    folder, chosen = curation(4), settings(synthesis={"samples": 3})
    alice, bob = Teacher("alice", right_from=1), Teacher("bob", right_from=9)
    progress = teach(folder, chosen, alice=alice, bob=bob)
    assert {name: one.made for name, one in progress.items()} == {"alice": 8, "bob": 12}
    found = verify(folder, chosen, folder.questions())
    assert list(found) == ["q0", "q1", "q2", "q3"]
    for verdict in found.values():
        tries = [
            (one.teacher, one.trajectory[-1], [why.partition(":")[0] for why in one.failures]) for one in verdict.tries
        ]
        assert tries == [
            ("alice", "0", ["wrong"]),
            ("alice", "1", []),
            *(("bob", str(number), ["wrong"]) for number in range(3)),
        ]
        assert [one.trajectory for one in verdict.good] == [f"{verdict.id}/1"]
    again = teach(folder, chosen, alice=alice, bob=bob)
    assert {name: one.made for name, one in again.items()} == {"alice": 0, "bob": 0}, "who is done is not asked again"


def test_more_samples_ask_only_who_has_nothing_good(curation, teach):
    folder = curation(3)
    bob = Teacher("bob", right_from=2)
    teach(folder, settings(synthesis={"samples": 1}), bob=bob)
    assert not any(one.good for one in verify(folder, settings(), folder.questions()).values())
    assert teach(folder, settings(synthesis={"samples": 5}), bob=bob)["bob"].made == 6
    assert len(read_run(run_of(folder, "bob")).trajectories) == 9


def test_how_many_are_left_is_how_many_will_be_told(curation, asked, tools):
    folder, chosen, told = curation(5), settings(synthesis={"samples": 3}), []
    who = {"alice": Teacher("alice", right_from=1), "bob": Teacher("bob", right_from=9)}
    some, every = folder.questions()[:2], folder.questions()

    def teach(questions):
        told.clear()
        people = {name: asked(teacher, tools=tools) for name, teacher in who.items()}
        asyncio.run(synthesize(folder, chosen, people, questions, told.append))
        return sorted(told)

    assert count_left(folder, chosen, every) == 10
    assert teach(some) == ["q0", "q0", "q1", "q1"] and count_left(folder, chosen, every) == 6
    assert teach(every) == ["q2", "q2", "q3", "q3", "q4", "q4"] and count_left(folder, chosen, every) == 0


def test_a_question_waits_while_a_teacher_has_tries_left(curation, teach):
    folder, skip = curation(2), ["check", "difficulty", "benefit"]
    chosen = settings(skip=skip, synthesis={"samples": 2})
    teach(folder, chosen, alice=Teacher("alice", right_from=9))

    def stage(chosen):
        verify(folder, chosen, folder.questions())
        verified = Stages(folder, chosen).verified
        return [one.row.id for one in verified.waiting], dict(verified.reasons)

    assert stage(chosen) == (["q0", "q1"], {}), "bob was not asked yet"
    assert stage(settings(skip=skip, teachers=TEACHERS[:1], synthesis={"samples": 2})) == ([], {"wrong": 2})
    teach(folder, chosen, bob=Teacher("bob", right_from=9))
    assert stage(chosen) == ([], {"wrong": 2})


def test_fewer_tries_than_were_made_count_the_first_of_each_teacher(curation, teach):
    folder = curation(2)
    bob = Teacher("bob", right_from=1)
    teach(folder, settings(synthesis={"samples": 2}), bob=bob)
    assert all(one.good for one in verify(folder, settings(synthesis={"samples": 2}), folder.questions()).values())
    found = verify(folder, settings(synthesis={"samples": 1}), folder.questions())
    assert [len(one.tries) for one in found.values()] == [1, 1] and not any(one.good for one in found.values())
    assert teach(folder, settings(synthesis={"samples": 1}), bob=bob)["bob"].made == 0


def test_a_trajectory_of_an_odd_name_is_taken_as_it_is(curation, teach):
    folder = curation(1)
    teach(folder, settings(), bob=Teacher("bob", right_from=9))
    (one,) = scan_run(run_of(folder, "bob"))
    with RunWriter(run_of(folder, "bob"), resume=True) as writer:
        for name in ("mine", "q0/x", "q0/", "q0/\u0661", "q0/" + "9" * 50):
            writer.write(one.model_copy(update={"id": name, "reward": {"accuracy": 1.0}}))
    (found,) = verify(folder, settings(), folder.questions()).values()
    assert found.tries[0].trajectory == "q0/0" and len(found.tries) == 6 and len(found.good) == 5


def test_trajectories_that_another_reward_has_scored_are_not_judged(curation, teach):
    folder = curation(1)
    teach(folder, settings(), bob=Teacher("bob"))
    with pytest.raises(ConfigError, match=r"q0/0 of bob was scored by another \[reward\][\s\S]*foveal curate verify"):
        verify(folder, settings(reward={"rules": ["exact"]}), folder.questions())


def test_without_verification_the_first_trajectory_is_as_good_as_any(curation, teach):
    folder, chosen = curation(2), settings(skip=["verify"], synthesis={"samples": 3})
    assert teach(folder, chosen, bob=Teacher("bob", right_from=9))["bob"].made == 2
    assert all(one.good for one in verify(folder, chosen, folder.questions()).values())


def test_another_model_under_the_same_name_is_refused(curation, teach):
    folder = curation(1)
    teach(folder, settings(), bob=Teacher("bob"))
    with pytest.raises(ConfigError, match='policy was "bob"'):
        teach(folder, settings(), bob=Teacher("robert"))


def test_two_teachers_may_be_the_same_model_and_share_no_reply(curation, asked, tools, tmp_path):
    folder, ledger = curation(2), Ledger(tmp_path / "ledger.sqlite", {}, Ceiling())
    right, wrong = Teacher("same"), Teacher("same", right_from=9)
    who = {name: asked(teacher, tools=tools, ledger=ledger) for name, teacher in (("alice", right), ("bob", wrong))}
    asyncio.run(synthesize(folder, settings(), who, folder.questions()))
    for name, accuracy in (("alice", 1.0), ("bob", 0.0)):
        assert [t.reward["accuracy"] for t in read_run(run_of(folder, name)).trajectories] == [accuracy, accuracy]
    assert ledger.spent.calls == 8


def test_a_damaged_line_is_made_again_and_nothing_is_there_twice(curation, teach):
    folder, chosen = curation(1), settings(synthesis={"samples": 3})
    teach(folder, chosen, bob=Teacher("bob", right_from=9))
    file = run_of(folder, "bob") / "trajectories.jsonl"
    first, second, third = file.read_text().splitlines(keepends=True)
    file.write_text("".join([first, second[:40] + "\n", third]))
    assert teach(folder, chosen, bob=Teacher("bob", right_from=9))["bob"].made == 1
    assert sorted(t.id for t in scan_run(run_of(folder, "bob"))) == ["q0/0", "q0/1", "q0/2"]


@pytest.mark.parametrize("name", ["..", ".", ".hidden", "a/b", "", "long-cot"])
def test_names_that_would_be_another_folder_are_refused(name):
    with pytest.raises(ValidationError, match="name"):
        CurateSettings.model_validate({"teachers": [{"name": name, "policy": "a"}]})


def test_one_teacher_that_is_down_does_not_keep_the_other_from_its_work(curation, teach):

    folder = curation(2)

    def never(messages):
        raise PolicyError("no route to host")

    progress = teach(folder, settings(), alice=Teacher("alice"), bob=ScriptedPolicy(never, "bob"))
    assert progress["alice"].made == 2 and progress["bob"].failed == 2 and "no route" in progress["bob"].error
    found = verify(folder, settings(), folder.questions())
    assert all(len(one.good) == 1 for one in found.values())
