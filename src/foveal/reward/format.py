"""Format: did the model keep to the protocol in its own turns?"""

from foveal.trajectory import Trajectory

BLOCKS = ("code", "tool_call")


def well_formed(trajectory: Trajectory, max_answer_chars: int = 300) -> float:
    """1.0 if every turn of the model is well-formed and the last one answers, else 0.0.

    Formula: the product of
    - in every turn: #<think> = #</think> > 0, #<code> = #</code>, #<tool_call> = #</tool_call>;
    - in the last turn, after its last </think>: #<answer> = #</answer> > 0;
    - the answer is not empty and shorter than `max_answer_chars`.

    Source: the reward of the released DeepEyesV2 code, with two differences. It counts tags over the whole decoded
    trajectory, so that a page found by a search can flip it; here only what the model wrote is read. And a turn cannot
    mend another: tags are counted turn by turn. As there, an opening <think> that a chat template wrote is counted.
    """
    if not trajectory.turns or trajectory.answer is None:
        return 0.0
    if not all(_balanced(turn.text) for turn in trajectory.turns):
        return 0.0
    tail = trajectory.turns[-1].text.rpartition("</think>")[2]
    answered = tail.count("<answer>") == tail.count("</answer>") > 0
    return float(answered and bool(trajectory.answer.strip()) and len(trajectory.answer) < max_answer_chars)


def _balanced(text: str) -> bool:
    closed, opened = text.count("</think>"), text.count("<think>")
    if 0 <= text.find("</think>") < (text.find("<think>") if opened else len(text)):
        opened += 1  # the template wrote the first one
    return opened == closed > 0 and all(text.count(f"<{name}>") == text.count(f"</{name}>") for name in BLOCKS)
