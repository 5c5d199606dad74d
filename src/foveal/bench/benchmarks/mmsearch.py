"""MMSearch: 300 questions on news and rare knowledge, part of them with a picture.

Schema (CaraJ/MMSearch, end2end, as the benchmark's repository and lmms-eval read it): `sample_id`, `query`,
`query_image` (or missing), `image_search_result`, a screenshot that is not shown here, `area`, `subfield`, `timestamp`,
`gt_requery`, `gt_answer`, `alternative_gt_answers`, a list.
"""

from foveal.bench.benchmark import CODE_AND_SEARCH, Benchmark, by_family
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.words import short
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row."""
    gold = tuple(dict.fromkeys([row.text("gt_answer"), *row.texts("alternative_gt_answers")]))
    meta = {"subfield": row.text("subfield")} if row.get("subfield") else {}
    pictures = row.pictures("query_image") if row.get("query_image") else ()
    return [Item(row.text("sample_id"), row.text("query"), gold, pictures, row.text("area"), meta)]


BENCHMARK = Benchmark(
    name="mmsearch",
    title="MMSearch",
    group="search",
    data="CaraJ/MMSearch",
    config="end2end",
    split="end2end",
    items=300,
    licence="not confirmed",
    read=read,
    rule=short,
    judge=True,
    scorer="equal to an accepted answer in words or as a number; else the judge",
    suffix=SHORT,
    tools=CODE_AND_SEARCH,
    summary=by_family,
    paper="Table 4, outside of the released eval.sh; accuracy by a judge, while the benchmark's own score is the F1 of"
    " words. Whether the questions without a picture were left out, as some peers do, is not said.",
    sources=(
        "https://github.com/CaraJ7/MMSearch/blob/main/eval_end2end.py",
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/blob/main/lmms_eval/tasks/mmsearch/lmms_eval_utils.py",
    ),
    unconfirmed="licence",
)
