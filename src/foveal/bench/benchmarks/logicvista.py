"""LogicVista: puzzles, sequences, diagrams; the options are drawn in the picture.

Schema, hub (lscpku/LogicVista as lmms-eval and EvalScope read it): `id`, `image`, `question`, `answer`, `skill`, a
list. Schema, JSON of the repository (data/dataset.json): a dictionary by id of rows with `imagename`, `question`,
`answer`, `skill`. Answers are letters; three are two letters, one is a digit, and v1_382 has neither question nor
answer.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.choices import labels

_SUFFIX = "Answer with the label of the right option; if there are several, with all of them."


def read(row: Row) -> list[Item]:
    """The item of a row of either schema."""
    identifier, skills = row.text("id", "key", "index"), row.texts("skill")
    if not skills:
        raise BadRow("no skill")
    pictures = row.pictures("image" if row.get("image") else "imagename")
    return [Item(identifier, row.text("question"), (row.text("answer"),), pictures, skills[0])]


BENCHMARK = Benchmark(
    name="logicvista",
    title="LogicVista",
    group="reasoning",
    data="lscpku/LogicVista",
    split="test",
    items=447,
    licence="Apache-2.0 (repository)",
    read=read,
    rule=labels,
    judge=True,
    scorer="the same labels, in any order; else the judge",
    suffix=_SUFFIX,
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 3, by VLMEvalKit's LogicVista with an LLM that extracts letters (released eval.sh), over 448 items, of"
    " which one cannot be answered.",
    sources=(
        "https://github.com/Yijia-Xiao/LogicVista/blob/main/data/dataset.json",
        "https://pypi.org/project/evalscope/1.14.1/",
    ),
)
