"""RealX-Bench: questions of daily life, media, sports, knowledge and games that need perception, search and reasoning.

Schema (https://huggingface.co/datasets/glowol/RealXBench, README): `query`; `answer`, alternatives joined by " or ";
`perception`, `search`, `reason`, 1 if hard on that axis, else 0; `image`. 194 of the paper's 300 items are public.
"""

from foveal.bench.benchmark import CODE_AND_SEARCH, Benchmark
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.realx import AXES, by_axis
from foveal.bench.scoring.words import alternatives, short
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row. The hub has no ids: the number of the row is one."""
    hard = {axis: row.flag(axis) for axis in AXES}
    gold = alternatives(row.text("answer"))
    return [Item(f"realx-{row.number}", row.text("query"), gold, row.pictures("image"), meta=hard)]


BENCHMARK = Benchmark(
    name="realx",
    title="RealX-Bench",
    group="realx",
    data="glowol/RealXBench",
    split="train",
    items=194,
    licence="Apache-2.0",
    read=read,
    rule=short,
    judge=True,
    scorer="equal to one of the alternatives in words or as a number; else the judge",
    suffix=SHORT,
    tools=CODE_AND_SEARCH,
    summary=by_axis,
    paper="Table 1: 300 items, of which 106 were never published, and a judge that is not named. Figures on the 194"
    " public items are not comparable with it.",
    sources=("https://huggingface.co/datasets/glowol/RealXBench/blob/main/README.md",),
    unconfirmed="the name of the split, and whether `image` is a picture or the name of a file: both are read",
)
