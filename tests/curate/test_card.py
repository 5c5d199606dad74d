import asyncio
import itertools
import json
import re
from collections import Counter

import pytest
import yaml

from foveal.curate.adding import AddedFigures, FileFigures, SourceFigures
from foveal.curate.card import collect, write_card
from foveal.curate.cardtext import hub_licence, readme
from foveal.curate.folder import Passes
from foveal.curate.leaks import CheckVerdict
from foveal.curate.lengths import histogram, lengths_of, quantile
from foveal.curate.rejects import Reject
from foveal.curate.sets import source_of
from foveal.curate.settings import CurateSettings
from foveal.curate.split import Placed, split
from foveal.curate.stages import Stages
from foveal.curate.synthesis import run_of, synthesize, verify
from foveal.errors import ConfigError, RecordError
from foveal.policy.base import Generation
from foveal.policy.paid import Ceiling, Ledger
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import RunWriter, scan_run
from foveal.trajectory import Question, StopReason, Trajectory, Turn
from foveal.view import render_curation


def settings(**changes):
    values = {
        "teachers": [
            {"name": "alice", "policy": "http://me:s@secret@10.0.0.1/v1", "price": {"prompt": 2.0, "completion": 10.0}},
            {"name": "bob", "policy": "b"},
        ],
        "student": {"policy": "http://student/v1"},
        "verify": {"placeholders": True},
        "split": {"held_out": 0.3},
    }
    return CurateSettings.model_validate(values | changes)


def teacher(messages):
    """Right at even numbers."""
    number = int(messages[1].text.split()[2].rstrip("?"))
    look = "<think>I look.</think>\n<code>\n```python\nf(1)\n```\n</code>"
    answer = number if number % 2 == 0 else "no idea"
    return look if len(messages) == 2 else f"<think>Well.</think><answer>{answer}</answer>"


def add_figures(folder, name="s", licence="CC BY 4.0", **rejected):
    kept = (folder / "questions.jsonl").read_text().count("\n") if (folder / "questions.jsonl").exists() else 2
    rows = kept + sum(rejected.values())
    file = FileFigures(name="a.jsonl", sha256="ab" * 32, size=1234, rows=rows)
    source = SourceFigures(
        name=name, licence=licence, url="https://you:my@secret@example.org/a_b", files=(file,), rows=rows, kept=kept,
        rejected=rejected,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sources.json").write_text(AddedFigures(settings={}, sources=(source,)).model_dump_json())
    rejects = [Reject(source=name, file="a.jsonl", row=n, reason=why, message="is no row", said=f"row {n}")
               for why, count in rejected.items() for n in range(count)]  # fmt: skip
    (folder / "rejects.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in rejects))


@pytest.fixture
def curated(curation, asked, tools):
    """20 questions: q0, q1 leak; q2, q3 are easy; q4 ... q9 are solved, q4 always and q5 once; alice and bob were asked
    the rest: she is right at even ones, he never."""

    def make(chosen, name="curation"):
        folder = curation(20, name)
        names = [question.row.id for question in folder.questions()]
        add_figures(folder.path, duplicate=6, no_answer=1)
        leak = {"benchmark": "b", "item": "1", "distance": 0, "words": 9}
        folder.write_verdicts("check", [CheckVerdict(id=n, picture=leak if n in ("q0", "q1") else None) for n in names])
        easy = {"q2": 3, "q3": 8}
        folder.write_verdicts("difficulty", [Passes(id=n, samples=8, right=easy.get(n, 2)) for n in names[2:]])
        rates = {"q4": 8, "q5": 1, "q6": 7, "q7": 4, "q8": 4, "q9": 4}
        folder.write_verdicts("benefit", [Passes(id=n, samples=8, right=rates.get(n, 0)) for n in names[4:]])
        idle = ScriptedPolicy(lambda messages: "<think>I guess.</think><answer>none</answer>", "bob-model")
        who = {
            "alice": asked(ScriptedPolicy(teacher, "alice-model"), tools=tools),
            "bob": asked(idle, tools=tools),
        }
        questions = Stages(folder, chosen).asked
        asyncio.run(synthesize(folder, chosen, who, questions))
        verify(folder, chosen, questions)
        return folder

    return make


def by_step(card):
    return {one.step: (one.rows_in, one.rows_out, one.waiting, one.dropped) for one in card.stages}


def test_a_card_tells_the_whole_way(curated):
    chosen = settings()
    folder = curated(chosen)
    sets = split(folder, chosen)
    card = collect(folder, chosen)
    assert by_step(card) == {
        "sources": (27, 20, 0, {"duplicate": 6, "no_answer": 1}),
        "check": (20, 18, 0, {"leak of picture": 2}),
        "difficulty": (18, 16, 0, {"too easy": 2}),
        "benefit": (16, 10, 0, {"solved": 6}),
        "verify": (10, 5, 0, {"wrong": 5}),
        "sft": (5, 5, 0, {}),
        "window": (6, 5, 0, {"too easy with tools": 1}),
        "rl": (5, 5, 0, {}),
    }
    held = {(one.set, one.part): one for one in card.sets}
    assert sum(one.rows for one in card.sets if one.set == "sft") == 5
    for (name, part), one in held.items():
        assert one.rows == getattr(sets, name)[part] and (folder.path / one.file).is_file()
    assert sum((one.families.get("even", 0) for one in card.sets if one.set == "sft"), 0) == 5
    assert all(set(one.teachers) == {"alice"} for one in card.sets if one.set == "sft")
    alice, bob = card.teachers
    assert (alice.policy, alice.trajectories, alice.good, alice.solved, alice.failures) == (
        *("alice-model", 10, 5, 5), {"wrong": 5},
    )  # fmt: skip
    assert (bob.trajectories, bob.good, bob.failures) == (10, 0, {"no_call": 10, "wrong": 10})
    written = sum(len(turn.text) for one in scan_run(run_of(folder, "alice")) for turn in one.turns)
    assert abs(alice.tokens - written / 4) <= 10
    (lengths,) = card.lengths
    assert (lengths.holds, lengths.count, lengths.estimated) == ("tools", 5, 5)
    assert sum(one.count for one in lengths.histogram) == 5


def test_examples_show_question_answer_picture_and_reason(curated):
    chosen = settings()
    stages = {one.step: one.examples for one in collect(curated(chosen), chosen).stages}
    first = stages["check"][0]
    assert (first.id, first.text, first.gold, first.pictures, first.reason) == (
        *("q2", "What is 2?", ("2",), ("pictures/1.png",)), None,
    )  # fmt: skip
    assert [(one.id, one.reason) for one in stages["check"]] == [
        *((f"q{number}", None) for number in (2, 3, 4, 5)),
        *((f"q{number}", "leak of picture") for number in (0, 1)),
    ]
    rejected = stages["sources"]
    assert [one.reason for one in rejected] == ["duplicate"] * 4 + ["no_answer"]
    assert (rejected[1].id, rejected[1].text) == ("s a.jsonl row 1", "is no row\nrow 1")


def test_pass_rates_say_what_becomes_of_each_question(curated):
    chosen = settings()
    folder = curated(chosen)
    verdicts = folder.verdicts("benefit", Passes)
    verdicts["q7"] = Passes(id="q7", samples=6, right=3, unscored=2)
    folder.write_verdicts("benefit", verdicts.values())
    difficulty, benefit = collect(folder, chosen).rates
    assert difficulty.counts == (0, 0, 16, 1, 0, 0, 0, 0, 1)
    assert difficulty.fates == ("hard",) * 3 + ("too easy",) * 6
    assert benefit.counts == (10, 1, 0, 0, 2, 0, 0, 1, 1) and benefit.unfinished == 1
    assert benefit.fates == ("cold start", *("in the window",) * 7, "too easy with tools")
    for step, rates in zip(("difficulty", "benefit"), (difficulty, benefit), strict=True):
        rows_in, rows_out, waiting, _ = by_step(collect(folder, chosen))[step]
        told = Counter[str]()
        for fate, questions in zip(rates.fates, rates.counts, strict=True):
            told[fate] += questions
        assert (told.total() + rates.unfinished, told[{"difficulty": "hard", "benefit": "cold start"}[step]]) == (
            *(rows_in, rows_out),
        )
        assert rates.unfinished == waiting, "the same figures as in the funnel"
    other = collect(folder, settings(window={"student": {"policy": "x"}})).rates
    assert [one.step for one in other] == ["difficulty", "benefit"] and set(other[1].fates) == {"cold start", "solved"}
    assert collect(folder, settings(skip=["difficulty"])).rates[0].step == "benefit"


def test_pass_rates_are_those_of_the_questions_that_come_to_a_step(curated):
    """Verdicts on questions that another threshold holds back now are there, and do not count."""
    chosen = settings(difficulty={"most_right": 1})
    folder = curated(settings())
    verdicts = folder.verdicts("difficulty", Passes)
    held = {f"q{n}": Passes(id=f"q{n}", samples=8, right=n % 2) for n in range(4, 12)}
    folder.write_verdicts("difficulty", (verdicts | held).values())
    card = collect(folder, chosen)
    assert by_step(card)["benefit"] == (8, 2, 0, {"solved": 6})
    assert card.rates[1].counts == (2, 1, 0, 0, 3, 0, 0, 1, 1)
    folder.write_verdicts("benefit", [one for name, one in folder.verdicts("benefit", Passes).items() if name != "q9"])
    card = collect(folder, chosen)
    assert by_step(card)["benefit"] == (8, 2, 1, {"solved": 5})
    assert (sum(card.rates[1].counts), card.rates[1].unfinished) == (7, 1), "of what waits nothing is there at all"


def test_a_curation_that_has_just_begun_has_a_card(curation):
    folder = curation(2)
    card = collect(folder, settings())
    assert (card.questions, card.stages, card.sets, card.spent) == (2, (), (), ())
    text = write_card(folder, card).read_text()
    assert "## Sets" not in text and "configs" not in text
    assert render_curation(folder.path).is_file()


def test_without_teachers_there_is_a_set_for_reinforcement_learning(curated):
    chosen = settings()
    folder = curated(chosen)
    (folder.path / "verdicts" / "verify.jsonl").unlink()
    split(folder, chosen)
    card = collect(folder, chosen)
    assert [one.step for one in card.stages] == ["sources", "check", "difficulty", "benefit", "window", "rl"]
    assert {one.set for one in card.sets} == {"rl"} and card.lengths == ()


def test_what_the_cold_start_leaves_may_go_to_reinforcement_learning(curated):
    chosen = settings(split={"most_sft": 2}, window={"student": {"policy": "sft", "price": {"prompt": 1.0}}})
    folder = curated(chosen)
    sets = split(folder, chosen)
    assert [one.step for one in collect(folder, chosen).stages][-1] == "sft", "the window was not asked yet"
    learned = {name for name, one in folder.verdicts("split", Placed).items() if one.set == "sft"}
    left = [one.row.id for one in Stages(folder, chosen).for_window(learned)]
    folder.write_verdicts("window", [Passes(id=n, samples=8, right=0 if n in ("q11", "q13") else 4) for n in left])
    assert split(folder, chosen).sft == sets.sft
    card = collect(folder, chosen)
    steps = by_step(card)
    assert steps["sft"] == (5, 2, 0, {"reinforcement learning": 3})
    assert steps["window"] == (14, 12, 0, {"too hard": 2}) and steps["rl"][:2] == (12, 12)
    window = card.rates[-1]
    assert (window.step, window.counts) == ("window", (2, 0, 0, 0, 12, 0, 0, 0, 0))
    assert window.fates == ("too hard", *("in the window",) * 7, "too easy with tools")
    other = settings(split={"most_sft": 2}, window=chosen.window.model_dump(mode="json"), skip=["window"])
    split(folder, other)
    assert by_step(collect(folder, other))["rl"][:2] == (14, 14)


def test_what_was_paid_is_on_the_card(curated):
    chosen = settings()
    folder = curated(chosen)
    for step, policy in (("synthesis", "alice-model"), ("benefit", "someone")):
        ledger = Ledger(folder.run(step) / "ledger.sqlite", {}, Ceiling())
        ledger.keep("a", policy, Generation("x", "stop", 1_000_000, 100_000))
        ledger.keep("b", policy, Generation("x", "stop", 0, 100_000))
        ledger.close()
    spent = {one.step: (one.calls, one.tokens, one.money) for one in collect(folder, chosen).spent}
    assert spent == {"benefit": (2, 1_200_000, 0.0), "synthesis": (2, 1_200_000, 4.0)}
    assert "| synthesis | 2 | 1,200,000 | 4.00 |" in readme(collect(folder, chosen))


def test_reasoning_has_its_own_licence_length_and_place(curated):
    chosen = settings(long_cot={"share": 0.5}, split={})
    folder = curated(chosen)
    add_figures(folder.run("long-cot") / "source", "thoughts", licence="My own", no_question=1)
    source_of(folder).write_verdicts("check", [])
    with RunWriter(folder.run("long-cot")) as writer:
        for number in range(9):
            turn = Turn(text="<think>" + "so " * 400 + "</think><answer>1</answer>")
            question = Question(id=f"thoughts-{number}", text="Why?", gold=("1",))
            writer.write(
                Trajectory(id=question.id, question=question, policy="long-cot", profile="foveal", turns=(turn,),
                           answer="1", stop_reason=StopReason.ANSWERED)
            )  # fmt: skip
    split(folder, chosen)
    card = collect(folder, chosen)
    (sft,) = (one for one in card.sets if one.set == "sft")
    assert (sft.rows, sft.reasoning, sft.teachers) == (10, 5, {"alice": 5, "long-cot": 5})
    assert sft.families == {"even": 5}
    assert [(one.holds, one.count) for one in card.lengths] == [("tools", 5), ("reasoning", 5)]
    assert card.lengths[1].quantiles["min"] > card.lengths[0].quantiles["max"]
    assert [(one.name, one.holds, one.licence) for one in card.sources] == [
        ("s", "questions", "CC BY 4.0"),
        ("thoughts", "reasoning", "My own"),
    ]
    assert header(readme(card))["license"] == ["cc-by-4.0", "other"]
    assert header(readme(card))["license_name"] == "My own"
    split(folder, settings(split={}))
    none = collect(folder, settings(split={}))
    assert none.sources == card.sources, "what was taken in is in the folder, whatever the share is"


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_the_header_is_the_one_of_the_hub(curated):
    chosen = settings()
    folder = curated(chosen)
    split(folder, chosen)
    card = collect(folder, chosen)
    said = header(readme(card))
    assert said["license"] == ["cc-by-4.0"] and said["size_categories"] == ["n<1K"]
    assert said["pretty_name"] == "curation" and "visual-question-answering" in said["task_categories"]
    files = [file for config in said["configs"] for file in config["data_files"]]
    assert [config["config_name"] for config in said["configs"]] == ["sft", "rl"]
    assert all((folder.path / file["path"]).stat().st_size for file in files)
    odd = header(readme(card.model_copy(update={"name": 'a: "b" #c\n\x85\u2028😀'})))
    assert odd["pretty_name"] == 'a: "b" #c   😀'


def test_licences_by_the_names_of_the_hub():
    names = ["MIT", "Apache-2.0", "CC BY-NC 4.0", "cc_by_sa_4.0", " ", None, "Ask Joe"]
    assert [hub_licence(name) for name in names] == [
        *("mit", "apache-2.0", "cc-by-nc-4.0", "cc-by-sa-4.0", "unknown", "unknown", "other"),
    ]


def test_text_of_others_stays_in_its_cell(curated):
    chosen = settings()
    folder = curated(chosen)
    lines = (folder.path / "questions.jsonl").read_text().splitlines()
    hostile = "`x` | <script>alert(1)</script>\n\n# *Big* [a](javascript:b) ~~c~~ <!-- "
    changed = {**json.loads(lines[0]), "text": hostile, "gold": ["a|b"]}
    (folder.path / "questions.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    text = readme(collect(folder, chosen))
    (row,) = (line for line in text.splitlines() if "alert(1)" in line)
    assert "<script>" not in text and len(re.findall(r"(?<!\\)\|", row)) == 5
    assert r"\`x\` \| &lt;script&gt;" in row and r"\# \*Big\* \[a\](javascript:b)" in row and r"a\|b" in row


def test_no_password_leaves_the_folder(curated):
    chosen = settings()
    folder = curated(chosen)
    write_card(folder, collect(folder, chosen))
    page = render_curation(folder.path).read_text()
    written = [page, *((folder.path / name).read_text() for name in ("README.md", "card.json"))]
    assert not any("secret" in text for text in written)
    assert "<https://example.org/a_b>" in written[1] and "http://10.0.0.1/v1" in written[2]


def test_the_same_curation_gives_the_same_bytes(curated):
    chosen, made = settings(), []
    for parent in ("one", "two"):
        folder = curated(chosen, f"{parent}/curation")
        split(folder, chosen)
        write_card(folder, collect(folder, chosen))
        render_curation(folder.path)
        made.append([(folder.path / name).read_bytes() for name in ("card.json", "README.md", "page.html")])
        write_card(folder, collect(folder, chosen))
        assert (folder.path / "card.json").read_bytes() == made[-1][0], "writing it again changes nothing"
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("table", "key", "was", "now"),
    [
        ("split", "most_sft", "not set", 4), ("split", "most_rl", "not set", 4), ("split", "held_out", "0.3", 0.2),
        ("window", "lowest", "0.125", 0.5), ("difficulty", "most_right", "2", 1), ("benefit", "least_right", "1", 2),
        ("verify", "most_tokens", "not set", 5000), ("verify", "per_question", "1", 2), ("check", "min_words", "8", 9),
        ("long_cot", "share", "0.0", 0.5), ("synthesis", "samples", "1", 2), ("reward", "absolute_tolerance", "0.0", 1),
    ],
)  # fmt: skip
def test_sets_that_were_cut_otherwise_are_not_told_as_these(curated, table, key, was, now):
    chosen = settings()
    folder = curated(chosen)
    split(folder, chosen)
    other = settings(**{table: {**chosen.model_dump(mode="json")[table], key: now}})
    why = rf"cut with other settings: {table}\.{key} was {re.escape(was)}, and is {now}.* now[\s\S]*split again"
    with pytest.raises(ConfigError, match=why):
        collect(folder, other)


def test_shares_skips_and_teachers_make_other_sets_too(curated):
    chosen = settings(balance={"rl": {"even": 0.9}})
    folder = curated(chosen)
    split(folder, chosen)
    with pytest.raises(ConfigError, match=r"balance\.rl\.even was 0\.9, and is not set now; skip was \[\]"):
        collect(folder, settings(skip=["window"]))
    alone = settings(balance={"rl": {"even": 0.9}}, teachers=[{"name": "bob", "policy": "b"}])
    with pytest.raises(ConfigError, match=r'teachers was \["alice", "bob"\], and is \["bob"\] now'):
        collect(folder, alone)
    asked = settings(balance={"rl": {"even": 0.9}}, student={"policy": "http://student/v1", "concurrency": 3})
    assert collect(folder, asked).sets, "how many are asked at a time is no reason"


def test_sets_that_are_not_whole_or_of_other_verdicts_are_not_told(curated):
    chosen = settings()
    folder = curated(chosen)
    split(folder, chosen)
    verdicts = folder.verdicts("benefit", Passes)
    folder.write_verdicts("benefit", (verdicts | {"q5": Passes(id="q5", samples=8, right=8)}).values())
    with pytest.raises(ConfigError, match="the set rl has questions that a step before it does not let through"):
        collect(folder, chosen)
    folder.write_verdicts("benefit", verdicts.values())
    (folder.path / "sft" / "train" / "trajectories.jsonl").write_text("")
    with pytest.raises(ConfigError, match="not whole"):
        collect(folder, chosen)
    (folder.path / "verdicts" / "split-settings.json").unlink()  # killed while it was cut, or of an older foveal
    with pytest.raises(ConfigError, match=r"nobody knows with which settings[\s\S]*split again"):
        collect(folder, chosen)


def test_a_card_of_somebody_else_is_left_alone(curation):
    folder = curation(2)
    (folder.path / "README.md").write_text("# Mine\n")
    with pytest.raises(ConfigError, match="not written by foveal"):
        write_card(folder, collect(folder, settings()))
    assert (folder.path / "README.md").read_text() == "# Mine\n" and not (folder.path / "card.json").exists()


def test_files_that_cannot_be_read_are_told(curation, curated):
    chosen = settings()
    folder = curated(chosen, "other")
    asked = run_of(folder, "alice") / "asked.json"
    asked.write_text("[]")
    with pytest.raises(RecordError, match=r"alice/asked\.json cannot be read"):
        collect(folder, chosen)
    (folder.path / "rejects.jsonl").write_text("{}\n")
    with pytest.raises(RecordError, match=r"rejects\.jsonl line 1 cannot be read"):
        collect(folder, chosen)
    folder = curation(2)
    (folder.path / "sources.json").write_text("{")
    with pytest.raises(RecordError, match=r"sources\.json cannot be read"):
        collect(folder, settings())


def test_long_questions_are_shown_in_part(curated):
    chosen = settings()
    folder = curated(chosen)
    lines = (folder.path / "questions.jsonl").read_text().splitlines()
    changed = {**json.loads(lines[0]), "text": "é" * 5000, "gold": [str(n) for n in range(50)]}
    (folder.path / "questions.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    shown = next(one for stage in collect(folder, chosen).stages for one in stage.examples if one.id == "q0")
    assert len(shown.text) == 601 and len(shown.gold) == 4


@pytest.mark.parametrize("lengths", [{0: 1}, {7: 3}, {n: 1 for n in range(1000)}, {100: 500, 101: 499, 90_000: 1}])
def test_every_length_is_in_its_bin(lengths):
    bins = histogram(Counter(lengths))
    assert len(bins) <= 20 and sum(one.count for one in bins) == sum(lengths.values())
    for one in bins:
        assert one.count == sum(n for t, n in lengths.items() if t >= one.start and (one.end is None or t < one.end))
    assert all(before.end == after.start for before, after in itertools.pairwise(bins))
    assert bins[0].start == 0 and (bins[-1].end is None) == (90_000 in lengths)


def test_quantiles_are_lengths_that_there_are():
    lengths = Counter(range(1, 101))
    assert [quantile(lengths, percent) for percent in (5, 50, 95, 99)] == [5, 50, 95, 99]
    said = lengths_of("tools", Counter({10: 3, 20: 1}), 0)
    assert said.mean == 12.5 and said.quantiles == {
        **{"min": 10, "5 %": 10, "25 %": 10, "50 %": 10, "75 %": 10, "95 %": 20, "max": 20},
    }
