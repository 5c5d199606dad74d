"""CharXiv, reasoning questions: one a chart.

Schema (https://huggingface.co/datasets/princeton-nlp/CharXiv as lmms-eval and EvalScope read it): `image`,
`original_id`, `figure_path`, `category`, `reasoning_q`, `reasoning_a`, `reasoning_a_type`: 1 text in the chart, 2 text
in general, 3 number in the chart, 4 number in general. The hints for the four types are worded by us; lmms-eval takes
`reasoning_q_source` for the type, which the benchmark's repository (`inst_category` beside `qa_source`) contradicts.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.charxiv import rubric

TYPES = {
    "1": ("text-in-chart", "Answer with text that is written in the chart."),
    "2": ("text-in-general", "Answer with one of the options of the question if it has any, else in a few words."),
    "3": ("number-in-chart", "Answer with a number that is written in the chart, even if it is only close."),
    "4": ("number-in-general", ""),
}
"""Type of an answer -> family and hint; that of numbers in general depends on the gold answer."""


def read(row: Row) -> list[Item]:
    """The item of a row."""
    kind, gold = row.text("reasoning_a_type"), row.text("reasoning_a")
    if kind not in TYPES:
        raise BadRow(f"reasoning_a_type is {kind}, not 1 to 4")
    family, hint = TYPES[kind]
    if kind == "4":
        places = len(gold.partition(".")[2])
        hint = f"Answer with a number of {places} decimal places." if places else "Answer with a whole number."
    text = f"{row.text('reasoning_q')}\n{hint}"
    identifier = row.text("original_id", "figure_path")
    return [Item(identifier, text, (gold,), row.pictures("image"), family, {"field": row.text("category")})]


BENCHMARK = Benchmark(
    name="charxiv-reasoning",
    title="CharXiv (reasoning)",
    group="perception",
    data="princeton-nlp/CharXiv",
    split="validation",
    items=1_000,
    licence="CC BY-SA 4.0, the charts excepted, which belong to their authors",
    read=read,
    rule=rubric,
    judge=True,
    scorer="equal text or number, Not Applicable by rules; else the judge",
    suffix="",
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's CharXiv_reasoning_val with an LLM judge and the benchmark's own rubrics (released"
    " eval.sh).",
    sources=(
        "https://github.com/princeton-nlp/CharXiv/tree/main/data",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
)
