"""The figures of a saved benchmark run: from its folder alone, without its model.

docs/bench.md says what every figure means. Figures of the score have no prefix; those of the same weights without tools
begin with `no_tool_`, those of the checks with `blind_` and `blank_`.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from foveal.bench.answers import Answer, Pair, pair, pictures, read_answers, scores, shared
from foveal.bench.benchmark import Scored
from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.header import Header, read_header
from foveal.bench.operations import OPERATIONS, SEARCHES
from foveal.bench.resampling import mean as resampled
from foveal.bench.run import read_failures
from foveal.bench.scores import FAILED
from foveal.bench.scoring.realx import AXES
from foveal.bench.statistics import Share, pass_at_k, wilson
from foveal.errors import InputError
from foveal.policy.paid import Price

Figures = dict[str, JsonValue]

PREFIXES = {"without-tools": "no_tool_", "blind": "blind_", "blank": "blank_"}
"""Of the figures of a mode that is not the one of the score."""
TOOLS = ("code", *SEARCHES)


class Drawn(NamedTuple):
    """A benchmark run in figures."""

    header: Header
    figures: Figures
    pairs: dict[str, Pair]
    """By mode: the run of the score against the same questions in that mode."""


def draw(folder: Path) -> Drawn:
    """The figures of a run.

    Raises:
        RecordError: There is no benchmark run in the folder, or it cannot be read.
    """
    header = read_header(folder)
    answers = {mode: read_answers(folder / mode) for mode in header.modes}
    score, *others = header.modes
    clusters = pictures(answer for mode in reversed(header.modes) for answer in answers[mode])
    main = answers[score]
    found: Figures = {
        "benchmark": header.benchmark, "policy": header.policy, "mode": score, "repeats": header.repeats,
        **_mode("", main, clusters, header.price),
    }  # fmt: skip
    found |= _summary(header, main) | _passes(header, main) | _axes(main, clusters) | _families(main, clusters)
    pairs = {}
    for mode in others:
        found |= _mode(PREFIXES[mode], answers[mode], clusters, header.price)
        try:
            pairs[mode] = pair(answers[mode], main)
        except InputError:
            continue  # nothing was answered in both yet
    found |= _gain(pairs, answers) | _checks(pairs)
    return Drawn(header, found | _missing(folder, header, answers), pairs)


def share(by_question: Mapping[str, Sequence[float]], clusters: Mapping[str, Hashable]) -> tuple[Share, str]:
    """The mean with its 95 % interval, and how the interval was made: `wilson`, or a `bootstrap` over what.

    Wilson's is for one repeat of independent questions that are right or wrong. Else whole questions are drawn, or
    whole pictures where questions share them.
    """
    together = shared(clusters, by_question)
    single = all(len(one) == 1 and one[0] in (0, 1) for one in by_question.values())
    if single and not together:
        return wilson(sum(one[0] for one in by_question.values()), len(by_question)), "wilson"
    keys = [clusters[name] for name in by_question] if together else None
    return resampled(list(by_question.values()), keys), f"bootstrap over {'pictures' if together else 'questions'}"


def _mode(prefix: str, answers: Sequence[Answer], clusters: Mapping[str, Hashable], price: Price) -> Figures:
    value, interval = share(scores(answers), clusters)
    out: Figures = {
        "n": value.n, "accuracy": _known(value.value), "low": value.low, "high": value.high, "interval": interval,
        "trajectories": len(answers),
        "unscored": sum(one.score is None for one in answers),
        "undecided": sum(one.score is not None and bool(one.problem) for one in answers),
        "calls_per_question": _mean([len(one.calls) for one in answers]),
        "turns_per_question": _mean([one.turns for one in answers]),
        "seconds_per_question": _mean([one.seconds for one in answers]),
    }  # fmt: skip
    sent = [one.prompt_tokens for one in answers if one.prompt_tokens is not None]
    written = [one.completion_tokens for one in answers if one.completion_tokens is not None]
    tokens = _mean(sent), _mean(written)
    out |= {"prompt_tokens_per_question": tokens[0], "completion_tokens_per_question": tokens[1]}
    if tokens[0] is not None and tokens[1] is not None:
        cost = (tokens[0] * price.prompt + tokens[1] * price.completion) / 1e6
        out |= {"tokens_per_question": tokens[0] + tokens[1], "cost_per_question": cost if price != Price() else None}
    else:
        out |= {"tokens_per_question": None, "cost_per_question": None}
    stops = Counter(one.stop.value for one in answers)
    out |= {f"stop.{reason}": count / len(answers) for reason, count in sorted(stops.items())}
    out |= _use(answers)
    return {prefix + name: figure for name, figure in out.items()}


def _use(answers: Sequence[Answer]) -> Figures:
    """Shares of answers with a call, and with one of a tool; shares of the calls that were for something."""
    out: Figures = {"call_rate": _mean([float(bool(one.calls)) for one in answers])}
    out |= {f"tools.{tool}": _mean([float(tool in one.calls) for one in answers]) for tool in TOOLS}
    made = Counter(kind for one in answers for kind in one.operations)
    return out | {f"operations.{kind}": made[kind] / made.total() if made else None for kind in OPERATIONS}


def _summary(header: Header, answers: Sequence[Answer]) -> Figures:
    """The benchmark's own figures: of every repeat, and then their mean."""
    benchmark = BENCHMARKS.get(header.benchmark)
    if benchmark is None:
        return {}
    repeats: dict[str, list[Scored]] = {}
    for one in answers:
        if one.score is not None:
            repeats.setdefault(one.repeat, []).append(Scored(one.question, one.score))
    found: dict[str, list[float]] = {}
    for results in repeats.values():
        for name, value in benchmark.summary(results).items():
            found.setdefault(name, []).append(value)
    return {f"summary.{name}": math.fsum(values) / len(values) for name, values in found.items()}


def _passes(header: Header, answers: Sequence[Answer]) -> Figures:
    """`pass_at.<k>`: the chance that one of k answers is right, over questions that have all their repeats."""
    k = header.repeats
    whole = [one for one in scores(answers).values() if len(one) == k]
    if k == 1 or not whole:
        return {}
    return {f"pass_at.{k}": _mean([pass_at_k(sum(score >= 1 for score in one), k, k) for one in whole])}


def _axes(answers: Sequence[Answer], clusters: Mapping[str, Hashable]) -> Figures:
    """Accuracy of the questions that are hard on an axis, and of those that are hard on all three."""
    out: Figures = {}
    if not any(axis in one.question.meta for one in answers for axis in AXES):
        return out
    for axis in (*AXES, "integration"):
        needed = AXES if axis == "integration" else (axis,)
        of_it = [one for one in answers if all(one.question.meta.get(name) for name in needed)]
        out |= _part(f"axis.{axis}.", of_it, clusters)
    return out


def _families(answers: Sequence[Answer], clusters: Mapping[str, Hashable]) -> Figures:
    """Accuracy and use of tools by family of questions."""
    out: Figures = {}
    for family in sorted({one.question.family for one in answers if one.question.family}):
        of_it = [one for one in answers if one.question.family == family]
        out |= _part(f"family.{family}.", of_it, clusters)
        out[f"family.{family}.calls_per_question"] = _mean([len(one.calls) for one in of_it])
        out |= {f"family.{family}.{name}": figure for name, figure in _use(of_it).items()}
    return out


def _part(prefix: str, answers: Sequence[Answer], clusters: Mapping[str, Hashable]) -> Figures:
    value = share(scores(answers), clusters)[0]
    named: Figures = {"n": value.n, "accuracy": _known(value.value), "low": value.low, "high": value.high}
    return {prefix + name: figure for name, figure in named.items()}


def _gain(pairs: Mapping[str, Pair], answers: Mapping[str, Sequence[Answer]]) -> Figures:
    """What tools win and lose, and whether they are called where they are needed."""
    if "without-tools" not in pairs:
        return {}
    found, left_out = pairs["without-tools"].comparison, pairs["without-tools"].left_out
    out: Figures = {
        "tool_gain": len(found.gained) / found.n, "tool_harm": len(found.lost) / found.n,
        "tool_difference": found.difference, "tool_difference_low": found.low, "tool_difference_high": found.high,
        "tool_difference_p": found.p, "tool_questions": found.n, "tool_left_out": left_out,
        "won_by_tools": [flip.id for flip in found.gained], "lost_by_tools": [flip.id for flip in found.lost],
    }  # fmt: skip
    alone = scores(answers["without-tools"])
    called: dict[bool, list[float]] = {True: [], False: []}
    for one in answers["with-tools"]:
        if (without := alone.get(one.question.id)) is not None:
            called[sum(without) / len(without) > 0.5].append(float(bool(one.calls)))
    right, wrong = _mean(called[True]), _mean(called[False])
    out |= {"call_rate_no_tool_right": right, "call_rate_no_tool_wrong": wrong}
    return out | {"adaptiveness": wrong - right if right is not None and wrong is not None else None}


def _checks(pairs: Mapping[str, Pair]) -> Figures:
    """How much of the score is left without pictures, and without what tools give back."""
    out: Figures = {}
    for mode in ("blind", "blank"):
        if mode in pairs:
            found = pairs[mode].comparison
            out |= {
                f"{mode}_difference": found.difference, f"{mode}_difference_low": found.low,
                f"{mode}_difference_high": found.high, f"{mode}_difference_p": found.p,
            }  # fmt: skip
    return out


def _missing(folder: Path, header: Header, answers: Mapping[str, Sequence[Answer]]) -> Figures:
    """Attempts without an answer: those that something else than the model failed, and those not made yet."""
    failures = read_failures(folder)
    kinds = Counter(failure.kind for failure in failures)
    planned = header.n * header.repeats * len(header.modes)
    made = sum(map(len, answers.values()))
    out: Figures = {"infrastructure_failures": len(failures)}
    out |= {f"infrastructure_failures.{kind}": kinds[kind] for kind in FAILED}
    return out | {"planned": planned, "missing": planned - made - len(failures)}


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
