"""Figures of runs whose every answer is made up here, so that they can be worked by hand."""

import json
import math
import random
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.bench.answers import compare_runs, pair, pictures, read_answers, run_folder, scores
from foveal.bench.figures import draw, share
from foveal.bench.header import FILE, Code, Header
from foveal.bench.operations import OPERATIONS
from foveal.bench.pages.tools import WORDS
from foveal.bench.report import notes, smallest_difference, tables, verdict, write_report
from foveal.bench.statistics import wilson
from foveal.cli.common import write_json
from foveal.errors import InputError, RecordError
from foveal.policy.paid import Price
from foveal.records import RunWriter
from foveal.trajectory import (
    ImageRef,
    Observation,
    Question,
    SearchHit,
    StopReason,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
)


def header(n: int, *modes: str, **changes) -> Header:
    modes = modes or ("with-tools",)
    return Header(
        **{
            "benchmark": "vstar", "title": "V*", "data": "d", "items": n, "left_out": 0, "questions_sha256": "0" * 64,
            "n": n, "repeats": 1, "seed": 0, "temperature": 0.0, "policy": "p", "profile": "foveal",
            "thumbnails": True, "prompts": {}, "suffix": "", "tools": {"offered": ["code"]}, "tools_why": "w",
            "limits": {"max_image_pixels": 100}, "scorer": "s", "judge": None, "price": Price(), "modes": modes,
            "code": (Code(since="", foveal="0", commit=None),), **changes,
        }
    )  # fmt: skip


def answered(
    name: str, score: float | None = 1.0, calls=(), repeat: int = 0, picture: str | None = None, stop="answered", **more
) -> Trajectory:
    """A trajectory with calls that were carried out, 100 tokens sent and 10 written a turn."""
    found = {tool: Observation(tool=tool, hits=(SearchHit(title="x"),)) for tool in calls}
    turns = [Turn(text="t", call=ToolCall(tool=tool), observation=found[tool], prompt_tokens=100, completion_tokens=10)
             for tool in calls]  # fmt: skip
    images = (ImageRef(sha256=picture * 64, width=1, height=1),) if picture else ()
    problem = more.pop("problem", "")
    question = Question(id=name, text=f"{name}?", gold=("x",), images=images, **more)
    return Trajectory(
        id=f"{name}/{repeat}", question=question, policy="p", profile="foveal", stop_reason=StopReason(stop),
        turns=(*turns, Turn(text="t", prompt_tokens=100, completion_tokens=10)), seconds=2.0,
        reward={} if score is None else {"accuracy": score}, unscored="no verdict" if score is None else None,
        settings={"bench": {"by": "rule", "problem": problem}},
    )  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """Writes a benchmark run: header, and the trajectories of every mode."""

    def write(head: Header, folder: str = "run", **modes) -> Path:
        for name, trajectories in modes.items():
            with RunWriter(tmp_path / folder / name.replace("_", "-"), pictures=False) as writer:
                for one in trajectories:
                    writer.write(one)
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / FILE).write_text(head.model_dump_json())
        return tmp_path / folder

    return write


def test_one_repeat_of_questions_apart(saved):
    run = saved(header(5), with_tools=[answered(f"q{n}", float(n < 3), ["code"] * n) for n in range(5)])
    found = draw(run).figures
    assert (found["n"], *[found[name] for name in ("accuracy", "low", "high")]) == wilson(3, 5)
    assert found["interval"] == "wilson" and found["mode"] == "with-tools"
    assert (found["calls_per_question"], found["turns_per_question"], found["seconds_per_question"]) == (2.0, 3.0, 2.0)
    assert (found["prompt_tokens_per_question"], found["completion_tokens_per_question"]) == (300.0, 30.0)
    assert found["tokens_per_question"] == 330.0 and found["cost_per_question"] is None
    assert found["call_rate"] == found["tools.code"] == 0.8 and found["tools.search"] == 0.0
    assert found["operations.other"] == 1.0 and found["operations.crop"] == 0.0
    assert found["summary.score"] == 0.6 and "tool_gain" not in found and "pass_at.1" not in found


def test_what_it_costs(saved):
    price = Price(prompt=3.0, completion=15.0)
    found = draw(saved(header(2, price=price), with_tools=[answered("a"), answered("b", calls=["code"])])).figures
    assert found["cost_per_question"] == pytest.approx((150 * 3 + 15 * 15) / 1e6)


def test_a_policy_that_does_not_count_tokens(saved):
    one = answered("a")
    blind = one.model_copy(update={"turns": (Turn(text="t"),)})
    found = draw(saved(header(1), with_tools=[blind])).figures
    assert found["tokens_per_question"] is None and found["cost_per_question"] is None


def test_shared_pictures_and_repeats_are_no_independent_observations(saved):
    alone = [answered(f"q{n}", float(n < 10)) for n in range(20)]
    together = [answered(f"q{n}", float(n < 10), picture="abcd"[n // 5]) for n in range(20)]
    often = [answered(f"q{n}", float(n < 10), repeat=r) for n in range(20) for r in range(4)]
    found = [
        draw(saved(header(20, repeats=repeats), str(number), with_tools=rows)).figures
        for number, (repeats, rows) in enumerate([(1, alone), (1, together), (4, often)])
    ]
    assert [one["interval"] for one in found] == ["wilson", "bootstrap over pictures", "bootstrap over questions"]
    assert [one["accuracy"] for one in found] == [0.5] * 3
    wide = [one["high"] - one["low"] for one in found]
    assert wide[1] > 1.3 * wide[0], "four pictures say less than twenty"
    assert wide[2] == pytest.approx(wide[0], abs=0.05), "four times the same is no more than once"
    assert found[2]["pass_at.4"] == 0.5 and found[2]["n"] == 20 and found[2]["trajectories"] == 80


def test_pass_at_k_counts_whole_questions(saved):
    rows = [answered("a", float(r == 0), repeat=r) for r in range(3)]
    rows += [answered("b", 0.0, repeat=r) for r in range(3)] + [answered("c", 1.0)]
    found = draw(saved(header(3, repeats=3), with_tools=rows)).figures
    assert found["pass_at.3"] == 0.5 and found["accuracy"] == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert found["missing"] == 2


def test_tools_that_win_and_lose(saved):
    """a is right in both, b and c are won, d is lost, e is wrong in both; f has no answer without tools."""
    with_tools = [answered(name, float(name in "abcf"), ["code"] if name in "bcde" else []) for name in "abcdef"]
    without = [answered(name, float(name in "ad")) for name in "abcde"]
    drawn = draw(saved(header(6, "with-tools", "without-tools"), with_tools=with_tools, without_tools=without))
    found = drawn.figures
    assert (found["tool_gain"], found["tool_harm"], found["tool_questions"]) == (0.4, 0.2, 5)
    assert (found["won_by_tools"], found["lost_by_tools"], found["tool_left_out"]) == (["b", "c"], ["d"], 1)
    assert found["tool_difference"] == pytest.approx(0.2) and found["tool_difference_p"] == 1.0
    assert found["tool_difference_low"] < 0 < found["tool_difference_high"]
    assert (found["call_rate_no_tool_right"], found["call_rate_no_tool_wrong"]) == (0.5, 1.0)
    assert found["adaptiveness"] == 0.5
    assert (found["no_tool_n"], found["no_tool_accuracy"]) == (5, 0.4)
    assert (found["missing"], found["planned"]) == (1, 12)


def test_visits_are_told_apart_from_code(saved):
    rows = [answered("a", calls=["visit", "search"], family="x"), answered("b", calls=["code"], family="x")]
    offered = ["code", "image_search", "visit"]
    drawn = draw(saved(header(2, tools={"offered": offered}), with_tools=rows))
    found = drawn.figures
    assert (found["tools.visit"], found["family.x.tools.visit"]) == (0.5, 0.5)
    assert found["operations.visit"] == found["operations.other"] == found["operations.search"] == pytest.approx(1 / 3)
    (families,) = (table for table in tables(drawn) if table.title.startswith("Families"))
    shown = dict(zip(families.columns, families.rows[0], strict=True))
    assert (shown["visit"], shown["image search"]) == ("50.0 %", "0.0 %") and "search" not in shown, "not offered"
    style = resources.files("foveal.view").joinpath("style.css").read_text()
    assert WORDS.keys() == set(OPERATIONS) and all(f".op-{kind} " in style for kind in OPERATIONS)


def test_axes_and_families(saved):
    hard = [(1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 0)]
    names = ("perception", "search", "reason")
    rows = [
        answered(f"q{n}", float(n != 1), ["search"] if n < 2 else [], family="xy"[n % 2],
                 meta=dict(zip(names, map(bool, flags), strict=True)))
        for n, flags in enumerate(hard)
    ]  # fmt: skip
    found = draw(saved(header(4, benchmark="realx"), with_tools=rows)).figures
    assert [found[f"axis.{axis}.n"] for axis in (*names, "integration")] == [2, 2, 1, 1]
    assert [found[f"axis.{axis}.accuracy"] for axis in (*names, "integration")] == [0.5, 1.0, 1.0, 1.0]
    assert found["axis.perception.low"] == wilson(1, 2).low and found["summary.axis.perception"] == 0.5
    assert (found["family.x.accuracy"], found["family.y.accuracy"]) == (1.0, 0.5)
    assert found["family.x.tools.search"] == found["family.y.tools.search"] == found["family.x.call_rate"] == 0.5
    assert found["family.x.operations.search"] == found["operations.search"] == 1.0
    titles = [table.title for table in tables(draw(saved(header(0), "other")))]
    assert "Hard on an axis" not in titles


def test_what_has_no_score_is_not_in_it_and_is_told(saved):
    rows = [
        answered("a", None),
        answered("b", 0.0, problem="no rule could tell, and there was no judge"),
        answered("c"),
    ]
    drawn = draw(saved(header(4), with_tools=rows))
    found = drawn.figures
    assert (found["n"], found["accuracy"], found["unscored"], found["undecided"]) == (2, 0.5, 1, 1)
    assert found["missing"] == 1
    said = " ".join(notes(drawn))
    assert "1 answers wait for the judge" in said and "no judge: name one" in said and "1 of 4 answers" in said


def test_ends(saved):
    rows = [answered("a"), answered("b", 0.0, stop="max_turns"), answered("c", 0.0, stop="max_turns")]
    found = draw(saved(header(3), with_tools=rows)).figures
    assert found["stop.max_turns"] == pytest.approx(2 / 3) and found["stop.answered"] == pytest.approx(1 / 3)


def test_calls_that_were_not_carried_out_do_not_count(saved):
    call = ToolCall(tool="code")
    refused = Observation(tool="format", error=ToolError(kind="format", message="m"))
    turns = (Turn(text="t", call=call), Turn(text="t", observation=refused))
    found = draw(saved(header(1), with_tools=[answered("a").model_copy(update={"turns": turns})])).figures
    assert found["calls_per_question"] == found["call_rate"] == 0.0


def test_the_benchmarks_own_figures_are_those_of_every_repeat(saved):
    """HR-Bench: `consistent` asks whether all orders of a question are right, within a repeat, not across them."""
    rows = [
        answered(f"q{cycle}", float(repeat == 0), repeat=repeat, meta={"cycle": str(cycle), "base": "b"})
        for cycle in range(4)
        for repeat in range(2)
    ]  # fmt: skip
    found = draw(saved(header(4, benchmark="hrbench4k", repeats=2), with_tools=rows)).figures
    assert found["summary.consistent"] == 0.5 and found["summary.cycle.0"] == 0.5


def test_a_run_without_answers(saved, tmp_path):
    drawn = draw(saved(header(3, "with-tools", "without-tools", "blind")))
    found = drawn.figures
    assert (found["n"], found["accuracy"], found["low"], found["high"], found["missing"]) == (0, None, 0.0, 1.0, 9)
    write_json(tmp_path / "f.json", found)
    assert "NaN" not in (tmp_path / "f.json").read_text()
    assert "- " in write_report(tmp_path / "run", drawn).read_text()


def test_names_cannot_break_the_report(saved):
    name = "a|b\n<script>`x` *y* [z](http://e)"
    head = header(1, "with-tools", "without-tools", policy=name, title=name)
    run = saved(head, with_tools=[answered(name, family=name)], without_tools=[answered(name, 0.0, family=name)])
    text = write_report(run, draw(run)).read_text()
    assert "\n<script" not in text and "[z]" not in text.replace("\\[z]", "") and "a|b" not in text
    families = [line for line in text.splitlines() if line.startswith("| a\\|b")]
    assert [len(line.replace("\\|", "").split("|")) for line in families] == [8], "a cell for every column"


def test_another_process_is_not_confused_by_the_order_of_answers(saved):
    rows = [answered(f"q{n}", float(n % 3 == 0), picture="abcdef"[n % 6]) for n in range(60)]
    first = draw(saved(header(60), "a", with_tools=rows)).figures
    random.Random(1).shuffle(rows)
    assert draw(saved(header(60), "b", with_tools=rows)).figures == first


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=3), min_size=1, max_size=12), st.data())
@settings(max_examples=25, deadline=None)
def test_any_interval_holds_its_share(found, data):
    by_question = {f"q{n}": one for n, one in enumerate(found)}
    clusters = {name: data.draw(st.sampled_from("abc")) for name in by_question}
    value, how = share(by_question, clusters)
    assert 0 <= value.low <= value.value <= value.high <= 1 and value.n == len(found)
    assert value.value == pytest.approx(math.fsum(math.fsum(one) / len(one) for one in found) / len(found))
    assert how in ("wilson", "bootstrap over pictures", "bootstrap over questions")


def test_runs_are_compared_on_what_both_have(saved):
    ours = [answered(name, float(name < "f")) for name in "abcdefgh"]
    theirs = [answered(name, float(name != "a")) for name in "abcdefg"] + [answered("h", None)]
    found = compare_runs(saved(header(8), "a", with_tools=ours), saved(header(8), "b", with_tools=theirs))
    assert (found.comparison.n, found.left_out, found.clustered) == (7, 1, False)
    assert [flip.id for flip in found.comparison.gained] == ["f", "g"]
    assert [flip.id for flip in found.comparison.lost] == ["a"]
    assert verdict(found.comparison) == "cannot tell"


def test_runs_that_share_pictures_are_compared_by_picture(saved):
    ours = [answered(f"q{n}", 0.0, picture="ab"[n // 10]) for n in range(20)]
    theirs = [answered(f"q{n}", float(n < 10)) for n in range(20)]  # asked without pictures
    found = pair(read_answers(saved(header(20), "a", with_tools=ours) / "with-tools"),
                 read_answers(saved(header(20), "b", with_tools=theirs) / "with-tools"))  # fmt: skip
    assert found.clustered and found.comparison.test == "permutation" and found.comparison.p > 0.4
    assert smallest_difference(found) > 0.3


def test_a_blind_run_is_about_the_same_pictures(saved):
    """Four questions about each of five pictures; what the blind run shows of them is nothing."""
    seen = [answered(f"q{n}", float(n < 16), picture="abcde"[n // 4]) for n in range(20)]
    unseen = [answered(f"q{n}", float(n < 4)) for n in range(20)]
    run = saved(header(20, "with-tools", "blind"), with_tools=seen, blind=unseen)
    main, blind = (read_answers(run / mode) for mode in ("with-tools", "blind"))
    for found in (pair(blind, main), pair(main, blind), draw(run).pairs["blind"]):
        assert found.clustered and (found.comparison.test, found.comparison.interval) == ("permutation", "bootstrap")
    assert draw(run).figures["blind_difference_p"] == 2 * 0.5**3, "three pictures changed, all in one direction"


def test_what_else_is_not_the_same_is_named(saved):
    rows = [answered("a")]
    prompts = {"with-tools": "a", "without-tools": "a"}
    one = header(1, "with-tools", "without-tools", prompts=prompts)
    first = saved(one, "a", with_tools=rows, without_tools=rows)
    other = header(
        1,
        tools={"offered": ["code"], "index": "x"},
        pictures_sha256="x",
        policy="q",
        temperature=1.0,
        judge="j",
        title="other",
        prompts={"with-tools": "b", "blind": "c"},
    )
    second = saved(other, "b", with_tools=rows)
    assert compare_runs(first, second).differ == ("temperature", "policy", "tools.index", "judge", "prompts")
    assert compare_runs(first / "without-tools", second).differ == (
        "temperature",
        "policy",
        "tools.index",
        "judge",
        "prompts",
    )
    assert compare_runs(first / "without-tools", first).differ == ()


def test_other_questions_of_the_same_name_are_refused(saved):
    one = answered("a")
    other = one.model_copy(update={"question": one.question.model_copy(update={"gold": ("y",)})})
    with pytest.raises(InputError, match="question a is another one"):
        compare_runs(saved(header(1), "a", with_tools=[one]), saved(header(1), "b", with_tools=[other]))
    shown = [answered("a", picture="a")]
    first = saved(header(1, "with-tools", "blind"), "e", with_tools=shown, blind=[one])
    for other in ([answered("a", picture="b")], [one]):
        second = saved(
            header(1, "with-tools", "blind"), f"f{len(other[0].question.images)}", with_tools=other, blind=[one]
        )
        with pytest.raises(InputError, match="question a is another one"):
            compare_runs(first, second)
        assert compare_runs(first / "blind", second).comparison.n == 1
        assert compare_runs(second, first / "blind").comparison.n == 1
    with pytest.raises(InputError, match="no questions"):
        compare_runs(saved(header(1), "c", with_tools=[one]), saved(header(1), "d", with_tools=[answered("b")]))


def test_a_run_is_found_by_either_folder(saved, tmp_path):
    run = saved(header(1), with_tools=[answered("a")])
    assert run_folder(run) == run_folder(run / "with-tools") == run / "with-tools"
    with pytest.raises(RecordError, match="holds no run"):
        run_folder(tmp_path)
    with pytest.raises(RecordError, match="cannot be read"):
        (run / FILE).write_bytes(b"\xff")
        run_folder(run)


def test_scores_and_pictures(saved):
    rows = [answered("q10", 0.5, repeat=1), answered("q10", 1.0), answered("q9", None, picture="a"), answered("q2")]
    answers = read_answers(saved(header(3, repeats=2), with_tools=rows) / "with-tools")
    assert [one.question.id for one in answers] == ["q2", "q9", "q10", "q10"]
    assert scores(answers) == {"q2": [1.0], "q10": [1.0, 0.5]}
    assert pictures(answers) == {"q2": "q2", "q9": ("a" * 64,), "q10": "q10"}


def test_figures_load_no_model(saved):
    run = saved(header(1), with_tools=[answered("a")])
    script = (
        "import json, sys\nfrom pathlib import Path\n"
        "from foveal.bench.figures import draw\nfrom foveal.bench.report import write_report\n"
        f"drawn = draw(Path({str(run)!r}))\nwrite_report(Path({str(run)!r}), drawn)\n"
        "assert not {'torch', 'transformers', 'pyarrow', 'datasets'} & set(sys.modules)\n"
        "print(json.dumps(drawn.figures))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == 1.0
