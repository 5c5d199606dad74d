import asyncio
import re
from pathlib import Path

import pytest

from foveal.micro import synthesize, world
from foveal.micro.bench import figures
from foveal.micro.facts import counterfactual
from foveal.micro.questions import FAMILIES, Item, sample
from foveal.micro.teacher import looks_anyway
from foveal.records import RunWriter, read_run
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools

_WORD = {"sum": "plus", "product": "times"}


def asked(count: int) -> list[tuple[str, Item]]:
    return [(str(index), item) for index, item in enumerate(sample("train", count, 0))]


def test_the_teacher_answers_every_family_through_the_real_tools(real_tools: Tools, tmp_path: Path):
    with RunWriter(tmp_path) as writer:
        kept = asyncio.run(synthesize.synthesize(asked(25), real_tools, writer))
    run = read_run(tmp_path)
    looks = {identifier: looks_anyway(item) for identifier, item in asked(100) if item.family == "direct"}
    assert len(run.trajectories) == kept >= 23  # an image search may find another flag; that one is not kept
    assert set(looks.values()) == {True, False}
    assert {t.question.family for t in run.trajectories} == set(FAMILIES)
    for trajectory in run.trajectories:
        assert trajectory.answer == trajectory.question.gold[0]
        used = [turn.call.tool for turn in trajectory.turns if turn.call]
        kind = trajectory.question.meta["kind"]
        calls = {"capital": ["code", "image_search", "search"], "country": ["code", "image_search"], "number": ["code"]}
        calls |= {"density": ["code", "image_search", "search", "code"], "sum": ["code"] * 3, "product": ["code"] * 3}
        assert max(turn.text.count("crop") for turn in trajectory.turns) <= 1
        assert used == calls.get(kind, ["code"] * looks.get(trajectory.question.id, 0))
        if kind in ("sum", "product"):
            first, second = re.findall(r"the (\w+) board", trajectory.question.text)
            assert f"{first} board for {_WORD[kind]}, then at the {second} board." in trajectory.turns[0].text
            assert f"{second} board for {_WORD[kind]}." in trajectory.turns[1].text
    assert figures(run.trajectories)["accuracy"] == 1.0


def test_a_far_teacher_looks_at_nothing_and_takes_only_facts_and_results_from_tools(real_tools: Tools, tmp_path: Path):
    with RunWriter(tmp_path) as writer:
        kept = asyncio.run(synthesize.synthesize(asked(25), real_tools, writer, ("far",)))
    taken = {"capital": ["search"], "density": ["search", "code"], "sum": ["code"], "product": ["code"]}
    trajectories = read_run(tmp_path).trajectories
    assert len(trajectories) == kept == 25
    for trajectory in trajectories:
        assert trajectory.answer == trajectory.question.gold[0]
        used = [turn.call.tool for turn in trajectory.turns if turn.call]
        assert used == taken.get(str(trajectory.question.meta["kind"]), [])
        assert "crop" not in " ".join(turn.text for turn in trajectory.turns)


def test_questions_are_dealt_to_teachers_by_identifier_alone(real_tools: Tools, tmp_path: Path):
    names = []
    for count in (20, 10):
        with RunWriter(tmp_path / str(count)) as writer:
            asyncio.run(synthesize.synthesize(asked(count), real_tools, writer, ("near", "far")))
        names.append({t.question.id: t.policy for t in read_run(tmp_path / str(count)).trajectories})
    assert set(names[0].values()) == set(names[1].values()) == {"micro-teacher-near", "micro-teacher-far"}
    assert names[1].items() <= names[0].items()


def test_a_trajectory_that_the_tools_led_astray_is_not_kept(sandbox: LocalSandbox, tmp_path: Path):
    """With edited documents the teacher finds edited facts, which are wrong for real questions."""
    world.build(tmp_path / "index", counterfactual())
    tools = world.tools(tmp_path / "index", sandbox)
    with RunWriter(tmp_path / "run") as writer:
        asyncio.run(synthesize.synthesize(asked(25), tools, writer))
    kinds = {t.question.meta["kind"] for t in read_run(tmp_path / "run").trajectories}
    assert "density" not in kinds and "capital" not in kinds
    assert "product" in kinds or "sum" in kinds


@pytest.mark.parametrize("status", ["error", "timeout"])
def test_a_failed_cell_is_not_verified(real_tools: Tools, tmp_path: Path, status: str):
    with RunWriter(tmp_path) as writer:
        asyncio.run(synthesize.synthesize(asked(3), real_tools, writer))
    good = next(t for t in read_run(tmp_path).trajectories if t.turns[0].observation)
    turn = good.turns[0]
    cell = turn.observation.cell.model_copy(update={"status": status})
    spoiled = turn.model_copy(update={"observation": turn.observation.model_copy(update={"cell": cell})})
    assert synthesize.verified(good)
    assert not synthesize.verified(good.model_copy(update={"turns": (spoiled, *good.turns[1:])}))


def test_a_search_without_hits_is_not_verified(real_tools: Tools, tmp_path: Path):
    with RunWriter(tmp_path) as writer:
        asyncio.run(synthesize.synthesize(asked(3), real_tools, writer))
    good = next(t for t in read_run(tmp_path).trajectories if len(t.turns) > 2 and t.turns[1].observation)
    turn = good.turns[1]
    assert turn.observation.hits
    spoiled = turn.model_copy(update={"observation": turn.observation.model_copy(update={"hits": ()})})
    assert not synthesize.verified(good.model_copy(update={"turns": (good.turns[0], spoiled, *good.turns[2:])}))
