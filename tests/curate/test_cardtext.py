import json
import re

import yaml

from foveal.curate.card import collect
from foveal.curate.cardtext import hub_licence, readme
from foveal.curate.sets import source_of
from foveal.curate.split import split
from foveal.records import RunWriter
from foveal.trajectory import Question, StopReason, Trajectory, Turn


def header(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_reasoning_has_its_own_licence_length_and_place(curated, settings, add_figures):
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


def test_the_header_is_the_one_of_the_hub(curated, settings):
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


def test_text_of_others_stays_in_its_cell(curated, settings):
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
