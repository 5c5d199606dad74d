"""MathVista (testmini): mathematics in charts, figures, photographs and puzzles.

Schema, hub (AI4Math/MathVista): `pid`, `question`, `image`, the name of a file, `decoded_image`, `choices` (or
missing), `unit`, `precision`, `answer`, `question_type` (multi_choice, free_form), `answer_type` (integer, float, list,
text), `metadata` with `task`, `skills`, `context`. The JSON of the repository (data/testmini.json) is a dictionary of
such rows by `pid`, without `decoded_image`.
"""

from collections.abc import Mapping

from pydantic import JsonValue

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_meta
from foveal.bench.rows import BadRow, Item, Row, choice_item, listed, whole_number
from foveal.bench.scoring.mathvista import typed
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row."""
    more = row.get("metadata")
    if not isinstance(more, Mapping):
        raise BadRow("no metadata")
    meta: dict[str, JsonValue] = {
        "answer_type": row.text("answer_type"),
        "skills": list(Row(more, row.number).texts("skills")),
    }
    family, pictures = str(more.get("task")), row.pictures("decoded_image" if row.get("decoded_image") else "image")
    text, choices = row.text("question"), row.texts("choices")
    if row.get("unit") is not None:
        text = f"{text} (Unit: {row.text('unit')})"
    if row.text("question_type") == "multi_choice":
        options = dict(zip(listed(choices), choices, strict=True))
        return [
            choice_item(
                row, id=row.text("pid"), text=text, options=options, answer=row.text("answer"), pictures=pictures,
                family=family, meta=meta,
            )
        ]  # fmt: skip
    if row.get("precision") is not None:
        meta["precision"] = whole_number(row.get("precision"), "precision")
    if meta["answer_type"] == "float":
        text = f"{text}\nDecimal places: {meta.get('precision', 1)}."
    elif meta["answer_type"] == "list":
        text = f"{text}\nGive a list, as in [1, 2, 3]."
    return [Item(row.text("pid"), text, (row.text("answer"),), pictures, family, meta)]


BENCHMARK = Benchmark(
    name="mathvista",
    title="MathVista",
    group="reasoning",
    data="AI4Math/MathVista",
    split="testmini",
    items=1_000,
    licence="CC BY-SA 4.0, pictures and questions of other data sets excepted",
    read=read,
    rule=typed,
    judge=True,
    scorer="by the type of the answer: option, whole number, rounded number, list; else the judge",
    suffix=SHORT,
    tools=CODE_ONLY,
    summary=by_meta("skills"),
    paper="Table 3, by VLMEvalKit's MathVista_MINI with an LLM that extracts answers (released eval.sh). An independent"
    " run found 67.3 instead of 71.9 (Beacon, arXiv 2607.28595).",
    sources=(
        "https://github.com/lupantech/MathVista/blob/main/data/testmini.json",
        "https://github.com/lupantech/MathVista/blob/main/evaluation/calculate_score.py",
    ),
)
