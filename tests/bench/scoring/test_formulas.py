import json
from pathlib import Path
from typing import Any

import pytest

from foveal.bench.scoring.formulas import final, formula, integer, olympiad, parts

OLYMPIAD = json.loads(Path(__file__).with_name("olympiadbench.json").read_text(encoding="utf-8"))
"""OpenBMB/OlympiadBench (MIT), eval/scoring_examples.json, all of it: gold, answer, allowed difference, equal or not.
One of them takes all the time that a comparison may: it is in a test of its own."""
ENDLESS = "10^{10^{10^{10}}}"

NOT_TOLD = (r"\cos ^{10}(\frac{\pi}{10})", r"\boxed{n_{\gamma}(\nu)=A")
"""Gold answers with an equal answer that we take for different: a formula with an allowed difference, and an equation
whose constants are written in two ways."""


@pytest.mark.parametrize(
    "case", [case for case in OLYMPIAD if ENDLESS not in case["gold"]], ids=lambda case: case["answer"]
)
def test_worked_examples_of_olympiadbench(ask, case: dict[str, Any]):
    found = olympiad(case["answer"], ask(case["gold"], error=case["error"]))
    assert found == (case["equal"] and not case["gold"].startswith(NOT_TOLD))


@pytest.mark.slow
def test_a_formula_without_end_is_another_one(ask):
    (case,) = [case for case in OLYMPIAD if ENDLESS in case["gold"]]
    assert not case["equal"] and olympiad(case["answer"], ask(case["gold"])) == 0


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [("-5", "-5", True), ("7425000", "7,425,000", True), ("1000", "1000.0", True), ("0.4", ".4", True),
     ("1000.99", "1,000.99", True), ("10/9", r"\frac{10}{9}", True), ("-10/9", r"-\frac{10}{9}", True),
     ("$[0,1)$", "$[0,1)$", True), ("$[0,9)$", "$[0,1)$", False), ("$(0,9)$", "$[0,9)$", False),
     ("$1$", "$-[0,1)$", False),
     ("$10$", r"\( (9+1) \)", True), ("$1/3$", r"$\frac13 $", True), ("$1$", r"$\frac3{3} $", True),
     (r"$\sqrt{3}$", r"$\sqrt3 $", True), ("$1/3$", r"$\cfrac{1}{3} $", True), ("$1/3$", r"$\dfrac{1}{3} $", True),
     ("$1/3$", r"$\tfrac{1}{3} $", True), ("$1/3$", "$ 1/3 $", True), ("$1/3$", r"$\left( \frac{1}{3} \right)$", True),
     ("$1/3$", r"$\boxed{\frac{1}{3}}$", True), ("$1/3$", r"$\frac{1}{3} \text{meters}$", True),
     ("$1/3$", r"$\frac{1}{3} \textbf{meters}$", True), (r"$28\%$", "28 %", True),
     (r"$28\%$", r"$\boxed{28 percent}$", True),
     ("$k=1$", "$1$", True), ("$1$", "$k=1$", True), ("$11$", "$x=11$", True), ("$7 = 11a+c$", "$11a+c$", False),
     ("$2x + z = 1$", "$1$", False), ("$a^2 + b = 0$", "$0$", False), ("$(3,1)$", "${1,3}$", False),
     ("$x^2/4 + y^2/3 = 1$", "$x^2/16 + y^2/12 = 1/4$", True), (r"$x \geq 5$", r"$5 \leq x$", True),
     ("$x < 1$", "$-x > -1$", True), ("$x < 1$", "$x > -1$", False), (r"$90^\circ$", "90", True),
     ("2", "AZYUK2A", False),
     (r"\(\boxed{\text{C}}\).", r"$\boxed{\text{(C)}}.$", True),
     (r"$\sqrt{2}+\sqrt{5}$", r"The answer is $\boxed{\sqrt 2+\sqrt 5}$", True),
     (r"\boxed{32349}", r"is $\boxed{32,\! 349}$", True),
     (r"\boxed{11111111100}", r"$\boxed{11,\! 111,\! 111,\! 100}$", True),
     (r"$\begin{pmatrix}1 & 2 \\ 3 & 4\end{pmatrix}$", r"$\begin{pmatrix}1 & 2 \\ 3 & 5\end{pmatrix}$", False)],
)  # fmt: skip
def test_worked_examples_of_math_verify(ask, gold: str, answer: str, equal: bool):
    """huggingface/Math-Verify, tests/test_all.py: those of its cases that are final answers, not whole solutions."""
    assert (formula(answer, ask(gold)) == 1) is equal


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("12", "13", 0), ("x+1", "x+2", None), ("Evelyn", r"\text{Evelyn}", 1), ("12 cm", r"12\text{ cm}", 1),
     (r"12\text{ cm}", r"12\text{ m}", 0), (r"x\text{ cm}", r"x\text{ m}", None), ("50", r"50\%", 1),
     ("145", "145°", 1), ("", "5", None),
     (r"\boxed{x^{2}", "x^2", None), ("5; 6", "5", None), ("204_5", "204_5", 1), (r"x \in [0,1]", "[0,1]", 1),
     (r"first \boxed{4}, no: \boxed{5}", "5", 1), (r"\boxed{\boxed{5}}", "5", 1)],
)  # fmt: skip
def test_formula(ask, answer: str, gold: str, score: float | None):
    assert formula(answer, ask(gold)) == score


def test_options_come_before_numbers(ask):
    assert formula("3", ask("B", options={"A": "2", "B": "3", "C": "4"})) == 1
    assert formula("C", ask("B", options={"A": "2", "B": "3", "C": "4"})) == 0


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [("073", "73", 1), ("73", "073", 1), ("73.0", "73", 1), ("73.5", "73", 0), (r"\boxed{73}", "73", 1),
     ("1,000", "1000", 1),
     ("seventy", "73", 0), ("-73", "73", 0), (r"\boxed{204}", r"\boxed{204}", 1), ("$204$.", "204", 1), ("", "73", 0),
     ("7" * 5000, "73", 0)],
)  # fmt: skip
def test_integer(ask, answer: str, gold: str, score: int):
    assert integer(answer, ask(gold)) == score


@pytest.mark.parametrize(
    ("text", "found"),
    [("1, 2", ["1", "2"]), ("(1, 2), (3, 4)", ["(1, 2)", "(3, 4)"]),
     (r"1 \pm \sqrt{2}", [r"1 + \sqrt{2}", r"1 - \sqrt{2}"]),
     ("1，2", ["1", "2"]), ("{1, 2}", ["{1, 2}"]), ("", []), (",", []), ("$1$, $2$", ["1", "2"])],
)  # fmt: skip
def test_parts(text: str, found: list[str]):
    assert parts(text) == found


@pytest.mark.parametrize(
    ("answer", "golds", "error", "score"),
    [("2, 1", ("1,2",), None, 1), ("1", ("1,2",), None, 0), ("1, 2, 3", ("1,2",), None, 0), ("1, 1", ("1,2",), None, 0),
     ("3.2", ("3.14",), "0.1", 1), ("3.25", ("3.14",), "0.1", 0), ("3.2, 5", ("3.14, 5",), "0.1,0", 1),
     ("0.5", (r"$\frac{1}{2}$", "0.7"), None, 1), ("0.7", (r"$\frac{1}{2}$", "0.7"), None, 1),
     ("yes", ("Yes",), None, 1)],
)  # fmt: skip
def test_olympiad(ask, answer: str, golds: tuple[str, ...], error: str | None, score: int):
    assert olympiad(answer, ask(*golds, error=error)) == score


def test_what_is_boxed_counts():
    assert final(r"so \boxed{\frac{1}{2}} holds") == r"\frac{1}{2}" and final("**5**") == "5"
    assert final(r"\boxed{1") == r"\boxed{1"
