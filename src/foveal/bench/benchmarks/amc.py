"""AMC 12 of 2022 and 2023, as questions with a number for an answer.

Schema (https://huggingface.co/datasets/AI-MO/aimo-validation-amc): `id`, `problem`, `answer`, a number such as 142.0,
`url`.
"""

from foveal.bench.benchmark import CODE_FOR_TEXT, Benchmark, mean
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.formulas import formula
from foveal.bench.suffixes import FORMULA


def read(row: Row) -> list[Item]:
    """The item of a row."""
    return [Item(row.text("id"), row.text("problem"), (row.text("answer"),), meta={"url": row.text("url")})]


BENCHMARK = Benchmark(
    name="amc",
    title="AMC",
    group="text",
    data="AI-MO/aimo-validation-amc",
    split="train",
    items=83,
    licence="Apache-2.0",
    read=read,
    rule=formula,
    judge=False,
    scorer="equal numbers and formulas (math-verify)",
    suffix=FORMULA,
    tools=CODE_FOR_TEXT,
    summary=mean,
    paper="ARTIST, Table 1: Pass@1. It does not name the data; most of its figures are 83rds (.470 = 39/83, .349 ="
    " 29/83), which fits this set.",
    sources=("https://huggingface.co/datasets/AI-MO/aimo-validation-amc/viewer",),
    unconfirmed="the columns: the card names a table of numbers and texts, and the sister set AIME has these",
)
