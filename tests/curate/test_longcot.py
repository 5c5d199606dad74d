import dataclasses
import json

import pytest

from foveal.curate.folder import Folder
from foveal.curate.longcot import take_reasoning
from foveal.curate.sets import leaking
from foveal.curate.settings import CurateSettings
from foveal.errors import ConfigError, InputError
from foveal.protocol import FOVEAL, Answer, parse_turn
from foveal.records import read_run


@pytest.fixture
def reasoning(tmp_path):
    rows = [
        {"q": "2 + 2?", "s": "Two and two.\n", "a": 4},
        {"q": "3 + 3?", "s": "", "a": 6},
        {"q": "What?", "s": "Write <answer>7</answer>.", "a": 7},
        {"q": "4 + 4?", "s": "Eight, émile.", "a": "8"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {
        "name": "math",
        "path": str(tmp_path / "rows.jsonl"),
        "columns": {"question": "q", "reasoning": "s", "answer": "a"},
    }
    return CurateSettings.model_validate({"long_cot": {"sources": [source], "share": 0.5}})


def test_rows_become_single_turns_that_the_protocol_reads(reasoning, tmp_path):
    folder = Folder(tmp_path / "curation")
    taken = take_reasoning(folder, reasoning, FOVEAL)
    assert taken.kept == 2 and taken.refused == {"no reasoning": 1, "holds tags of the protocol": 1}
    run = read_run(folder.run("long-cot"))
    first, second = run.trajectories
    parsed = parse_turn(first.turns[0].text)
    assert (parsed.think, parsed.action) == ("Two and two.", Answer("4"))
    assert second.turns[0].text == "<think>Eight, émile.</think>\n<answer>8</answer>"
    assert [message.role for message in first.prompt] == ["system", "user"] and first.reward == {"accuracy": 1.0}
    assert "reasoning" not in first.question.meta and first.question.meta["source"] == "math"
    take_reasoning(folder, reasoning, FOVEAL)
    assert read_run(folder.run("long-cot")).trajectories == run.trajectories


def test_an_answer_that_holds_a_tag_is_refused_as_a_solution_is(reasoning, tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"q": f"Which {n}?", "s": "Look.", "a": a}) + "\n" for n, a in enumerate(("<code>", "br")))
    )
    assert take_reasoning(Folder(tmp_path / "curation"), reasoning, FOVEAL).refused == {"holds tags of the protocol": 1}


def test_sources_without_a_row_that_can_be_kept_are_refused(reasoning, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "2 + 2?", "s": "", "a": ""}\n')
    with pytest.raises(InputError, match="source math: no row of it can be kept; set aside were 1 for no_answer"):
        take_reasoning(Folder(tmp_path / "curation"), reasoning, FOVEAL)


def test_without_sources_it_says_what_to_name(tmp_path):
    with pytest.raises(ConfigError, match="names no sources"):
        take_reasoning(Folder(tmp_path), CurateSettings(), FOVEAL)


def test_rows_of_another_prompt_are_not_mixed_with_those_there(reasoning, tmp_path):
    folder = Folder(tmp_path / "curation")
    take_reasoning(folder, reasoning, FOVEAL)
    with pytest.raises(ConfigError, match="another way: prompt_sha256"):
        take_reasoning(folder, reasoning, dataclasses.replace(FOVEAL, system_prompt="You are X."))
    assert take_reasoning(folder, reasoning, FOVEAL).kept == 2


def test_a_wrong_column_is_mended_and_other_sources_have_a_way_out_that_works(reasoning, tmp_path):
    folder = Folder(tmp_path / "curation")

    def other(**columns):
        (made,) = reasoning.long_cot.sources
        made = made.model_copy(update={"columns": made.columns.model_copy(update=columns)})
        return reasoning.model_copy(update={"long_cot": reasoning.long_cot.model_copy(update={"sources": (made,)})})

    with pytest.raises(ConfigError, match="no column solution"):
        take_reasoning(folder, other(reasoning="solution"), FOVEAL)
    assert take_reasoning(folder, reasoning, FOVEAL).kept == 2, "nothing was taken in before"
    with pytest.raises(ConfigError, match=r"other sources or settings[\s\S]*move .*/curation/long-cot away"):
        take_reasoning(folder, other(id="a"), FOVEAL)
    folder.run("long-cot").rename(tmp_path / "aside")
    assert take_reasoning(folder, other(id="a"), FOVEAL).kept == 2
    assert [one.id for one in read_run(folder.run("long-cot")).trajectories] == ["math-4", "math-8"]


def test_rows_that_leak_from_a_benchmark_are_told_and_not_learned(reasoning, tmp_path):
    leak = "A farmer has 17 sheep and buys three dozen more of them, how many legs do all his sheep have together?"
    file = tmp_path / "rows.jsonl"
    file.write_text(file.read_text() + json.dumps({"q": leak, "s": "53 times four.", "a": 212}) + "\n")
    bench = tmp_path / "bench.jsonl"
    bench.write_text(json.dumps({"id": "x", "text": leak, "gold": ["212"]}) + "\n")
    folder, chosen = Folder(tmp_path / "curation"), reasoning.model_copy(update={"benchmarks": (bench,)})
    taken = take_reasoning(folder, chosen, FOVEAL)
    assert taken.kept == 2 and taken.refused["leak of text"] == 1
    listed = [json.loads(line) for line in (folder.run("long-cot") / "rejects.jsonl").read_text().splitlines()]
    assert {(one["id"], one["reason"]) for one in listed} == {
        ("math-2", "no reasoning"),
        ("math-3", "holds tags of the protocol"),
        ("math-5", "leak of text"),
    }
    assert leaking(folder, chosen) == {"math-5": "leak of text"}
    assert leaking(folder, chosen.model_copy(update={"skip": ("check",)})) == {}
    with pytest.raises(ConfigError, match="long-cot/source was checked against"):
        leaking(folder, reasoning)
