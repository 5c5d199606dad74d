"""CharXiv, descriptive questions: four a chart, about what is written and drawn in it.

Schema (https://huggingface.co/datasets/princeton-nlp/CharXiv as lmms-eval and EvalScope read it): `image`,
`original_id`, `figure_path`, `category`, `subplot_loc` (text, or missing), `subplot_row` and `subplot_col` (0 for a
single plot), `descriptive_q1` to `descriptive_q4`, numbers of 19 templates, `descriptive_a1` to `descriptive_a4`.

The wording of the templates is not in the rows. It is in the benchmark's repository (src/constants.py); here it is
ours, with the same content, so that scores may differ a little from those with the original wording.
"""

from pydantic import JsonValue

from foveal.bench.benchmark import CODE_ONLY, Benchmark, by_family
from foveal.bench.rows import BadRow, Item, Row, whole_number
from foveal.bench.scoring.charxiv import rubric

_AXES = "A shared axis counts. Of two x-axes take the lower one, of two y-axes the left one."
_TICK = f"Give the value that is written at the tick, without unit or scale from elsewhere. {_AXES}"
_STEP = f'Where there are no numbers, or the steps differ, answer "Not Applicable". {_AXES}'
_NONE = 'Where there is none, answer "Not Applicable".'
_NO_LINES = (
    'Grid lines, tick marks and auxiliary lines do not count. Where it is no line plot, answer "Not Applicable".'
)
_LEGEND = f"A legend outside of the plot counts if it belongs to it. {_NONE}"
_BAR = f"Leave out a percent sign. {_NONE}"

TEMPLATES = {
    1: ("extraction", f"Which title is written over it? A single letter is no title. {_NONE}"),
    2: ("extraction", f"What is the label of the x-axis? {_AXES} {_NONE}"),
    3: ("extraction", f"What is the label of the y-axis? {_AXES} {_NONE}"),
    4: ("extraction", f"Which labeled tick of the x-axis is leftmost? {_TICK}"),
    5: ("extraction", f"Which labeled tick of the x-axis is rightmost? {_TICK}"),
    6: ("extraction", f"Which labeled tick of the y-axis is lowest in the picture? {_TICK}"),
    7: ("extraction", f"Which labeled tick of the y-axis is highest in the picture? {_TICK}"),
    8: ("enumeration", f"By how much do neighbouring tick values of the x-axis differ? {_STEP}"),
    9: ("enumeration", f"By how much do neighbouring tick values of the y-axis differ? {_STEP}"),
    10: ("counting", f"How many lines are drawn? {_NO_LINES}"),
    11: ("pattern", f'Do any lines cross? Answer "Yes" or "No". {_NO_LINES}'),
    12: ("counting", f"How many discrete labels has the legend? {_LEGEND}"),
    13: (
        "enumeration",
        f"Which labels has the legend? List them from top to bottom, then from left to right, with commas. {_LEGEND}",
    ),
    14: ("enumeration", f"How far apart are the largest and the smallest tick label of the color bar? {_BAR}"),
    15: ("enumeration", f"What is the largest tick label of the color bar? {_BAR}"),
    16: ("pattern", 'Which trend do the data have from left to right? A few words, as in "increases then stabilizes".'),
    17: ("compositionality", "How many ticks of all axes together are labeled? A shared axis counts."),
    18: ("pattern", 'How are the subplots laid out? Answer "n by m", rows by columns; "1 by 1" for a single plot.'),
    19: ("counting", 'How many subplots are there? "1" for a single plot.'),
}
"""Number of a template -> family and wording."""
_WHOLE_FIGURE = (18, 19)


def read(row: Row) -> list[Item]:
    """The four items of a row."""
    figure = row.text("original_id", "figure_path")
    items = []
    for number in range(1, 5):
        template = row.text(f"descriptive_q{number}")
        if not template.isdigit() or int(template) not in TEMPLATES:
            raise BadRow(f"descriptive_q{number} is {template}, not the number of a template")
        family, wording = TEMPLATES[int(template)]
        text = wording if int(template) in _WHOLE_FIGURE else f"{place(row)}: {wording}"
        gold = (row.text(f"descriptive_a{number}"),)
        meta: dict[str, JsonValue] = {"template": int(template), "field": row.text("category")}
        items.append(Item(f"{figure}/{number}", text, gold, row.pictures("image"), family, meta))
    return items


def place(row: Row) -> str:
    """Which plot of a figure a question is about."""
    where = row.get("subplot_loc")
    if isinstance(where, str):
        return f"About {where}"
    given = where if isinstance(where, list | tuple) else (row.get("subplot_row"), row.get("subplot_col"))
    if len(given) != 2:
        raise BadRow("subplot_loc is not a row and a column")
    first, second = (whole_number(one, "subplot_loc") for one in given)
    return "About this plot" if first == 0 else f"About the subplot in row {first} and column {second}"


BENCHMARK = Benchmark(
    name="charxiv-descriptive",
    title="CharXiv (descriptive)",
    group="perception",
    data="princeton-nlp/CharXiv",
    split="validation",
    items=4_000,
    licence="CC BY-SA 4.0, the charts excepted, which belong to their authors",
    read=read,
    rule=rubric,
    judge=True,
    scorer="equal text, equal number, yes or no, layout, Not Applicable by rules; else the judge",
    suffix="",
    tools=CODE_ONLY,
    summary=by_family,
    paper="Table 2, by VLMEvalKit's CharXiv_descriptive_val with the benchmark's wording, its own rubrics, and an LLM"
    " judge (released eval.sh; VLMEvalKit's default is gpt-4o-mini). Our judge has one rubric for all benchmarks.",
    sources=(
        "https://github.com/EvolvingLMMs-Lab/lmms-eval/blob/main/lmms_eval/tasks/charxiv/utils.py",
        "https://github.com/princeton-nlp/CharXiv/blob/main/src/constants.py",
    ),
)
