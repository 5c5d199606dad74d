"""AIME 2022 to 2024: whole numbers from 0 to 999.

Schema (https://huggingface.co/datasets/AI-MO/aimo-validation-aime, README): `id`, `problem`, `solution`, `answer`,
digits that may begin with zeros, `url`.
"""

from foveal.bench.benchmark import CODE_FOR_TEXT, Benchmark, mean
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.formulas import integer
from foveal.bench.suffixes import FORMULA


def read(row: Row) -> list[Item]:
    """The item of a row."""
    return [Item(row.text("id"), row.text("problem"), (row.text("answer"),), meta={"url": row.text("url")})]


BENCHMARK = Benchmark(
    name="aime",
    title="AIME",
    group="text",
    data="AI-MO/aimo-validation-aime",
    split="train",
    items=90,
    licence="not confirmed (that of AI-MO/aimo-validation-amc is Apache-2.0)",
    read=read,
    rule=integer,
    judge=False,
    scorer="the same whole number",
    suffix=FORMULA,
    tools=CODE_FOR_TEXT,
    summary=mean,
    paper="ARTIST, Table 1: Pass@1. It does not name the data; its figures are ninetieths (.156 = 14/90, .122 = 11/90),"
    " which fits this set.",
    sources=("https://huggingface.co/datasets/AI-MO/aimo-validation-aime",),
)
