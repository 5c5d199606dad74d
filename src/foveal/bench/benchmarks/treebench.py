"""TreeBench: grounded questions about crowded pictures.

Schema, TSV (https://huggingface.co/datasets/HaochenWang/TreeBench, TreeBench.tsv as VLMEvalKit reads it): `index`,
`image` in base64, `question`, options from `A` on, `answer`, `category`, `target_instances`, the boxes of the evidence
as the text of a list. The boxes are kept in `meta`; only the answer is scored.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row, choice_item, parse_literal
from foveal.bench.scoring.choices import letter
from foveal.bench.suffixes import LETTER


def read(row: Row) -> list[Item]:
    """The item of a row."""
    boxes = row.get("target_instances")
    meta = {} if boxes is None else {"boxes": _boxes(boxes)}
    return [
        choice_item(
            row, id=row.text("index"), text=row.text("question"), options=row.options(), answer=row.text("answer"),
            family=row.text("category"), meta=meta,
        )
    ]  # fmt: skip


def _boxes(value: object) -> list[object]:
    read = parse_literal(value) if isinstance(value, str) else value
    if not isinstance(read, list):
        raise BadRow("target_instances is no list")
    return read


BENCHMARK = Benchmark(
    name="treebench",
    title="TreeBench",
    group="perception",
    data="HaochenWang/TreeBench",
    split="train",
    items=405,
    licence="Apache-2.0",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's TreeBench (released eval.sh). There a letter is looked for by rules only.",
    sources=(
        "https://huggingface.co/datasets/HaochenWang/TreeBench/blob/refs%2Fpr%2F1/README.md",
        "https://github.com/open-compass/VLMEvalKit/blob/main/vlmeval/dataset/image_mcq.py",
    ),
    unconfirmed="the split on the hub, and the number of items",
)
