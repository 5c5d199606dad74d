import json

from foveal.micro.questions import FAMILIES
from foveal.records import read_run


def test_the_demo_answers_questions_of_every_family_and_says_which_it_got_wrong(process, tmp_path):
    done = process("demo", "--n", 10, "--run", "run", "--json", "figures.json")
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    trajectories = read_run(tmp_path / "run").trajectories
    assert figures["asked"] == len(trajectories) == 10
    assert figures["correct"] == sum(trajectory.reward["accuracy"] for trajectory in trajectories) >= 5
    assert f"{figures['correct']} of 10 right" in done.stdout

    # Real tools: code ran, and both searches were asked.
    used = {turn.call.tool for trajectory in trajectories for turn in trajectory.turns if turn.call is not None}
    assert used == {"code", "search", "image_search"}
    for trajectory in trajectories:
        assert trajectory.question.text in done.stdout
    for family in FAMILIES:
        assert f"{family} " in done.stdout

    assert figures["page"] in done.stdout
    assert (tmp_path / "run" / "index.html").samefile(figures["page"])
