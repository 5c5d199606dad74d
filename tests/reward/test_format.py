import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.reward.format import well_formed
from foveal.trajectory import CellResult, Observation, Question, StopReason, TextPart, ToolCall, Trajectory, Turn

CODE = "<think>crop</think><code>\n```python\nprint(1)\n```\n</code>"
SEARCH = '<think>look</think><tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
ANSWER = "<think>so</think><answer>4</answer>"


def of(*texts: str, answer: str | None = "4") -> float:
    turns = tuple(Turn(text=text) for text in texts)
    return well_formed(
        Trajectory(
            id="t", question=Question(id="q", text="?"), policy="p", profile="foveal", turns=turns, answer=answer,
            stop_reason=StopReason.ANSWERED,
        )
    )  # fmt: skip


@pytest.mark.parametrize("texts", [[ANSWER], [CODE, SEARCH, ANSWER], ["so</think><answer>4</answer>"]])
def test_well_formed(texts: list[str]):
    assert of(*texts) == 1.0


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["<answer>4</answer>"],  # no thinking
        ["<think>so<answer>4</answer>"],  # not closed
        ["<think>so</think></think><answer>4</answer>"],
        ["<think>so</think><answer>4"],
        ["<think>so</think><answer>4</answer></answer>"],
        ["<think>the <answer>4</answer></think> is there"],  # answered in the thinking
        [CODE.removesuffix("</code>"), ANSWER],
        [CODE.removesuffix("</code>"), ANSWER + "</code>"],  # one turn cannot mend another
        [SEARCH.replace("<tool_call>", ""), ANSWER],
        [CODE, "<answer>4</answer>"],
        [ANSWER, CODE],
    ],
)
def test_ill_formed(texts: list[str]):
    assert of(*texts) == 0.0


def test_no_answer_an_empty_one_or_one_that_is_too_long():
    assert of(ANSWER, answer=None) == 0.0
    assert of(ANSWER, answer="  ") == 0.0
    assert of(ANSWER, answer="x" * 299) == 1.0
    assert of(ANSWER, answer="x" * 300) == 0.0


TAGS = ["<think>", "</think>", "<code>", "</code>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "4", "\n"]
SAID = st.lists(st.sampled_from(TAGS), max_size=8).map("".join) | st.sampled_from([CODE, SEARCH, ANSWER]) | st.text()


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4))
def test_no_observation_can_flip_it(turns: list[tuple[str, str]]):
    """Whatever a tool gave back, and however it was shown, only the model's own words count."""

    def seen(words: str) -> dict[str, object]:
        call = ToolCall(tool="code", arguments={"code": words})
        cell = CellResult(status="ok", stdout=words, stderr=words, result=words)
        parts = (TextPart(text=words),)
        return {"call": call, "observation": Observation(tool="code", cell=cell), "observation_parts": parts}

    shown = tuple(Turn(text=text, **seen(words)) for text, words in turns)
    trajectory = Trajectory(
        id="t", question=Question(id="q", text="".join(words for _, words in turns)), policy="p", profile="foveal",
        turns=shown, answer="4", stop_reason=StopReason.ANSWERED,
    )  # fmt: skip
    assert well_formed(trajectory) == of(*(text for text, _ in turns))
