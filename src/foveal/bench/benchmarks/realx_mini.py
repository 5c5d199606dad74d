"""realx-mini: the offline benchmark in RealX-Bench's form that this package builds (`foveal.bench.realxmini`).

Schema: the `questions.jsonl` of a built folder: `id`, `text`, `images`, `gold`, and `meta` with `perception`, `search`,
`reason`, `domain`, `kind` and `hops`. What is searched lies in `index/` of the same folder.
"""

from collections.abc import Mapping, Sequence

from foveal.bench.benchmark import Benchmark, Scored, Tools, by_meta
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.realx import AXES, by_axis
from foveal.bench.scoring.words import short
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row."""
    meta = row.get("meta")
    if not isinstance(meta, Mapping):
        raise BadRow("no meta")
    about = Row(meta, row.number)
    for axis in AXES:
        about.flag(axis)
    gold = row.texts("gold")
    if not gold:
        raise BadRow("no gold")
    domain = about.text("domain")
    return [Item(row.text("id"), row.text("text"), gold, row.pictures("images"), family=domain, meta=dict(meta))]


def summary(results: Sequence[Scored]) -> dict[str, float]:
    """Figures of RealX-Bench's table, and by domain."""
    return {**by_axis(results), **by_meta("domain")(results)}


BENCHMARK = Benchmark(
    name="realx-mini",
    title="realx-mini",
    group="realx",
    data="built by foveal, not on the hub",
    split="real",
    items=300,
    licence="Apache-2.0; of the pictures and tables see its README.md",
    read=read,
    rule=short,
    judge=False,
    scorer="equal to one of the answers in words or as a number",
    suffix=SHORT,
    tools=Tools(True, True, True, "its questions need facts that stand in the index that is built with it"),
    summary=summary,
    paper="none: our own benchmark, not comparable with RealX-Bench.",
    sources=("src/foveal/bench/realxmini",),
)
