"""MME-RealWorld (English): large real photographs, five options, of which E says that none fits.

Schema (https://huggingface.co/datasets/yifanzhang114/MME-RealWorld-Lmms-eval, as lmms-eval reads it): `index`,
`bytes`, a picture in base64, `question`, `multi-choice options`, a list of `(A) ...`, `answer`, `category` such as
`Perception/OCR with Complex Context`, `l2-category`. The JSON files of yifanzhang114/MME-RealWorld have `image`, the
name of a file, in place of `bytes` (VLMEvalKit's image_mcq.py).
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_meta
from foveal.bench.rows import Item, Row, choice_item, listed
from foveal.bench.scoring.choices import letter
from foveal.bench.suffixes import LETTER


def read(row: Row) -> list[Item]:
    """The item of a row."""
    options = row.texts("multi-choice options")
    category = row.text("category")
    return [
        choice_item(
            row, id=row.text("index"), text=row.text("question"), answer=row.text("answer"),
            options=listed(options) if options else row.options(), pictures=row.pictures("bytes", "image"),
            family="perception" if "perception" in category.casefold() else "reasoning",
            meta={"subtask": category.split("/")[-1], "category": row.text("l2-category")},
        )
    ]  # fmt: skip


BENCHMARK = Benchmark(
    name="mmerealworld",
    title="MME-RealWorld",
    group="perception",
    data="yifanzhang114/MME-RealWorld-Lmms-eval",
    split="train",
    items=23_609,
    licence="not confirmed",
    read=read,
    rule=letter,
    judge=True,
    scorer="the letter or the text of the right option; else the judge",
    suffix=LETTER,
    tools=CODE_ONLY,
    summary=by_meta("subtask"),
    paper="Table 2. The released eval.sh runs MME-RealWorld and MME-RealWorld-Lite; which of the two the column is, is"
    " not said.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/tree/main/lmms_eval/tasks/mme_realworld",
        "https://github.com/open-compass/VLMEvalKit/blob/main/vlmeval/dataset/image_mcq.py",
    ),
    unconfirmed="licence; the number of items is the paper's of the benchmark, not counted",
)
