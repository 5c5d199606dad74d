"""HR-Bench 4K: small things in pictures of 4K, every question with its options in four orders.

Schema (https://huggingface.co/datasets/DreamMr/HR-Bench, as lmms-eval and VLMEvalKit read it): `index`, `image` in
base64, `question`, `A` to `D`, `answer`, `category` (single, cross), `cycle_category`: which of the four orders.
"""

import hashlib
from pathlib import Path

from foveal.bench.benchmark import CODE_ONLY, Benchmark
from foveal.bench.rows import Item, Row, choice_item
from foveal.bench.scoring.choices import letter
from foveal.bench.scoring.hrbench import over_cycles
from foveal.bench.suffixes import LETTER


def read(row: Row) -> list[Item]:
    """The item of a row. `meta["base"]` is the same for the four orders of a question."""
    question, options, pictures = row.text("question"), row.options(), row.pictures("image")
    shown = [str(picture) if isinstance(picture, Path) else hashlib.sha256(picture).hexdigest() for picture in pictures]
    base = hashlib.sha256(repr((shown, question, sorted(options.values()))).encode()).hexdigest()[:16]
    return [
        choice_item(
            row, id=row.text("index"), text=question, options=options, answer=row.text("answer"), pictures=pictures,
            family=row.text("category"), meta={"cycle": row.text("cycle_category"), "base": base},
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="hrbench4k",
    title="HR-Bench 4K",
    group="perception",
    data="DreamMr/HR-Bench",
    config="hrbench_version_split",
    split="hrbench_4k",
    items=800,
    licence="other (the card says so, and its LICENSE file is empty)",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge; mean over the four orders",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=over_cycles,
    paper="Table 2, by VLMEvalKit's HRBench4K with an LLM judge (released eval.sh): mean over the four orders.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/hrbench",
        "https://github.com/open-compass/VLMEvalKit/blob/main/vlmeval/dataset/utils/hrbench.py",
    ),
)
