import pytest

from foveal.reward.accuracy import exact
from foveal.trajectory import Question, StopReason, Trajectory


def trajectory(answer: str | None, *gold: str) -> Trajectory:
    question = Question(id="q", text="?", gold=gold)
    return Trajectory(
        id="t", question=question, policy="p", profile="foveal", answer=answer, stop_reason=StopReason.ANSWERED
    )


@pytest.mark.parametrize(
    ("answer", "gold"), [("Lima", ["lima"]), (" 42. ", ["42"]), ("b", ["a", "B"]), ("ﬁne", ["fine"])]
)
def test_right(answer: str, gold: list[str]):
    assert exact(trajectory(answer, *gold)) == 1.0


@pytest.mark.parametrize(("answer", "gold"), [(None, ["Lima"]), ("", ["Lima"]), ("Lima", []), ("Lima Peru", ["Lima"])])
def test_wrong(answer: str | None, gold: list[str]):
    assert exact(trajectory(answer, *gold)) == 0.0
