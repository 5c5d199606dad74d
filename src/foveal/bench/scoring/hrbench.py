"""HR-Bench: the same question with its options in four orders."""

from collections.abc import Sequence

from foveal.bench.benchmark import Scored, by, by_family


def over_cycles(results: Sequence[Scored]) -> dict[str, float]:
    """`score`: the mean over the four orders of the mean of each, as the benchmark has it (VLMEvalKit's `hrbench.py`).

    With it `cycle.<number>`, and `consistent`: the share of questions (`meta["base"]`) that are right in every order
    that was asked.
    """
    cycles = by(results, "cycle", lambda question: [str(question.meta["cycle"])])
    if not cycles:
        return {}
    bases: dict[str, list[float]] = {}
    for result in results:
        bases.setdefault(str(result.question.meta["base"]), []).append(result.score)
    consistent = sum(min(scores) for scores in bases.values()) / len(bases)
    return {**by_family(results), "score": sum(cycles.values()) / len(cycles), **cycles, "consistent": consistent}
