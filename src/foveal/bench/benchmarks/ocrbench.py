"""OCRBench: text, documents, key information and handwritten formulas.

Schema, hub (echo840/OCRBench as lmms-eval reads it): `dataset`, `question`, `question_type`, `answer`, a text or a list
of texts, `image`. Schema, JSON of the benchmark's repository: `dataset_name`, `id`, `image_path`, `question`,
`answers`, a text or a list, `type`. VLMEvalKit's TSV: `index`, `image`, `question`, `answer`, the text of a
list, `category`.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.ocrbench import contained


def read(row: Row) -> list[Item]:
    """The item of a row of any of the three schemas. The number of the row is its id: `id` is not unique."""
    gold = row.texts("answer", "answers")
    if not gold:
        raise BadRow("no answer")
    family = row.text("question_type", "type", "category")
    pictures = row.pictures("image" if row.get("image") else "image_path")
    meta = {"dataset": row.text("dataset", "dataset_name")} if row.get("dataset", "dataset_name") else {}
    return [Item(f"ocrbench-{row.number}", row.text("question"), gold, pictures, family, meta)]


BENCHMARK = Benchmark(
    name="ocrbench",
    title="OCRBench",
    group="perception",
    data="echo840/OCRBench",
    split="test",
    items=1_000,
    licence="not confirmed",
    read=read,
    rule=contained,
    judge=False,
    scorer="a gold answer stands in the answer, without case; in formulas without spaces",
    suffix="",
    tools=CODE_ONLY,
    summary=by_family,
    scale=1_000,
    paper="Table 2, by VLMEvalKit's OCRBench (released eval.sh): points of 1,000. There the whole last message may hold"
    " the text; here only the answer.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/ocrbench",
        "https://github.com/Yuliang-Liu/MultimodalOCR/blob/main/OCRBench/OCRBench/OCRBench.json",
    ),
    unconfirmed="licence",
)
