"""All benchmarks, and what is told about them."""

from typing import Any

from foveal.bench.benchmark import Benchmark
from foveal.bench.benchmarks import (
    aime,
    amc,
    chartqa,
    charxiv_descriptive,
    charxiv_reasoning,
    dynamath,
    fvqa,
    hrbench4k,
    hrbench8k,
    infoseek,
    logicvista,
    math500,
    mathverse,
    mathvision,
    mathvista,
    mmerealworld,
    mmsearch,
    ocrbench,
    olympiadbench,
    realx,
    realx_mini,
    seed2plus,
    simplevqa,
    tirbench,
    treebench,
    vstar,
    wemath,
)  # fmt: skip
from foveal.errors import ConfigError

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        realx, realx_mini, vstar, hrbench4k, hrbench8k, mmerealworld, treebench, tirbench, ocrbench, seed2plus,
        charxiv_descriptive, charxiv_reasoning, chartqa, mathvista, mathverse, mathvision, wemath, dynamath, logicvista,
        fvqa, infoseek, mmsearch, simplevqa, math500, aime, amc, olympiadbench,
    )
}  # fmt: skip
"""By name, in the order of the paper's tables."""


def find(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"there is no benchmark {name!r}", f"name one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def describe() -> dict[str, dict[str, Any]]:
    """What `foveal bench --list --json FILE` writes: for every benchmark its record, without functions."""
    return {
        name: {
            "title": one.title, "group": one.group, "data": one.data, "config": one.config, "split": one.split,
            "items": one.items, "licence": one.licence, "scorer": one.scorer, "judge": one.judge, "suffix": one.suffix,
            "max_pixels": one.max_pixels, "tools": list(one.tools.names), "tools_why": one.tools.why,
            "scale": one.scale, "paper": one.paper, "sources": list(one.sources), "unconfirmed": one.unconfirmed,
        }
        for name, one in BENCHMARKS.items()
    }  # fmt: skip


def tables() -> str:
    """The tables of docs/benchmarks.md, in Markdown: what is asked and scored; where the paper's columns come from."""
    first = ["| name | benchmark | data | items | tools | scored by | licence |", "|---|---|---|---|---|---|---|"]
    second = ["| name | the column of the paper | schema read at | not confirmed |", "|---|---|---|---|"]
    for one in BENCHMARKS.values():
        where = one.data if one.config is None else f"{one.data} ({one.config})"
        data = where if one.data.startswith("http") else f"`{where}`, {one.split}"
        cells = (
            f"`{one.name}`",
            one.title,
            data,
            f"{one.items:,}",
            ", ".join(one.tools.names),
            one.scorer,
            one.licence,
        )
        first.append(f"| {' | '.join(cells)} |")
        sources = ", ".join(f"[{number}]({address})" for number, address in enumerate(one.sources, start=1))
        second.append(f"| {' | '.join((f'`{one.name}`', one.paper, sources, one.unconfirmed))} |")
    return "\n".join([*first, "", *second])
