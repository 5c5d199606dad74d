"""DynaMath: 501 questions in ten variants each.

Schema, TSV (VLMEvalKit's DynaMath.tsv): `index`, `qid`, of the question, `varid`, of the variant, `image` in base64,
`question`, `answer`, `answer_type` (float, multiple choice, text), `subject`, `knowledge_level`. Schema, JSON of the
repository (dataset/dataset.json, one variant of every question): a dictionary by number of rows with `question`,
`answer`, `image`, the name of a file, `answer_type`, `subject`, `level`.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.dynamath import average_and_worst, typed
from foveal.bench.suffixes import SHORT

_HINTS = {"float": "Give three decimal places.", "multiple choice": "Answer with the letter of the right option."}


def read(row: Row) -> list[Item]:
    """The item of a row of either schema."""
    kind = row.text("answer_type")
    text = "\n".join(filter(None, (row.text("question"), _HINTS.get(kind, ""))))
    meta = {"answer_type": kind, "seed": row.text("qid", "key"), "level": row.text("knowledge_level", "level")}
    gold, pictures = (row.text("answer"),), row.pictures("image")
    return [Item(row.text("index", "key"), text, gold, pictures, row.text("subject"), meta)]


BENCHMARK = Benchmark(
    name="dynamath",
    title="DynaMath",
    group="reasoning",
    data="https://opencompass.openxlab.space/utils/VLMEval/DynaMath.tsv",
    split="test",
    items=5_010,
    licence="MIT (repository)",
    read=read,
    rule=typed,
    judge=True,
    scorer="numbers within 0.001, letters, equal texts; else the judge; mean and worst case over variants",
    suffix=SHORT,
    tools=CODE_ONLY,
    summary=average_and_worst,
    paper="Table 3, by VLMEvalKit's DynaMath (released eval.sh), whose headline is the average over variants.",
    sources=(
        "https://github.com/open-compass/VLMEvalKit/blob/main/vlmeval/dataset/dynamath.py",
        "https://github.com/DynaMath/DynaMath/blob/main/dataset/dataset.json",
    ),
)
