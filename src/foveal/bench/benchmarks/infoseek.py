"""InfoSeek: questions of encyclopedic detail about the thing in a picture.

Schema, parquet (mmsearch_r1_infoseek_sub_2k.parquet of the MMSearch-R1 repository, in verl's form): that of FVQA-test.
Schema, JSON lines of the benchmark: `data_id`, `image_id`, `question`, `answer`, a list, `answer_eval`, the accepted
forms, or for numbers `{"wikidata", "range"}` or a list of it, `data_split`; `question_type` (Time, Numerical, String)
stands in the `_qtype` files and has to be merged in. The picture is `<image_id>.jpg` beside the rows or in `images/`.
"""

from collections.abc import Mapping

from foveal.bench.benchmark import CODE_AND_SEARCH, Benchmark, by_family
from foveal.bench.benchmarks import fvqa
from foveal.bench.rows import BadRow, Item, Row, as_text
from foveal.bench.scoring.infoseek import entity
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row of either schema."""
    if row.get("prompt") is not None:
        return fvqa.read(row)
    kind = (row.text("question_type") if row.get("question_type") else "string").casefold()
    accepted = row.get("answer_eval")
    if isinstance(accepted, list) and accepted and isinstance(accepted[0], Mapping):
        accepted = accepted[0]
    if isinstance(accepted, Mapping):
        kind, ends = "numerical", accepted.get("range")
        ends = ends[:2] if isinstance(ends, list) else []
        gold = tuple(as_text(end, "range") for end in ends if isinstance(end, int | float))
    else:
        gold = row.texts("answer_eval", "answer")
    if not gold or (kind == "numerical" and len(gold) != 2):
        raise BadRow("no answer_eval")
    picture = Row({"image_id": f"{row.text('image_id')}.jpg"}, row.number, row.folder).pictures("image_id")
    meta = {"question_type": kind, "split": row.text("data_split")}
    return [Item(row.text("data_id"), row.text("question"), gold, picture, kind, meta)]


BENCHMARK = Benchmark(
    name="infoseek",
    title="InfoSeek",
    group="search",
    data="https://github.com/EvolvingLMMs-Lab/multimodal-search-r1/tree/main/mmsearch_r1/data",
    split="test",
    items=2_000,
    licence="Apache-2.0 (repository of the benchmark)",
    read=read,
    rule=entity,
    judge=True,
    scorer="equal to an accepted answer without case, punctuation and articles; numbers in the accepted range; else the"
    " judge",
    suffix=SHORT,
    tools=CODE_AND_SEARCH,
    summary=by_family,
    paper="Table 4, outside of the released eval.sh. Its baselines are those of the MMSearch-R1 paper, which took 2,000"
    " questions; that the authors took the same ones is likely and not said.",
    sources=(
        "https://github.com/open-vision-language/infoseek/blob/main/README.md",
        "https://github.com/edchengg/infoseek_eval/blob/main/infoseek_eval.py",
        "https://github.com/EvolvingLMMs-Lab/multimodal-search-r1/blob/main/mmsearch_r1/data/data_example.ipynb",
    ),
    unconfirmed="the 2,000 rows themselves: the schema is that of the sample file beside them",
)
