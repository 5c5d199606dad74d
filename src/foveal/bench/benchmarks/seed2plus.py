"""SEED-Bench-2-Plus: charts, maps and web pages, four options.

Schema, hub (doolayer/SEED-Bench-2-Plus as lmms-eval and EvalScope read it): `question_id`, `image`, `question`,
`choice_A` to `choice_D`, `answer`, `question_image_type` (chart, map, web), `question_image_subtype`. Schema, TSV
(VLMEvalKit's SEEDBench2_Plus.tsv): `index`, `image` in base64, `question`, `A` to `D`, `answer`, `category`.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import Item, Row, choice_item
from foveal.bench.scoring.choices import letter
from foveal.bench.suffixes import LETTER


def read(row: Row) -> list[Item]:
    """The item of a row of either schema."""
    options = row.options() or {name: row.text(f"choice_{name}") for name in "ABCD"}
    return [
        choice_item(
            row, id=row.text("question_id", "index"), text=row.text("question"), options=options,
            answer=row.text("answer"), family=row.text("question_image_type", "category").casefold(),
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="seed2plus",
    title="SEED-Bench-2-Plus",
    group="perception",
    data="doolayer/SEED-Bench-2-Plus",
    split="test",
    items=2_277,
    licence="not confirmed",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's SEEDBench2_Plus with an LLM judge (released eval.sh).",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/seedbench_2_plus",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
    unconfirmed="licence; the category names of the TSV",
)
