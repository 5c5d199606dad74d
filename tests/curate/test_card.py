import asyncio
import json
import re
from collections import Counter

import pytest

from foveal.curate.card import collect, write_card
from foveal.curate.cardtext import readme
from foveal.curate.folder import Passes
from foveal.curate.rejudging import rejudge
from foveal.curate.split import Placed, split
from foveal.curate.stages import Stages
from foveal.curate.synthesis import run_of, verify
from foveal.errors import ConfigError, RecordError
from foveal.policy.base import Generation
from foveal.policy.paid import Ceiling, Ledger
from foveal.policy.scripted import ScriptedPolicy
from foveal.records import scan_run
from foveal.reward.judge import Judge
from foveal.reward.score import scorer
from foveal.view import render_curation


def by_step(card):
    return {one.step: (one.rows_in, one.rows_out, one.waiting, one.dropped) for one in card.stages}


def test_a_card_tells_the_whole_way(curated, settings):
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


def test_examples_show_question_answer_picture_and_reason(curated, settings):
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


def test_pass_rates_say_what_becomes_of_each_question(curated, settings):
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


def test_pass_rates_are_those_of_the_questions_that_come_to_a_step(curated, settings):
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


def test_a_curation_that_has_just_begun_has_a_card(curation, settings):
    folder = curation(2)
    card = collect(folder, settings())
    assert (card.questions, card.stages, card.sets, card.spent) == (2, (), (), ())
    text = write_card(folder, card).read_text()
    assert "## Sets" not in text and "configs" not in text
    assert render_curation(folder.path).is_file()


def test_without_teachers_there_is_a_set_for_reinforcement_learning(curated, settings):
    chosen = settings()
    folder = curated(chosen)
    (folder.path / "verdicts" / "verify.jsonl").unlink()
    split(folder, chosen)
    card = collect(folder, chosen)
    assert [one.step for one in card.stages] == ["sources", "check", "difficulty", "benefit", "window", "rl"]
    assert {one.set for one in card.sets} == {"rl"} and card.lengths == ()


def test_what_the_cold_start_leaves_may_go_to_reinforcement_learning(curated, settings):
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


def test_what_was_paid_is_on_the_card(curated, settings):
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


def test_no_password_is_in_the_folder(curated, settings):
    chosen = settings(
        reward={"judge": {"url": "http://joe:s@secret@10.0.0.2/v1", "model": "j"}},
        tools={"live": {"provider": "command", "command": ["ask", "--key", "secret"]}},
    )
    folder = curated(settings())
    score = scorer(chosen.reward, Judge(ScriptedPolicy(lambda messages: "Verdict: wrong")))
    for name in ("alice", "bob"):
        assert asyncio.run(rejudge(run_of(folder, name), chosen.reward, score)) == 10
    verify(folder, chosen, Stages(folder, chosen).asked)
    split(folder, chosen)
    write_card(folder, collect(folder, chosen))
    render_curation(folder.path)
    (learned,) = {one.settings["reward"]["judge"]["url"] for one in scan_run(folder.path / "sft" / "train")}
    assert learned == "http://10.0.0.2/v1"
    assert [path for path in folder.path.rglob("*") if path.is_file() and b"secret" in path.read_bytes()] == []
    written = [(folder.path / name).read_text() for name in ("README.md", "card.json")]
    assert "<https://example.org/a_b>" in written[0] and "http://10.0.0.1/v1" in written[1] and '"ask"' in written[1]


def test_an_address_of_an_older_folder_is_shown_without_its_password(curated, settings, add_figures):
    folder = curated(settings())
    add_figures(folder.path, url="https://you:my@secret@example.org/a_b?id=3&token=secret")
    write_card(folder, collect(folder, settings()))
    written = [render_curation(folder.path), *(folder.path / name for name in ("README.md", "card.json"))]
    assert not any("secret" in path.read_text() for path in written)
    assert "<https://example.org/a_b?id=3&token=…>" in (folder.path / "README.md").read_text()


def test_the_same_curation_gives_the_same_bytes(curated, settings):
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
def test_sets_that_were_cut_otherwise_are_not_told_as_these(curated, table, key, was, now, settings):
    chosen = settings()
    folder = curated(chosen)
    split(folder, chosen)
    other = settings(**{table: {**chosen.model_dump(mode="json")[table], key: now}})
    why = rf"cut with other settings: {table}\.{key} was {re.escape(was)}, and is {now}.* now[\s\S]*split again"
    with pytest.raises(ConfigError, match=why):
        collect(folder, other)


def test_shares_skips_and_teachers_make_other_sets_too(curated, settings):
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


def test_sets_that_are_not_whole_or_of_other_verdicts_are_not_told(curated, settings):
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


def test_a_card_of_somebody_else_is_left_alone(curation, settings):
    folder = curation(2)
    (folder.path / "README.md").write_text("# Mine\n")
    with pytest.raises(ConfigError, match="not written by foveal"):
        write_card(folder, collect(folder, settings()))
    assert (folder.path / "README.md").read_text() == "# Mine\n" and not (folder.path / "card.json").exists()


def test_files_that_cannot_be_read_are_told(curation, curated, settings):
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


def test_long_questions_are_shown_in_part(curated, settings):
    chosen = settings()
    folder = curated(chosen)
    lines = (folder.path / "questions.jsonl").read_text().splitlines()
    changed = {**json.loads(lines[0]), "text": "é" * 5000, "gold": [str(n) for n in range(50)]}
    (folder.path / "questions.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    shown = next(one for stage in collect(folder, chosen).stages for one in stage.examples if one.id == "q0")
    assert len(shown.text) == 601 and len(shown.gold) == 4
