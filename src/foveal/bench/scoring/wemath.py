"""The four-dimensional score of We-Math."""

from collections.abc import Sequence

from foveal.bench.benchmark import Scored, mean

STEPS = {"2steps": 2, "3steps": 3}


def four_dimensional(results: Sequence[Scored]) -> dict[str, float]:
    """Strict and loose score over the problems that were split into steps, after `four_dimensional_metrics.py`.

    Of every problem (`meta["problem"]`) the steps and the whole were asked (`meta["key"]`: `2steps_1`, `2steps_2`,
    `2steps_multi`). It counts as

    - complete mastery `cm`: the whole is right, and all its steps (strict) or any (loose);
    - rote memorisation `rm`: the whole is right, and not complete mastery;
    - inadequate generalisation `ig`: all steps are right, the whole is wrong;
    - insufficient knowledge `ik`: a step is wrong, and so is the whole.

    All are shares of the problems, except `rm`, which is a share of the problems whose whole is right. Score:
    cm + ig / 2. `score` is the strict one, and `accuracy` the plain mean of all answers. A problem that was not
    asked as a whole with all its steps is left out and counted in `incomplete`.
    """
    problems: dict[str, dict[str, float]] = {}
    for result in results:
        meta = result.question.meta
        problems.setdefault(str(meta["problem"]), {})[str(meta["key"])] = result.score
    verdicts = [_verdict(answers) for answers in problems.values()]
    known = [verdict for verdict in verdicts if verdict is not None]
    out = {"accuracy": mean(results)["score"], "incomplete": float(len(verdicts) - len(known))} if results else {}
    if not known:
        return out
    out["ik"], out["ig"] = (sum(verdict[0] == name for verdict in known) / len(known) for name in ("ik", "ig"))
    for index, mode in enumerate(("strict", "loose")):
        mastered = sum(verdict[index] == "cm" for verdict in known)
        rote = sum(verdict[index] == "rm" for verdict in known)
        out[f"cm.{mode}"] = mastered / len(known)
        out[f"rm.{mode}"] = rote / (mastered + rote) if mastered + rote else 0.0
        out[f"score.{mode}"] = out[f"cm.{mode}"] + out["ig"] / 2
    return {"score": out["score.strict"], **out}


def _verdict(answers: dict[str, float]) -> tuple[str, str] | None:
    """What a problem counts as, strict and loose; None if it was not asked in full."""
    kind = next(iter(answers)).partition("_")[0]
    steps = [answers.get(f"{kind}_{number}") for number in range(1, STEPS.get(kind, 0) + 1)]
    whole = answers.get(f"{kind}_multi")
    if whole is None or not steps or None in steps:
        return None
    right = [step == 1 for step in steps]
    if whole == 1:
        return ("cm" if all(right) else "rm", "cm" if any(right) else "rm")
    return ("ig", "ig") if all(right) else ("ik", "ik")
