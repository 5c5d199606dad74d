"""We-Math (testmini): problems of two or three steps, asked as a whole and step by step.

Schema (https://github.com/We-Math/We-Math, data/testmini.json; We-Math/We-Math on the hub): `ID`, of the problem, `key`
(2steps_1, 2steps_2, 2steps_multi, 3steps_1, ...), `question`, `option`, one text `A. ...; B. ...`, `answer`,
`image_path`, the name of a file or, on the hub, the picture, `knowledge concept`, `question number`.
"""

import re

from foveal.bench.benchmark import CODE_ONLY, Benchmark
from foveal.bench.rows import Item, Row, choice_item
from foveal.bench.scoring.choices import letter
from foveal.bench.scoring.wemath import four_dimensional
from foveal.bench.suffixes import LETTER

_OPTION = re.compile(r"(?:^|[;；])\s*([A-Z])\s*[.．:：]")


def read(row: Row) -> list[Item]:
    """The item of a row."""
    pieces = _OPTION.split(row.text("option"))
    options = {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}
    problem, key = row.text("ID"), row.text("key")
    return [
        choice_item(
            row, id=f"{problem}/{key}", text=row.text("question"), options=options, answer=row.text("answer"),
            pictures=row.pictures("image_path"), family=key.rpartition("_")[0],
            meta={"problem": problem, "key": key},
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="wemath",
    title="We-Math",
    group="reasoning",
    data="We-Math/We-Math",
    split="testmini",
    items=1_740,
    licence="CC BY-NC 4.0",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge; four-dimensional score, strict",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=four_dimensional,
    paper="Table 3, by VLMEvalKit's WeMath (released eval.sh), which reports a strict and a loose score. The paper does"
    " not say which; the height of its figures fits the strict one.",
    sources=(
        "https://github.com/We-Math/We-Math/blob/main/data/testmini.json",
        "https://github.com/We-Math/We-Math/blob/main/evaluation/four_dimensional_metrics.py",
    ),
)
