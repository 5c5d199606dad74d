import pytest

from foveal.reward.accuracy import by_rules, exact
from foveal.reward.settings import RewardSettings


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("Lima", ["lima"]), (" 42. ", ["42"]), ("b", ["a", "B"]), ("ﬁne", ["fine"]), ("H₂O", ["H2O"]), ("10²", ["10^2"])],
)
def test_exact_right(trajectory, answer: str, gold: list[str]):
    assert exact(trajectory(answer, *gold)) == 1.0


@pytest.mark.parametrize(
    ("answer", "gold"),
    [(None, ["Lima"]), ("", ["Lima"]), ("Lima", []), ("Lima Peru", ["Lima"]), ("10⁵", ["105"])],
)
def test_exact_wrong(trajectory, answer: str | None, gold: list[str]):
    assert exact(trajectory(answer, *gold)) == 0.0


@pytest.mark.parametrize(
    ("answer", "gold", "ruling"),
    [
        ("Lima", "lima", (True, "exact")),
        ("Rome", "lima", (None, "none")),
        ("C", "B", (False, "choice")),
        ("1,234", "1234", (True, "number")),
        ("1985", "1984", (False, "number")),
        ("0.5", r"\frac12 + 0", (None, "none")),
        (None, "lima", (False, "no_answer")),
        ("  ", "lima", (False, "no_answer")),
        ("x" * 300, "x" * 300, (False, "too_long")),
    ],
)
def test_the_first_rule_that_can_tell_decides(trajectory, answer: str | None, gold: str, ruling: tuple[bool, str]):
    assert by_rules(trajectory(answer, gold), RewardSettings()) == ruling


def test_only_the_rules_of_the_settings_are_asked(trajectory):
    formula = trajectory("x^2-1", "(x-1)(x+1)")
    assert by_rules(formula, RewardSettings()) == (None, "none")
    assert by_rules(formula, RewardSettings(rules=("exact", "symbolic"))) == (True, "symbolic")
    assert by_rules(trajectory("1,234", "1234"), RewardSettings(rules=("exact",))) == (None, "none")


def test_tolerance_is_exact(trajectory):
    settings = RewardSettings(relative_tolerance=0.3)
    assert by_rules(trajectory("13", "10"), settings) == (True, "number")
    assert by_rules(trajectory("13.0001", "10"), settings) == (False, "number")
