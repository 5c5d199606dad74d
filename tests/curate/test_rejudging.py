import asyncio
import dataclasses

import pytest

from foveal.curate.folder import Passes
from foveal.curate.rejudging import rejudge
from foveal.curate.sampling import sample
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages
from foveal.errors import ConfigError, RecordError
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter, scan_run
from foveal.reward.judge import Judge
from foveal.reward.score import scorer
from foveal.reward.settings import RewardSettings

NEAR = RewardSettings(absolute_tolerance=1.0)
"""Numbers that are off by one are right."""


@pytest.fixture
def answered(curation, asked):
    """A curation of 4 questions, each answered twice with 1; under the usual reward that is right for `q1`."""
    folder = curation(4)
    who = asked(ScriptedPolicy(["<think>Well.</think><answer>1</answer>"]))
    folder.write_verdicts("check", [])
    asyncio.run(sample(folder, "difficulty", who, folder.questions(), 2))
    return folder, who


def right(folder):
    return {name: one.right for name, one in folder.verdicts("difficulty", Passes).items()}


def test_another_reward_scores_the_answers_again_and_asks_nobody(answered):
    folder, who = answered
    assert right(folder) == {"q0": 0, "q1": 2, "q2": 0, "q3": 0}
    run, score = folder.run("difficulty"), scorer(NEAR)
    before = {one.id: one.turns for one in scan_run(run)}
    assert asyncio.run(rejudge(run, NEAR, score, before=lambda: folder.forget("difficulty"))) == 8
    assert not folder.has("difficulty"), "who is killed now has to run the step again"
    assert {one.id: one.turns for one in scan_run(run)} == before
    who = dataclasses.replace(who, score=score)
    assert asyncio.run(sample(folder, "difficulty", who, folder.questions(), 2)).made == 0
    assert right(folder) == {"q0": 2, "q1": 2, "q2": 2, "q3": 0}
    assert asyncio.run(rejudge(run, NEAR, score)) == 0, "and once is enough"


def test_a_judge_whose_address_holds_a_password_is_put_on_record_without_it_and_known_again(answered):
    folder, _ = answered
    judged = RewardSettings.model_validate({"judge": {"url": "http://joe:s3cret@10.0.0.1/v1", "model": "j"}})
    run, score = folder.run("difficulty"), scorer(judged, Judge(ScriptedPolicy([])))
    assert asyncio.run(rejudge(run, judged, score)) == 8
    assert "s3cret" not in (run / "trajectories.jsonl").read_text()
    assert asyncio.run(rejudge(run, judged, score)) == 0
    other = judged.model_copy(update={"judge": judged.judge.model_copy(update={"model": "k"})})
    assert asyncio.run(rejudge(run, other, score)) == 8


def test_lines_that_cannot_be_read_stay_and_a_run_that_is_not_there_is_none(answered, tmp_path):
    folder, _ = answered
    file = folder.run("difficulty") / "trajectories.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], b"{}\n", *lines[1:], b'{"torn'.ljust(9)]))
    assert asyncio.run(rejudge(folder.run("difficulty"), NEAR, scorer(NEAR))) == 8
    assert file.read_bytes().splitlines()[1] == b"{}" and len(list(scan_run(file.parent))) == 8
    assert asyncio.run(rejudge(tmp_path / "none", NEAR, scorer(NEAR))) == 0 and not (tmp_path / "none").exists()


def test_what_was_scored_before_is_lost_neither_to_a_failing_score_nor_to_another_writer(answered):
    folder, _ = answered
    run = folder.run("difficulty")
    before = (run / "trajectories.jsonl").read_bytes()

    async def broken(trajectory):
        raise RuntimeError("no score")

    with pytest.raises(RuntimeError):
        asyncio.run(rejudge(run, NEAR, broken))
    with RunWriter(run, resume=True, pictures=False), pytest.raises(RecordError, match="another process"):
        asyncio.run(rejudge(run, NEAR, scorer(NEAR)))
    assert (run / "trajectories.jsonl").read_bytes() == before


def test_verdicts_of_another_reward_are_not_taken_for_those_of_this_one(answered):
    folder, _ = answered
    values = {"skip": ["check"], "difficulty": {"samples": 2, "most_right": 0}}
    assert len(Stages(folder, CurateSettings.model_validate(values)).hard.kept) == 3
    other = CurateSettings.model_validate({**values, "reward": NEAR.model_dump()})
    with pytest.raises(ConfigError, match=r"another \[reward\][\s\S]*foveal curate difficulty"):
        _ = Stages(folder, other).hard
