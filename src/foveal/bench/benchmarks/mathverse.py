"""MathVerse (testmini): problems of geometry and functions in five versions, from all in text to all in the picture.

Schema (AI4Math/MathVerse as lmms-eval and EvalScope read it): `sample_index`, `problem_index`, `problem_version`,
`question`, which is empty where all is in the picture, `image`, `answer`, `question_type` (multi-choice, free-form),
`question_for_eval`, `metadata`.
"""

import re

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.formulas import formula

_CHOICE = re.compile(r"\s*([A-H])\s*[:：]\s*(.+)")
_IN_THE_PICTURE = "Answer the question that is written in the picture."


def read(row: Row) -> list[Item]:
    """The item of a row. Options stand in the question as lines `A:...` and go to `meta`."""
    text = row.text("question") if row.get("question") is not None else _IN_THE_PICTURE
    asked = row.text("question_for_eval", "question") if row.get("question_for_eval", "question") else ""
    found = [match for line in asked.splitlines() if (match := _CHOICE.fullmatch(line))]
    meta = {"problem": row.text("problem_index")}
    options = {"options": {match[1]: match[2].strip() for match in found}} if len(found) > 1 else {}
    if row.text("question_type") == "multi-choice":
        text = f"{text}\nAnswer with the letter of the right option."
    else:
        text, options = f"{text}\nAnswer with the final result alone.", {}
    gold = (row.text("answer"),)
    return [
        Item(
            row.text("sample_index"), text, gold, row.pictures("image"), row.text("problem_version"),
            {**meta, **options},
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="mathverse",
    title="MathVerse",
    group="reasoning",
    data="AI4Math/MathVerse",
    config="testmini",
    split="testmini",
    items=3_940,
    licence="not confirmed",
    read=read,
    rule=formula,
    judge=True,
    scorer="the letter or the text of the right option; equal numbers and formulas; else the judge",
    suffix="",
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 3, by VLMEvalKit's MathVerse_MINI (released eval.sh), all five versions together, with an LLM that"
    " extracts and one that scores.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/mathverse",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
    unconfirmed="licence; that the question of Vision Only is empty follows from EvalScope's lengths of prompts",
)
