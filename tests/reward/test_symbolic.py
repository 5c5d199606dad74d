import threading
import time

import pytest

from foveal.errors import MissingDependency
from foveal.reward.symbolic import MathWorker, formula, require_math_verify, symbolic


@pytest.fixture(scope="module")
def worker():
    worker = MathWorker(cpu_seconds=1.0)
    yield worker
    worker.close()


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("1/2", "0.5"), (r"\frac{1}{2}", "1/2"), ("x^2-1", "(x-1)(x+1)"), ("pi/4", r"\frac{\pi}{4}"), ("x = 5", "5"),
     ("sqrt(8)", r"2\sqrt{2}"), (r"\boxed{2x+1}", "1 + 2x"), (r"\{1, 2\}", r"\{2, 1\}"), ("x²", "x^2"),
     ("x**2", "x^2"), (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}")],
)  # fmt: skip
def test_equal(answer: str, gold: str):
    assert symbolic(answer, [gold])


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("1/3", "0.5"), ("x^2+1", "(x-1)(x+1)"), ("act", "cat"), ("cat", "cat"), ("10%", "10"), ("4 or 5", "5"),
     ("4, 5", "5"), ("6 = 5", "5"), (r"2\text{ m}", r"2\text{ cm}"), ("(1, 3)", "(3, 1)"), ("", "5"),
     ("5$ and $6", "5"), ("y = 5", "x = 5"), (r"\frac{1}{", "1")],
)  # fmt: skip
def test_not_equal(answer: str, gold: str):
    assert not symbolic(answer, [gold])


def test_any_of_several_golds():
    assert symbolic("0.5", ["x", "half", r"\frac{1}{2}"])
    assert not symbolic("0.5", [])


def test_words_are_no_formula():
    assert formula("cat") is None and formula("the sum is x") is None and formula(r"5\text{ apples}") is None
    assert formula(r"\sin x") == r"\sin x" and formula("sin x") == r"\sin x"


def test_a_formula_without_end_costs_its_processor_time_and_nothing_else(worker):
    assert worker.equal("1/2", "0.5")
    started = time.process_time()
    assert not worker.equal("5", "9^{9^{9^{9^9}}}")
    assert time.process_time() - started < 1.0  # the waiting is done elsewhere
    assert worker.equal("1/2", "0.5")


def test_many_threads_at_once(worker):
    """math-verify's own time-outs raise in any thread but the main one."""
    found: dict[int, bool] = {}

    def compare(number: int) -> None:
        found[number] = worker.equal(str(number // 2), f"{number // 2} + {number % 2}")

    threads = [threading.Thread(target=compare, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number % 2 == 0 for number in range(8)}


def test_a_closed_worker_starts_again():
    worker = MathWorker()
    assert worker.equal("1", "1.0")
    worker.close()
    worker.close()
    assert worker.equal("1", "1.0")
    worker.close()


def test_the_missing_package_is_named_with_its_extra():
    with pytest.raises(MissingDependency, match=r'pip install "foveal\[math\]"'):
        require_math_verify("math_verify_of_nobody")
