"""Scores onto trajectories, when they come and afterwards; and which trajectories are no measurement at all.

A score is the part `accuracy` of the reward; how it came about is under `settings["bench"]`.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from foveal.asking import endpoint_failed, out_of_time
from foveal.bench.benchmark import Benchmark
from foveal.bench.grading import Graded, grade
from foveal.bench.scoring.formulas import formula, olympiad
from foveal.records import edit_run, scan_run
from foveal.reward.judge import Judge
from foveal.reward.symbolic import require_math_verify
from foveal.trajectory import Trajectory

INFRASTRUCTURE = ("sandbox", "search")
"""Errors of observations that are not the model's doing."""

FAILED = ("endpoint", *INFRASTRUCTURE, "time", "data")
"""What can keep an attempt from being an answer; `data` is a picture of the question that cannot be read."""


class How(NamedTuple):
    """How a score came about."""

    by: str
    """As `Graded.by`; empty if the trajectory was not scored by a benchmark."""
    problem: str


def infrastructure(trajectory: Trajectory) -> str | None:
    """What failed that is not the model's doing, as in `search: ...`; None if nothing did.

    Such a trajectory is no measurement, whether its answer is right or wrong: leaving out only the wrong ones would
    flatter the model.
    """
    if (why := endpoint_failed(trajectory)) is not None:
        return f"endpoint: {why}"
    for turn in trajectory.turns:
        error = turn.observation.error if turn.observation is not None else None
        if error is not None and error.kind in INFRASTRUCTURE:
            return f"{error.kind}: {error.message}"
    return f"time: {why}" if (why := out_of_time(trajectory)) is not None else None


def require_packages(benchmark: Benchmark) -> None:
    """Fail before any work if the rule of a benchmark needs a package that is not installed.

    Raises:
        MissingDependency: The rule compares formulas, and math-verify is not installed.
    """
    if benchmark.rule in (formula, olympiad):
        require_math_verify()


def scorer(benchmark: Benchmark, judge: Judge | None) -> Callable[[Trajectory], Awaitable[Trajectory]]:
    """A function that scores a trajectory as its benchmark does, unless it is no measurement."""

    async def onto(trajectory: Trajectory) -> Trajectory:
        if infrastructure(trajectory) is not None:
            return trajectory
        return _marked(trajectory, await grade(benchmark, trajectory, judge))

    return onto


def how(trajectory: Trajectory) -> How:
    """How the score of a trajectory came about."""
    mark = trajectory.settings.get("bench")
    if not isinstance(mark, dict):
        return How("", "")
    return How(str(mark.get("by", "")), str(mark.get("problem", "")))


async def regrade(run: Path, benchmark: Benchmark, judge: Judge | None, every: bool = False) -> int:
    """Score trajectories of a run again, without their model. All new scores are written together.

    Args:
        run: A run folder of the benchmark.
        benchmark: Says how.
        judge: Asked where the rule cannot tell; its verdicts so far are kept.
        every: Score all; by default those that waited for a judge, if there is one now.

    Returns:
        How many have another score now. A verdict that is there is never given up because there is no judge now.

    Raises:
        RecordError: There is no run, or another process is writing to it.
    """
    if not every and (judge is None or not any(map(_waits, scan_run(run)))):
        return 0
    scores = 0

    async def again(batch: Sequence[Trajectory]) -> Sequence[Trajectory]:
        nonlocal scores
        new = [await _again(benchmark, judge, one) if every or _waits(one) else one for one in batch]
        scores += sum(old.reward != one.reward for old, one in zip(batch, new, strict=True))
        return new

    with edit_run(run) as editor:
        await editor.draft(again)
        editor.commit()
    return scores


def _waits(trajectory: Trajectory) -> bool:
    """Whether a judge has still to speak."""
    return trajectory.unscored is not None or bool(how(trajectory).problem)


async def _again(benchmark: Benchmark, judge: Judge | None, trajectory: Trajectory) -> Trajectory:
    graded = await grade(benchmark, trajectory, judge)
    undecided = graded.score is None or (graded.by == "none" and graded.problem)
    judged = how(trajectory).by in ("judge", "cache") or trajectory.unscored is not None
    return trajectory if undecided and judged else _marked(trajectory, graded)


def _marked(trajectory: Trajectory, graded: Graded) -> Trajectory:
    mark = {"by": graded.by, "problem": graded.problem}
    reward = {} if graded.score is None else {"accuracy": graded.score}
    unscored = graded.problem if graded.score is None else None
    settings = {**trajectory.settings, "bench": mark}
    return trajectory.model_copy(update={"reward": reward, "unscored": unscored, "settings": settings})
