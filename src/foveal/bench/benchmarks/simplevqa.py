"""SimpleVQA: short facts about pictures, in Chinese and English.

Schema (m-a-p/SimpleVQA as lmms-eval and EvalScope read it): `data_id`, `image` in base64, `question`, `answer`,
`language` (CN, EN), `original_category`, `source`, `atomic_question`, `atomic_fact`.
"""

from foveal.bench.benchmark import CODE_AND_SEARCH, Benchmark, by_family
from foveal.bench.rows import Item, Row
from foveal.bench.scoring.words import short
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row."""
    gold, pictures = (row.text("answer"),), row.pictures("image")
    return [Item(row.text("data_id", "index"), row.text("question"), gold, pictures, row.text("language"))]


BENCHMARK = Benchmark(
    name="simplevqa",
    title="SimpleVQA",
    group="search",
    data="m-a-p/SimpleVQA",
    split="test",
    items=2_025,
    licence="not confirmed",
    read=read,
    rule=short,
    judge=True,
    scorer="equal in words or as a number; else the judge (the benchmark's third verdict, not attempted, counts as"
    " wrong)",
    suffix=SHORT,
    tools=CODE_AND_SEARCH,
    summary=by_family,
    paper="Table 4, outside of the released eval.sh, beside baselines of the MMSearch-R1 paper. Which language, and how"
    " many questions, is not said.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/simplevqa",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
    unconfirmed="licence",
)
