"""OlympiadBench: English competition mathematics with open answers, text only (OE_TO_maths_en_COMP).

Schema (https://github.com/OpenBMB/OlympiadBench, README; Hothan/OlympiadBench on the hub): `id`, `subfield`, `context`
(or missing), `question`, `solution`, `final_answer`, a list of LaTeX, the first of which counts, `is_multiple_answer`,
`unit`, `answer_type`, `error`, the allowed difference (or missing).
"""

from foveal.bench.benchmark import CODE_FOR_TEXT, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.formulas import olympiad
from foveal.bench.suffixes import FORMULA


def read(row: Row) -> list[Item]:
    """The item of a row."""
    gold = row.texts("final_answer")
    if not gold:
        raise BadRow("no final_answer")
    text = "\n".join(
        row.text(name) for name in ("context", "question") if row.get(name) is not None or name == "question"
    )
    meta = {"answer_type": row.text("answer_type")}
    if row.get("error") is not None:
        meta["error"] = row.text("error")
    if row.get("unit") is not None:
        text = f"{text}\nGive the answer in {row.text('unit')}, without the unit."
    return [Item(row.text("id"), text, gold, family=row.text("subfield"), meta=meta)]


BENCHMARK = Benchmark(
    name="olympiadbench",
    title="OlympiadBench",
    group="text",
    data="Hothan/OlympiadBench",
    config="OE_TO_maths_en_COMP",
    split="train",
    items=674,
    licence="MIT (repository)",
    read=read,
    rule=olympiad,
    judge=False,
    scorer="every part equal as number, within the allowed difference, or formula (math-verify)",
    suffix=f"{FORMULA} Put commas between several results.",
    tools=CODE_FOR_TEXT,
    summary=by_family,
    paper="ARTIST, Table 1, Olympiad: Pass@1. It does not say which part of the benchmark; this one is usual for"
    " language models.",
    sources=(
        "https://github.com/OpenBMB/OlympiadBench/blob/main/README.md",
        "https://github.com/OpenBMB/OlympiadBench/blob/main/eval/auto_scoring_judge.py",
    ),
    unconfirmed="the number of items",
)
