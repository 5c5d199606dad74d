"""FVQA-test: facts behind what a picture shows, of MMSearch-R1.

Schema (https://huggingface.co/datasets/lmms-lab/FVQA, fvqa_test.parquet, in verl's form, as mini_data.pq of the
MMSearch-R1 repository): `data_id`, `prompt`, a list of messages whose user message is the question, `images`, a list
of `{"bytes"}`, `reward_model` with `ground_truth` and `candidate_answers`, the JSON text of a list, `data_source`.
"""

from collections.abc import Mapping, Sequence

from foveal.bench.benchmark import CODE_AND_SEARCH, Benchmark, mean
from foveal.bench.rows import BadRow, Item, Row
from foveal.bench.scoring.words import short
from foveal.bench.suffixes import SHORT


def read(row: Row) -> list[Item]:
    """The item of a row."""
    messages, reward = row.get("prompt"), row.get("reward_model")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not isinstance(reward, Mapping):
        raise BadRow("no prompt or reward_model")
    of_user = [one for one in messages if isinstance(one, Mapping) and one.get("role") == "user"]
    said = [message.get("content") for message in of_user]
    if not said or not isinstance(said[-1], str) or not said[-1].strip():
        raise BadRow("prompt has no message of the user")
    answers = Row(reward, row.number)
    gold = [*answers.texts("ground_truth"), *answers.texts("candidate_answers")]
    if not gold:
        raise BadRow("no ground_truth")
    identifier = str(row.get("data_id") or f"row-{row.number}")
    text = said[-1].replace("<image>", "").strip()
    return [Item(identifier, text, tuple(dict.fromkeys(gold)), row.pictures("images"))]


BENCHMARK = Benchmark(
    name="fvqa",
    title="FVQA-test",
    group="search",
    data="lmms-lab/FVQA",
    split="test",
    items=1_800,
    licence="Apache-2.0",
    read=read,
    rule=short,
    judge=True,
    scorer="equal to an accepted answer in words or as a number; else the judge",
    suffix=SHORT,
    tools=CODE_AND_SEARCH,
    summary=mean,
    paper="Table 4, outside of the released eval.sh. Its baselines are copied from the MMSearch-R1 paper, which had"
    " another search engine and judge (issue of DeepEyesV2 2).",
    sources=(
        "https://huggingface.co/datasets/lmms-lab/FVQA/tree/main",
        "https://github.com/EvolvingLMMs-Lab/multimodal-search-r1/blob/main/mmsearch_r1/data/data_example.ipynb",
    ),
    unconfirmed="the card itself: columns are those of the authors' sample file and of public programs that read it",
)
