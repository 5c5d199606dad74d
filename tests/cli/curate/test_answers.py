"""Answers that are there are counted by the settings of now, and nobody is asked again."""

import pytest

from foveal.cli import main
from foveal.records import read_run


def test_thresholds_change_without_asking_again(world, config, curate, tmp_path):
    server, folder = world(), tmp_path / "curation"
    file, ask, wrong = config(server.url), server.reply, set()

    def reply(body):
        said = ask(body)
        if said in wrong:
            return said
        wrong.add(said)  # of four answers one, so that three are right
        return said.replace("<answer>", "<answer>not ")

    server.reply = reply
    for step in ("add", "check", "difficulty"):
        curate(step, file, folder)
    asked = sum(server.replies.values())
    code, figures = curate("difficulty", file, folder, "--difficulty.most-right", "3")
    assert (code, figures["rows_out"], figures["made"]) == (0, 12, 0)
    assert sum(server.replies.values()) == asked
    code, figures = curate("difficulty", file, folder, "--difficulty.samples", "5")
    assert (figures["made"], figures["rows_out"]) == (12, 9), "more samples ask only the missing ones"


def test_another_reward_scores_again_without_asking_and_later_steps_wait_for_that(
    world, config, curate, tmp_path, capsys
):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    words = ("--skip", '["check", "benefit"]', "--synthesis.samples", "1")
    for step in ("add", "difficulty", "synthesize"):
        assert curate(step, file, folder, *words)[0] == 0
    asked = sum(server.replies.values())
    harsh = (*words, "--reward.rules", '["choice"]')  # no answer is right
    for step in ("synthesize", "verify", "split"):
        assert curate(step, file, folder, *harsh)[0] == 2
        assert "foveal curate difficulty again: it counts what is there, and asks nobody" in capsys.readouterr().err
    code, figures = curate("difficulty", file, folder, *harsh)
    assert (code, figures["made"], figures["scored_again"], figures["rows_out"]) == (0, 0, 48, 12)
    code, figures = curate("verify", file, folder, *harsh)
    assert code == 0 and figures["scored_again"] == 18 and figures["dropped.wrong"] > 0 == figures["rows_out"]
    assert curate("split", file, folder, *harsh)[1]["sft.train"] == 0
    curate("difficulty", file, folder, *words)
    assert curate("split", file, folder, *words, "--long-cot.share", "0")[1]["sft.train"] > 5
    assert sum(server.replies.values()) == asked


def test_answers_that_no_judge_has_scored_are_told_and_finished_later(world, config, curate, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file, ask = config(server.url), server.reply
    up = True

    def reply(body):
        if body["model"] != "judge":
            return ask(body)
        return "Verdict: wrong" if up else "Who am I to say?"

    server.reply = reply
    judge = ("--reward.judge.url", server.url, "--reward.judge.model", "judge", "--reward.judge.max-retries", "0")
    for step in ("add", "check"):
        curate(step, file, folder)
    up = False
    code, figures = curate("difficulty", file, folder, *judge)
    assert (code, figures["made"]) == (1, 48) and figures["waiting"] == 9
    assert f"36 answers have no score: run foveal score {folder / 'difficulty'} first" in figures["stopped"]
    up = True
    with pytest.raises(SystemExit) as end:
        main(["score", str(folder / "difficulty")])
    assert end.value.code == 0
    code, figures = curate("difficulty", file, folder, *judge)
    assert (code, figures["made"], figures["waiting"], figures["rows_out"]) == (0, 0, 0, 9)


def test_answers_of_teachers_that_no_judge_has_scored_wait_and_nobody_is_paid_to_try_again(
    world, config, curate, tmp_path, capsys
):
    server, folder = world(), tmp_path / "curation"
    file, ask, up = config(server.url), server.reply, False

    def reply(body):
        if body["model"] != "judge":
            return ask({**body, "model": "alice"})
        return "Verdict: wrong" if up else "Who am I to say?"

    server.reply = reply
    words = ("--skip", '["check", "difficulty", "benefit"]', "--long-cot.share", "0", "--synthesis.samples", "3")
    judge = ("--reward.judge.url", server.url, "--reward.judge.model", "judge", "--reward.judge.max-retries", "0")
    curate("add", file, folder, *words)
    code, figures = curate("synthesize", file, folder, *words, *judge)
    assert (code, figures["made"]) == (1, 24), "one try of each teacher at each question, and none because of the judge"
    assert (figures["waiting"], figures["rows_out"]) == (6, 6)
    assert not [name for name in figures if name.startswith("dropped")]
    assert f"foveal score {folder / 'synthesis' / 'alice'}" in figures["stopped"]
    code, again = curate("verify", file, folder, *words, *judge)
    assert (code, again["stopped"]) == (1, figures["stopped"])
    assert curate("synthesize", file, folder, *words, *judge)[1]["made"] == 0, "they wait"
    up = True
    for teacher in ("alice", "bob"):
        with pytest.raises(SystemExit) as end:
            main(["score", str(folder / "synthesis" / teacher)])
        assert end.value.code == 0
    code, figures = curate("synthesize", file, folder, *words, *judge)
    assert (code, figures["made"], figures["stopped"]) == (0, 24, None), "now that they are known to be wrong"
    assert (figures["waiting"], figures["dropped.wrong"]) == (0, 6)


def test_what_the_judge_said_of_teachers_is_found_by_the_command_that_scores_them(world, config, curate, tmp_path):
    server, folder, judged = world(), tmp_path / "curation", []
    file, ask = config(server.url), server.reply

    def reply(body):
        if body["model"] != "judge":
            return ask(body)
        judged.append(body)
        return "Verdict: wrong"

    server.reply = reply
    words = ("--skip", '["check", "difficulty", "benefit"]', "--reward.rules", '["choice"]')
    judge = ("--reward.judge.url", server.url, "--reward.judge.model", "judge")
    curate("add", file, folder, *words)
    assert curate("synthesize", file, folder, *words, *judge)[0] == 0
    paid = len(judged)
    assert 16 <= paid < 24, "what one teacher has said is known of the other"
    for teacher in ("alice", "bob"):
        with pytest.raises(SystemExit) as end:
            main(["score", str(folder / "synthesis" / teacher)])
        assert end.value.code == 0
    near = (*words, *judge, "--reward.absolute-tolerance", "0.5")
    assert curate("verify", file, folder, *near)[1]["scored_again"] == 24
    assert len(judged) == paid, "nobody is asked again"


def test_split_follows_rules_and_teachers_that_were_changed(world, config, curate, tmp_path):
    folder = tmp_path / "curation"
    file = config(world().url)
    words = ("--long-cot.share", "0", "--skip", '["check", "difficulty", "benefit"]')
    for step in ("add", "synthesize"):
        curate(step, file, folder, *words)
    before = curate("split", file, folder, *words)[1]["sft.train"]
    assert curate("split", file, folder, *words, "--verify.most-tokens", "1")[1]["sft.train"] == 0
    head, _, rest = file.read_text().partition('[[teachers]]\nname = "alice"')
    file.write_text(head + rest[rest.index("[[teachers]]") :])
    figures = curate("split", file, folder, *words)[1]
    run = read_run(folder / "sft" / "train").trajectories
    assert 0 < figures["sft.train"] == len(run) < before and {t.settings["teacher"] for t in run} == {"bob"}
