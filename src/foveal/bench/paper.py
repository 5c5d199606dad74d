"""Figures that the papers print, quoted: none of them was measured here.

DeepEyesV2 (tables 1 to 4 and 9, figure 7) and, for the questions without pictures, ARTIST (table 1). Figures on other
questions, with another judge or another search are no measure for ours; `Benchmark.paper` says what is known of each.
"""

from typing import NamedTuple


class Quoted(NamedTuple):
    """A figure of a paper."""

    model: str
    value: float
    """As printed: per cent, or points of 1,000."""
    source: str


class CallRates(NamedTuple):
    """Share of questions with a tool call, in per cent (DeepEyesV2, figure 7)."""

    cold_start: float
    after_rl: float


_V2, _BASE, _SEARCHING = "DeepEyesV2 7B", "Qwen2.5-VL-7B", "Qwen2.5-VL-7B with search"


def _of(table: str, paper: float, base: float | None, base_name: str = _BASE) -> tuple[Quoted, ...]:
    own = Quoted(_V2, paper, f"DeepEyesV2, {table}")
    return (own,) if base is None else (own, Quoted(base_name, base, f"DeepEyesV2, {table}"))


def _artist(paper: float, base: float) -> tuple[Quoted, ...]:
    return Quoted("ARTIST 7B", paper, "ARTIST, Table 1"), Quoted("Qwen2.5-7B-Instruct", base, "ARTIST, Table 1")


QUOTED: dict[str, dict[str, tuple[Quoted, ...]]] = {
    "realx": {
        "": _of("Table 1", 28.3, 22.3, _SEARCHING),
        "axis.perception": _of("Table 1", 19.5, 17.1, _SEARCHING),
        "axis.search": _of("Table 1", 28.9, 19.9, _SEARCHING),
        "axis.reason": _of("Table 1", 22.5, 16.3, _SEARCHING),
        "axis.integration": _of("Table 1", 18.1, 9.7, _SEARCHING),
    },
    "vstar": {"": _of("Table 2", 81.8, 78.5)},
    "hrbench4k": {"": _of("Table 2", 77.9, 71.6)},
    "hrbench8k": {"": _of("Table 2", 73.8, 67.9)},
    "mmerealworld": {"": _of("Table 2", 64.9, 57.3)},
    "treebench": {"": _of("Table 2", 42.5, 37.0)},
    "tirbench": {"": _of("Table 9", 20.8, 16.0)},
    "ocrbench": {"": _of("Table 2", 882, 864)},
    "seed2plus": {"": _of("Table 2", 70.5, 70.4)},
    "charxiv-descriptive": {"": _of("Table 2", 78.6, 72.7)},
    "charxiv-reasoning": {"": _of("Table 2", 48.9, 40.2)},
    "chartqa": {"": _of("Table 2", 88.4, 86.2)},
    "mathvista": {"": _of("Table 3", 71.9, 68.3)},
    "mathverse": {"": _of("Table 3", 52.7, 45.6)},
    "mathvision": {"": _of("Table 3", 28.9, 25.6)},
    "wemath": {"": _of("Table 3", 38.1, 34.6)},
    "dynamath": {"": _of("Table 3", 57.2, 53.3)},
    "logicvista": {"": _of("Table 3", 48.7, 45.9)},
    "fvqa": {"": _of("Table 4", 60.6, 52.9, _SEARCHING)},
    "infoseek": {"": _of("Table 4", 51.1, 53.7, _SEARCHING)},
    "mmsearch": {"": _of("Table 4", 63.7, 52.2, _SEARCHING)},
    "simplevqa": {"": _of("Table 4", 59.4, 51.6, _SEARCHING)},
    "math500": {"": _artist(67.6, 62.0)},
    "aime": {"": _artist(15.6, 4.0)},
    "amc": {"": _artist(47.0, 35.0)},
    "olympiadbench": {"": _artist(37.9, 21.0)},
}
"""By benchmark, then by figure (empty for the score): the paper's model first, then the one that it started from."""

CALL_RATES = {
    "vstar": CallRates(92.7, 92.1),
    "seed2plus": CallRates(87.3, 67.8),
    "charxiv-descriptive": CallRates(89.2, 76.3),
    "charxiv-reasoning": CallRates(92.5, 66.4),
    "mathvista": CallRates(95.1, 56.9),
    "mathverse": CallRates(96.8, 78.6),
    "mmsearch": CallRates(98.8, 84.2),
    "infoseek": CallRates(99.0, 58.9),
}
"""By benchmark. HR-Bench is left out: the figure does not say which resolution it is of."""
