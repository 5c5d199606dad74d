"""ChartQA: one number or word read off, or worked out from, a chart.

Schema (lmms-lab/ChartQA as lmms-eval and EvalScope read it): `image`, `question`, `answer`, `type` (human_test,
augmented_test). VLMEvalKit's ChartQA_TEST.tsv: `index`, `image` in base64, `question`, `answer`, `split`.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.chartqa import relaxed
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row. The hub has no ids: the number of the row is one."""
    identifier = str(row.get("index") if row.get("index") is not None else f"chartqa-{row.number}")
    gold = (row.text("answer"),)
    return [Item(identifier, row.text("question"), gold, row.pictures("image"), row.text("type", "split"))]


BENCHMARK = Benchmark(
    name="chartqa",
    title="ChartQA",
    group="perception",
    data="lmms-lab/ChartQA",
    split="test",
    items=2_500,
    licence="not confirmed",
    read=read,
    rule=relaxed,
    judge=False,
    scorer="relaxed accuracy: numbers within 5 %, texts equal without case",
    suffix=SHORT,
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's ChartQA_TEST (released eval.sh); overall relaxed accuracy.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/chartqa",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
    unconfirmed="licence; the column `split` of the TSV",
)
