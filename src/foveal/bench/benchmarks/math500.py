"""MATH-500: five hundred problems of the MATH test set.

Schema (HuggingFaceH4/MATH-500 as EvalScope reads it): `problem`, `solution`, `answer`, LaTeX, `subject`, `level`,
`unique_id`.
"""

from foveal.bench.benchmark import CODE_FOR_TEXT, Benchmark, by_meta
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.formulas import formula
from foveal.bench.suffixes import FORMULA


def read(row: Row) -> list[Item]:
    """The item of a row."""
    meta = {"level": row.text("level")}
    gold = (row.text("answer"),)
    return [Item(row.text("unique_id"), row.text("problem"), gold, family=row.text("subject"), meta=meta)]


BENCHMARK = Benchmark(
    name="math500",
    title="MATH-500",
    group="text",
    data="HuggingFaceH4/MATH-500",
    split="test",
    items=500,
    licence="not confirmed",
    read=read,
    rule=formula,
    judge=False,
    scorer="equal numbers and formulas (math-verify)",
    suffix=FORMULA,
    tools=CODE_FOR_TEXT,
    summary=by_meta("level"),
    paper="ARTIST, Table 1: Pass@1, one answer a problem. Its checker is not published.",
    sources=("https://pypi.org/project/evalscope/1.14.1/",),
    unconfirmed="licence",
)
