"""MATH-Vision: competition problems with pictures.

Schema (https://github.com/mathllm/MATH-V, data/test.jsonl; MathLLMs/MathVision on the hub): `id`, `question` with marks
`<image1>`, `options`, a list that may be empty or hold the letters themselves, `answer`, the letter if there are
options, `solution`, `level`, `subject`, `image`, the name of a file; on the hub also `decoded_image`.
"""

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_meta
from foveal.bench.rows import Item, Row, choice_item, listed
from foveal.bench.scoring.formulas import formula
from foveal.bench.suffixes import FORMULA


def read(row: Row) -> list[Item]:
    """The item of a row."""
    options = row.texts("options")
    pictures = row.pictures("decoded_image" if row.get("decoded_image") else "image")
    identifier, text, answer = row.text("id"), row.text("question"), row.text("answer")
    family, meta = row.text("subject"), {"level": row.text("level")}
    if options:
        by_letter = dict(zip(listed(options), options, strict=True))
        return [
            choice_item(
                row, id=identifier, text=text, options=by_letter, answer=answer, pictures=pictures, family=family,
                meta=meta,
            )
        ]  # fmt: skip
    return [Item(identifier, text, (answer,), pictures, family, meta)]


BENCHMARK = Benchmark(
    name="mathvision",
    title="MathVision",
    group="reasoning",
    data="MathLLMs/MathVision",
    split="test",
    items=3_040,
    licence="MIT (repository)",
    read=read,
    rule=formula,
    judge=True,
    scorer="the letter or the text of the right option; equal numbers and formulas; else the judge",
    suffix=FORMULA,
    tools=CODE_ONLY,
    summary=by_meta("level"),
    paper="Table 3, by VLMEvalKit's MathVision, the full set, with an LLM that extracts answers (released eval.sh).",
    sources=(
        "https://github.com/mathllm/MATH-V/blob/main/data/testmini.jsonl",
        "https://github.com/mathllm/MATH-V/blob/main/evaluation/evaluate.py",
    ),
)
