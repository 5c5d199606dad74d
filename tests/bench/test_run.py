"""Runs of RealX-Bench and V* rows through the real agent loop; only the model, the search and the sandbox are ours."""

import asyncio
import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image

from foveal.bench.blank import GREY, TEXT
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.figures import draw
from foveal.bench.header import differences, note_code, read_header
from foveal.bench.report import notes
from foveal.bench.run import Plan, Who, modes, plan, read_failures, run
from foveal.bench.scores import how, regrade
from foveal.bench.settings import BenchSettings
from foveal.errors import ConfigError, PolicyError, RecordError, SandboxError, SearchError
from foveal.policy.scripted import ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.records import RunWriter, read_run
from foveal.reward.judge import Judge
from foveal.tools.base import Cell
from foveal.tools.session import Tools
from foveal.trajectory import SearchHit

CODE = "<think>I look.</think>\n<code>\n```python\nimage_1\n```\n</code>"
SEARCH = '<think>I ask.</think>\n<tool_call>{"name": "search", "arguments": {"query": "capital of %s"}}</tool_call>'
CITIES = {"Peru": "Lima", "Italy": "Rome", "Japan": "Tokyo", "Kenya": "Nairobi", "Chad": "N'Djamena", "Iraq": "Baghdad"}


class Model:
    """Looks, searches for the country, and answers what it found; where it finds nothing, it knows Peru and Italy.

    Attributes:
        asked: Turns that were asked for, by country.
        seeds: Of every conversation.
        fails: Countries at which it is down.
        hangs: Whether it never writes a turn.
    """

    name = "model"

    def __init__(self, fails=(), hangs=False):
        self.asked, self.seeds, self.fails, self.hangs = Counter(), [], set(fails), hangs

    def open(self, images, sampling):
        self.seeds.append(sampling.seed)
        conversation = ScriptedPolicy(self.turn).open(images, sampling)
        if self.hangs:
            conversation.generate = lambda *limits: asyncio.sleep(3600)
        return conversation

    def turn(self, messages):
        country = messages[1].text.split(" of ")[1].split("?")[0]
        self.asked[country] += 1
        if country in self.fails:
            raise PolicyError("nobody answers")
        known = CITIES[country] if country in ("Peru", "Italy") else "I do not know"
        if "no tools" in messages[0].text:
            return answer(known)
        step = sum(message.role == "assistant" for message in messages)
        if step == 0:
            return CODE
        if step == 1:
            return SEARCH % country
        return answer(next((city for city in CITIES.values() if city in messages[-1].text), known))


def answer(text):
    return f"<think>So.</think><answer>{text}</answer>"


class Shell:
    """Every cell shows a red crop and prints its colour.

    Attributes:
        broken: Whether no session can be opened.
    """

    def __init__(self):
        self.broken = False

    async def open(self, images):
        if self.broken:
            raise SandboxError("no room for a session")
        return self

    async def run(self, code, timeout):
        return Cell("ok", "it is red", "", "Image", (Image.new("RGB", (64, 40), "red"),), 0.1, False)

    async def image(self, name):
        return None

    async def close(self):
        pass


class Search:
    """Knows the capitals.

    Attributes:
        down: Countries for which it fails.
        refused: Countries that it takes no query about.
        hangs: Whether it never answers.
    """

    name = "capitals"

    def __init__(self):
        self.down, self.refused, self.hangs = set(), set(), False

    async def search(self, query, k):
        if self.hangs:
            await asyncio.sleep(3600)
        country = query.removeprefix("capital of ")
        if country in self.refused:
            raise SearchError("the query is too long", of_request=True)
        if country in self.down:
            raise SearchError("the host is down")
        return [SearchHit(title=country, snippet=f"Its capital is {CITIES[country]}.", link="http://x.test")]


@pytest.fixture
def data(tmp_path) -> Path:
    """Rows of RealX-Bench: the first two share a picture."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, country in enumerate(CITIES):
        picture = f"{max(number, 1)}.png"
        Image.new("RGB", (48, 40), (40 * max(number, 1), 0, 0)).save(folder / "images" / picture)
        hard = {"perception": 1, "search": number % 2, "reason": int(number == 5)}
        rows.append(
            {"query": f"What is the capital of {country}?", "answer": CITIES[country], "image": picture, **hard}
        )
    (folder / "realx.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def world(data, tmp_path):
    """Runs the benchmark: `world(model, judge=..., n=...)` gives progress and figures."""

    class World:
        shell, search, folder = Shell(), Search(), tmp_path / "run"
        searched: ClassVar = {"index": "1" * 64}
        benchmark = BENCHMARKS["realx"]

        def who(self, model, judge=None):
            tools = Tools(code=self.shell, text=self.search, searched=self.searched)
            return Who(model, tools, "a test", FOVEAL, FOVEAL, judge, None, None)

        def __call__(self, model, judge=None, **changes):
            settings = BenchSettings.model_validate({"policy": "p", "data": data, "concurrency": 2, **changes})
            questions = plan(self.benchmark, settings)
            made = asyncio.run(run(self.benchmark, settings, questions, self.who(model, judge), self.folder))
            return made, draw(self.folder).figures

        def saved(self, mode):
            found = read_run(self.folder / mode)
            assert not found.problems
            return {t.question.text.split(" of ")[1].split("?")[0]: t for t in found.trajectories}

    return World()


def test_every_mode_is_a_run_folder_and_the_figures_follow(world):
    model = Model()
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
    again = Model()
    assert world(again, blind=True, blank_observations=True)[1] == figures and not again.asked
    header = read_header(world.folder)
    assert header.tools == {**header.tools, "offered": ["code", "search"], "search": "capitals"}
    assert header.prompts["with-tools"] == header.prompts["blank"] != header.prompts["without-tools"]
    assert header.limits["max_image_pixels"] == world.benchmark.max_pixels


def test_blanked_observations_keep_their_form_and_say_nothing(world):
    world(Model(), blank_observations=True)
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
    model = Model(fails=["Peru", "Japan"] if kind == "endpoint" else ())
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
    made, figures = world(Model(), no_tools=False)
    assert (made["with-tools"].made, made["with-tools"].failed) == (lost, 0)
    assert (figures["n"], figures["accuracy"], figures["infrastructure_failures"]) == (6, 1.0, 0)
    assert read_failures(world.folder) == []


@pytest.mark.parametrize("slow", ["endpoint", "search"])
def test_time_that_others_took_is_no_wrong_answer(world, slow):
    model, world.search.hangs = Model(hangs=slow == "endpoint"), slow == "search"
    made, figures = world(model, n=1, no_tools=False, limits={"wall_seconds": 0.2})
    assert (made["with-tools"].made, made["with-tools"].failed) == (0, 1)
    assert (figures["n"], figures["trajectories"], figures["infrastructure_failures.time"]) == (0, 0, 1)
    (failure,) = read_failures(world.folder)
    assert failure.kind == "time" and "its code took 0 s" in failure.why
    assert "time 1" in " ".join(notes(draw(world.folder)))


def test_what_cannot_be_had_is_the_models_own_mistake(world):
    world.search.refused = {"Peru", "Japan"}
    made, figures = world(Model(), no_tools=False)
    assert (made["with-tools"].made, made["with-tools"].failed) == (6, 0)
    assert (figures["n"], figures["accuracy"], figures["infrastructure_failures"]) == (6, 5 / 6, 0)
    assert figures["tools.search"] == 1.0, "it was called"


def test_what_stops_one_mode_stops_the_others(world):
    made, figures = world(Model(fails=CITIES), concurrency=1)
    assert list(made) == ["with-tools"] and "3 attempts failed in a row" in made["with-tools"].stopped
    assert (figures["infrastructure_failures"], figures["missing"], figures["planned"]) == (3, 9, 12)


def test_a_torn_run_goes_on_where_it_was(world):
    _, figures = world(Model())
    file = world.folder / "with-tools" / "trajectories.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:100])
    model = Model()
    made, again = world(model)
    assert made["with-tools"].made == 3 and made["without-tools"].made == 0
    assert model.asked == Counter({json.loads(line)["question"]["text"].split(" of ")[1].split("?")[0]: 3
                                   for line in lines[3:]})  # fmt: skip
    for name in ("accuracy", "low", "high", "tool_gain", "won_by_tools", "calls_per_question"):
        assert again[name] == figures[name]


def test_a_damaged_picture_keeps_nobody_else_from_being_asked(world, data):
    whole = (data / "images" / "3.png").read_bytes()
    (data / "images" / "3.png").write_bytes(whole[:60])
    made, figures = world(Model())
    assert {mode: (one.made, one.failed) for mode, one in made.items()} == {
        "with-tools": (5, 1), "without-tools": (5, 1),
    }  # fmt: skip
    assert figures["infrastructure_failures.data"] == 2 and "damaged" in read_failures(world.folder)[0].why
    (data / "images" / "3.png").write_bytes(whole)
    assert world(Model())[1]["n"] == 6


def test_other_settings_are_refused(world, data):
    world(Model(), n=3)
    for said, model, changes in (
        ("policy was", type("Other", (Model,), {"name": "other"})(), {"n": 3}),
        ("n was 3", Model(), {"n": 4}),
        ("seed was 0", Model(), {"n": 3, "seed": 1}),
        ("repeats was 1", Model(), {"n": 3, "repeats": 2}),
        ("temperature was 0.0", Model(), {"n": 3, "temperature": 1.0}),
        ("limits was", Model(), {"n": 3, "limits": {"max_turns": 3}}),
        ("limits was", Model(), {"n": 3, "limits": {"max_image_pixels": 10_000}}),
    ):
        with pytest.raises(ConfigError, match=said):
            world(model, **changes)
    assert world(Model(), n=3, concurrency=5, price={"prompt": 1.0}, blind=True)[1]["blind_n"] == 3
    world.searched = {"index": "2" * 64}
    with pytest.raises(ConfigError, match=r'settings: tools\.index was "1111'):
        world(Model(), n=3)
    world.searched = {}
    with pytest.raises(ConfigError, match=r'settings: tools\.index was "1111'):
        world(Model(), n=3)
    world.searched = {"index": "1" * 64}
    pictures = {file: file.read_bytes() for file in (data / "images").iterdir()}
    for file in pictures:
        Image.new("RGB", (48, 40), "white").save(file)
    with pytest.raises(ConfigError, match="settings: pictures_sha256 was"):
        world(Model(), n=3)
    for file, content in pictures.items():
        file.write_bytes(content)
    assert world(Model(), n=3)[0]["with-tools"].made == 0
    rows = (data / "realx.jsonl").read_text()
    (data / "realx.jsonl").write_text(rows.replace("What is the", "Which is the"))
    with pytest.raises(ConfigError, match="questions_sha256 was"):
        world(Model(), n=3)
    (world.folder / "bench.json").write_text('{"version": 2}')
    with pytest.raises(RecordError, match="cannot be read"):
        world(Model(), n=3)


def test_a_run_of_an_older_foveal_goes_on_and_is_bound_from_then_on(world):
    world(Model(), n=3)
    file = world.folder / "bench.json"
    head = json.loads(file.read_text())
    del head["pictures_sha256"], head["tools"]["index"]
    file.write_text(json.dumps(head))
    assert draw(world.folder).figures["n"] == 3
    assert asyncio.run(regrade(world.folder / "with-tools", world.benchmark, None, every=True)) == 0
    older = read_header(world.folder)
    assert world(Model(), n=3)[0]["with-tools"].made == 0
    newer = read_header(world.folder)
    assert newer.tools["index"] == "1" * 64 and newer.pictures_sha256 is not None
    assert differences(older, newer) == differences(newer, older) == ["tools.index"]
    world.searched = {"index": "2" * 64}
    with pytest.raises(ConfigError, match=r"tools\.index was"):
        world(Model(), n=3)


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
    world(Model(), n=3)
    with RunWriter(world.folder / "with-tools", resume=True), pytest.raises(RecordError, match="another process"):
        world(Model(), n=3)


def test_questions_are_drawn_by_lot_and_a_smaller_draw_is_part_of_a_larger(data):
    def drawn(**changes) -> Plan:
        return plan(BENCHMARKS["realx"], BenchSettings.model_validate({"policy": "p", "data": data, **changes}))

    assert len(drawn().ids) == drawn().items == 6 and drawn(n=99).ids == drawn().ids
    draws = [drawn(n=n).ids for n in range(1, 7)]
    assert all(small < large for small, large in itertools.pairwise(draws))
    assert drawn(n=3) == drawn(n=3) and len({drawn(n=3, seed=seed).ids for seed in range(9)}) > 1


def test_repeats_have_seeds_of_their_own(world):
    model = Model()
    _, figures = world(model, repeats=3, no_tools=False)
    assert len(set(model.seeds)) == 18 and figures["trajectories"] == 18
    assert (figures["n"], figures["pass_at.3"]) == (6, 1.0)
    assert {t.id for t in read_run(world.folder / "with-tools").trajectories} == {
        f"realx-{n}/{repeat}" for n in range(6) for repeat in range(3)
    }


def test_the_judge_finishes_what_no_rule_could_tell_and_nobody_is_asked_again(world):
    _, before = world(Model(), no_tools=True)
    assert before["no_tool_undecided"] == 4 and before["undecided"] == 0
    down = Judge(ScriptedPolicy(lambda messages: (_ for _ in ()).throw(PolicyError("the judge is away")), "judge"))
    model = Model()
    _, waiting = world(model, judge=down)
    assert (waiting["no_tool_n"], waiting["no_tool_unscored"]) == (2, 4), "no verdict is no zero"
    assert not model.asked and read_header(world.folder).judge == "judge"
    with pytest.raises(ConfigError, match="judge was"):
        world(Model())
    _, after = world(model, judge=Judge(ScriptedPolicy(["Verdict: wrong"], "judge")))
    assert (after["no_tool_n"], after["no_tool_unscored"], after["no_tool_undecided"]) == (6, 0, 0)
    assert after["no_tool_accuracy"] == 2 / 6 and not model.asked


def test_scoring_again_takes_the_rules_of_now_and_keeps_verdicts(world):
    world(Model(), judge=Judge(ScriptedPolicy(["Verdict: correct"], "judge")))
    with_tools, without = (world.folder / mode for mode in ("with-tools", "without-tools"))
    assert asyncio.run(regrade(with_tools, world.benchmark, None, every=True)) == 0
    stricter = dataclasses.replace(world.benchmark, rule=lambda answer, question: 0.0 if answer == "Rome" else None)
    assert asyncio.run(regrade(with_tools, stricter, None, every=True)) == 6
    assert {how(one) for one in world.saved("with-tools").values()} == {
        ("rule", ""), ("none", "no rule could tell, and there was no judge"),
    }  # fmt: skip
    assert asyncio.run(regrade(without, stricter, None, every=True)) == 2, "Peru and Italy; the rest was judged"
    found = world.saved("without-tools")
    assert {country: one.reward["accuracy"] for country, one in found.items()} == {
        **dict.fromkeys(CITIES, 1.0), "Peru": 0.0, "Italy": 0.0,
    }  # fmt: skip
    assert how(found["Japan"]).by in ("judge", "cache")


def test_modes(world):
    def asked(tools, **changes):
        return modes(BenchSettings.model_validate({"policy": "p", **changes}), tools)

    tools = Tools(code=world.shell)
    assert asked(tools) == ("with-tools", "without-tools") and asked(tools, no_tools=False) == ("with-tools",)
    assert asked(Tools(), blind=True) == ("without-tools", "blind")
    with pytest.raises(ConfigError, match="blank_observations"):
        asked(Tools(), blank_observations=True)


def test_code_that_changes_is_written_down(world):
    world(Model(), n=1)
    header = read_header(world.folder)
    note_code(world.folder)
    assert read_header(world.folder) == header
    old = header.model_copy(update={"code": (header.code[0].model_copy(update={"foveal": "0.0.0"}),)})
    (world.folder / "bench.json").write_text(old.model_dump_json())
    world(Model(), n=1)
    assert [one.foveal for one in read_header(world.folder).code] == ["0.0.0", header.code[0].foveal]
