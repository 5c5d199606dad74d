"""V*: small things in large pictures.

Schema, TSV (https://huggingface.co/datasets/xjtupanda/VStar_Bench, read by VLMEvalKit's image_mcq.py): `index`,
`image` in base64, `question`, `A` to `D`, `answer`, `category`. Schema, hub and JSON lines (lmms-lab/vstar-bench as
lmms-eval and EvalScope read it): `question_id`, `image`, `text` with lines `(A) ...` and a closing instruction,
`label`, `category`.
"""

import re

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row, choice_item
from foveal.bench.scoring.choices import letter
from foveal.bench.suffixes import LETTER

_OPTION = re.compile(r"\(([A-Z])\)\s*(.+)")


def read(row: Row) -> list[Item]:
    """The item of a row of either schema."""
    if row.get("text") is None:
        text, options = row.text("question"), row.options()
    else:
        lines = [line.strip() for line in row.text("text").splitlines()]
        options = {match[1]: match[2] for line in lines if (match := _OPTION.fullmatch(line))}
        if not options:
            raise BadRow("text has no lines (A) ...")
        text = "\n".join(lines[: next(number for number, line in enumerate(lines) if _OPTION.fullmatch(line))])
    return [
        choice_item(
            row, id=row.text("question_id", "index"), text=text, options=options,
            answer=row.text("label", "answer"), family=row.text("category"),
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="vstar",
    title="V*",
    group="perception",
    data="lmms-lab/vstar-bench",
    split="test",
    items=191,
    licence="MIT (repository of the authors; card of the data not confirmed)",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's VStarBench with an LLM judge (released eval.sh). Users find 3 points of spread"
    " between runs, and nearly the same score without the cropped picture (issues of DeepEyes 46, 60).",
    sources=(
        "https://github.com/open-compass/VLMEvalKit/blob/main/vlmeval/dataset/image_mcq.py",
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/vstar_bench",
    ),
)
