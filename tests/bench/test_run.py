"""Runs of RealX-Bench and V* rows through the real agent loop; only the model, the search and the sandbox are ours."""

import itertools
import json
from collections import Counter

import pytest
from PIL import Image

from foveal.bench.blank import GREY, TEXT
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.figures import draw
from foveal.bench.header import read_header
from foveal.bench.report import notes
from foveal.bench.run import Plan, modes, plan, read_failures
from foveal.bench.settings import BenchSettings
from foveal.errors import ConfigError, RecordError
from foveal.records import RunWriter, read_run
from foveal.tools.session import Tools


def test_every_mode_is_a_run_folder_and_the_figures_follow(world):
    model = world.model()
    made, figures = world(model, blind=True, blank_observations=True)
    assert {mode: one.made for mode, one in made.items()} == dict.fromkeys(
        ("with-tools", "without-tools", "blind", "blank"), 6
    )
    assert (figures["accuracy"], figures["no_tool_accuracy"], figures["blind_accuracy"]) == (1.0, 2 / 6, 1.0)
    assert figures["blank_accuracy"] == 2 / 6 and figures["blank_difference"] == pytest.approx(4 / 6)
    assert (figures["tool_gain"], figures["tool_harm"]) == (4 / 6, 0.0)
    assert figures["lost_by_tools"] == [] and figures["won_by_tools"] == [f"realx-{n}" for n in range(2, 6)]
    assert (figures["axis.perception.n"], figures["axis.search.n"], figures["axis.integration.n"]) == (6, 3, 1)
    assert figures["axis.integration.accuracy"] == figures["summary.axis.integration"] == 1.0
    assert figures["interval"] == "bootstrap over pictures", "two questions share a picture"
    assert figures["tools.code"] == figures["tools.search"] == 1.0 and figures["tools.image_search"] == 0.0
    assert figures["calls_per_question"] == 2.0 and figures["tokens_per_question"] is None
    assert {t.id for t in world.saved("blank").values()} == {f"realx-{n}/0" for n in range(6)}
    assert len(world.saved("with-tools")["Peru"].images) == 2
    assert not world.saved("blind")["Peru"].prompt[1].images, "blind means that no picture of the question is shown"
    assert len(set(model.seeds)) == 6, "all modes ask a question under the same seed"
    again = world.model()
    assert world(again, blind=True, blank_observations=True)[1] == figures and not again.asked
    header = read_header(world.folder)
    assert header.tools == {**header.tools, "offered": ["code", "search"], "search": "capitals"}
    assert header.prompts["with-tools"] == header.prompts["blank"] != header.prompts["without-tools"]
    assert header.limits["max_image_pixels"] == world.benchmark.max_pixels


def test_blanked_observations_keep_their_form_and_say_nothing(world):
    world(world.model(), blank_observations=True)
    seen, blank = world.saved("with-tools")["Japan"], world.saved("blank")["Japan"]
    crop, hits = (turn.observation for turn in blank.turns[:2])
    assert crop.cell.stdout == crop.cell.result == TEXT and crop.cell.stderr == ""
    assert [hit.model_dump(exclude_none=True) for hit in hits.hits] == [{"title": TEXT, "snippet": TEXT}]
    before = seen.turns[0].observation.cell.images[0]
    after = crop.cell.images[0]
    assert (after.width, after.height) == (before.width, before.height) and after != before
    assert read_run(world.folder / "blank").images.get(after).getcolors() == [(64 * 40, GREY)]
    shown = json.dumps([part.model_dump() for turn in blank.turns for part in turn.observation_parts])
    assert "red" not in shown and "Tokyo" not in shown and before.sha256 not in shown
    assert [turn.text for turn in blank.turns[:2]] == [turn.text for turn in seen.turns[:2]]


@pytest.mark.parametrize("kind", ["search", "sandbox", "endpoint"])
def test_what_fails_for_no_fault_of_the_model_is_counted_apart_and_asked_again(world, kind):
    """The model knows the answer to Peru without a search: it is right, and does not count either."""
    model = world.model(fails=["Peru", "Japan"] if kind == "endpoint" else ())
    world.search.down = {"Peru", "Japan"} if kind == "search" else set()
    world.shell.broken = kind == "sandbox"
    lost = 6 if kind == "sandbox" else 2
    made, figures = world(model, no_tools=False)
    assert (made["with-tools"].made, made["with-tools"].failed) == (6 - lost, lost)
    assert (figures["n"], figures["trajectories"], figures["missing"]) == (6 - lost, 6 - lost, 0)
    assert figures["infrastructure_failures"] == figures[f"infrastructure_failures.{kind}"] == lost
    assert figures["accuracy"] == (None if kind == "sandbox" else 1.0)
    failures = read_failures(world.folder)
    assert {one.kind for one in failures} == {kind} and len({one.id for one in failures}) == lost
    with (world.folder / "failures.jsonl").open("a") as file:
        file.write('{"mode": "with-tools", "id": "realx-0/0", "ki')  # killed at this moment
    world.search.down, world.shell.broken = set(), False
    made, figures = world(world.model(), no_tools=False)
    assert (made["with-tools"].made, made["with-tools"].failed) == (lost, 0)
    assert (figures["n"], figures["accuracy"], figures["infrastructure_failures"]) == (6, 1.0, 0)
    assert read_failures(world.folder) == []


@pytest.mark.parametrize("slow", ["endpoint", "search"])
def test_time_that_others_took_is_no_wrong_answer(world, slow):
    model, world.search.hangs = world.model(hangs=slow == "endpoint"), slow == "search"
    made, figures = world(model, n=1, no_tools=False, limits={"wall_seconds": 0.2})
    assert (made["with-tools"].made, made["with-tools"].failed) == (0, 1)
    assert (figures["n"], figures["trajectories"], figures["infrastructure_failures.time"]) == (0, 0, 1)
    (failure,) = read_failures(world.folder)
    assert failure.kind == "time" and "its code took 0 s" in failure.why
    assert "time 1" in " ".join(notes(draw(world.folder)))


def test_what_cannot_be_had_is_the_models_own_mistake(world):
    world.search.refused = {"Peru", "Japan"}
    made, figures = world(world.model(), no_tools=False)
    assert (made["with-tools"].made, made["with-tools"].failed) == (6, 0)
    assert (figures["n"], figures["accuracy"], figures["infrastructure_failures"]) == (6, 5 / 6, 0)
    assert figures["tools.search"] == 1.0, "it was called"


def test_what_stops_one_mode_stops_the_others(world):
    made, figures = world(world.model(fails=world.cities), concurrency=1)
    assert list(made) == ["with-tools"] and "3 attempts failed in a row" in made["with-tools"].stopped
    assert (figures["infrastructure_failures"], figures["missing"], figures["planned"]) == (3, 9, 12)


def test_a_torn_run_goes_on_where_it_was(world):
    _, figures = world(world.model())
    file = world.folder / "with-tools" / "trajectories.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:100])
    model = world.model()
    made, again = world(model)
    assert made["with-tools"].made == 3 and made["without-tools"].made == 0
    assert model.asked == Counter({json.loads(line)["question"]["text"].split(" of ")[1].split("?")[0]: 3
                                   for line in lines[3:]})  # fmt: skip
    for name in ("accuracy", "low", "high", "tool_gain", "won_by_tools", "calls_per_question"):
        assert again[name] == figures[name]


def test_a_damaged_picture_keeps_nobody_else_from_being_asked(world, data):
    whole = (data / "images" / "3.png").read_bytes()
    (data / "images" / "3.png").write_bytes(whole[:60])
    made, figures = world(world.model())
    assert {mode: (one.made, one.failed) for mode, one in made.items()} == {
        "with-tools": (5, 1), "without-tools": (5, 1),
    }  # fmt: skip
    assert figures["infrastructure_failures.data"] == 2 and "damaged" in read_failures(world.folder)[0].why
    (data / "images" / "3.png").write_bytes(whole)
    assert world(world.model())[1]["n"] == 6


def test_pictures_of_questions_that_are_not_asked_do_not_bind(data):
    def drawn(**changes) -> Plan:
        return plan(BENCHMARKS["realx"], BenchSettings.model_validate({"policy": "p", "data": data, **changes}))

    before = {n: drawn(n=n) for n in range(1, 7)}
    Image.new("RGB", (48, 40), "white").save(data / "images" / "1.png")  # of realx-0 and realx-1
    after = {n: drawn(n=n) for n in range(1, 7)}
    changed = {n for n in before if before[n] != after[n]}
    assert changed == {n for n in before if {"realx-0", "realx-1"} & before[n].ids} and changed != before.keys()
    assert all(before[n].sha256 == after[n].sha256 for n in before)


def test_one_process_at_a_time(world):
    world(world.model(), n=3)
    with RunWriter(world.folder / "with-tools", resume=True), pytest.raises(RecordError, match="another process"):
        world(world.model(), n=3)


def test_questions_are_drawn_by_lot_and_a_smaller_draw_is_part_of_a_larger(data):
    def drawn(**changes) -> Plan:
        return plan(BENCHMARKS["realx"], BenchSettings.model_validate({"policy": "p", "data": data, **changes}))

    assert len(drawn().ids) == drawn().items == 6 and drawn(n=99).ids == drawn().ids
    draws = [drawn(n=n).ids for n in range(1, 7)]
    assert all(small < large for small, large in itertools.pairwise(draws))
    assert drawn(n=3) == drawn(n=3) and len({drawn(n=3, seed=seed).ids for seed in range(9)}) > 1


def test_repeats_have_seeds_of_their_own(world):
    model = world.model()
    _, figures = world(model, repeats=3, no_tools=False)
    assert len(set(model.seeds)) == 18 and figures["trajectories"] == 18
    assert (figures["n"], figures["pass_at.3"]) == (6, 1.0)
    assert {t.id for t in read_run(world.folder / "with-tools").trajectories} == {
        f"realx-{n}/{repeat}" for n in range(6) for repeat in range(3)
    }


def test_modes(world):
    def asked(tools, **changes):
        return modes(BenchSettings.model_validate({"policy": "p", **changes}), tools)

    tools = Tools(code=world.shell)
    assert asked(tools) == ("with-tools", "without-tools") and asked(tools, no_tools=False) == ("with-tools",)
    assert asked(Tools(), blind=True) == ("without-tools", "blind")
    with pytest.raises(ConfigError, match="blank_observations"):
        asked(Tools(), blank_observations=True)
