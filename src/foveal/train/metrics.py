"""Figures of a step of reinforcement learning, and the file that keeps them."""

import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from foveal.errors import RecordError
from foveal.files import replacing
from foveal.train.advantage import GroupKind, has_loss
from foveal.train.batch import trained_groups
from foveal.train.monitors import measure
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Group
from foveal.trajectory import StopReason


def summarize(groups: Sequence[Group], training: Mapping[str, float], settings: RlSettings) -> dict[str, float]:
    """Figures of everything that was sampled in a step, thrown away or not.

    groups/drawn, groups/<kind>; rollouts/sampled, /trained (have a loss), /masked (would have, but `mask_cut` or
    `mask_malformed` leaves them out), /unscored, /failed (the policy did); stop/<reason>: shares. And of those that did
    not fail: reward/<part> and family/<name>/accuracy (means where they are known), family/<name>/calls (share with a
    call), and the figures of `monitors.measure`.
    """
    everything = [trajectory for group in groups for trajectory in group.trajectories]
    kinds = Counter(group.kind for group in groups)
    figures: dict[str, float] = {"groups/drawn": len(groups)}
    figures |= {f"groups/{kind.value}": kinds[kind] for kind in GroupKind}
    learned = [trajectory for group in trained_groups(groups, settings) for trajectory in group.trajectories]
    trained = sum(
        has_loss(trajectory, mask_cut=settings.mask_cut, mask_malformed=settings.mask_malformed)
        for trajectory in learned
    )
    usable = sum(has_loss(trajectory, mask_cut=False, mask_malformed=False) for trajectory in learned)
    figures["rollouts/sampled"] = len(everything)
    figures["rollouts/trained"] = trained
    figures["rollouts/masked"] = usable - trained
    figures["rollouts/unscored"] = sum("total" not in trajectory.reward for trajectory in everything)
    compared = [trajectory for trajectory in everything if trajectory.stop_reason is not StopReason.POLICY_ERROR]
    figures["rollouts/failed"] = len(everything) - len(compared)
    for part in sorted({part for trajectory in compared for part in trajectory.reward}):
        figures[f"reward/{part}"] = statistics.fmean(t.reward[part] for t in compared if part in t.reward)
    for family in sorted({t.question.family for t in compared if t.question.family}):
        of_it = [trajectory for trajectory in compared if trajectory.question.family == family]
        known = [trajectory.reward["accuracy"] for trajectory in of_it if "accuracy" in trajectory.reward]
        if known:
            figures[f"family/{family}/accuracy"] = statistics.fmean(known)
        figures[f"family/{family}/calls"] = statistics.fmean(
            any(turn.call is not None for turn in trajectory.turns) for trajectory in of_it
        )
    for reason, count in sorted(Counter(trajectory.stop_reason for trajectory in everything).items()):
        figures[f"stop/{reason.value}"] = count / len(everything)
    return figures | measure(compared, training)


class MetricsLog:
    """`metrics.jsonl`: one flat line a step.

    Attributes:
        lines: All of them, in order.

    Raises:
        RecordError: A line is damaged that is not the last.
    """

    def __init__(self, path: Path, last: int):
        """Take over the lines up to the step `last`; `truncate` makes the file so."""
        self._path = path
        written = path.read_bytes().split(b"\n") if path.exists() else []
        # A killed process leaves at most a torn last line, of a step that is taken again.
        lines = [_read_line(line, path, number) for number, line in enumerate(written[:-1], start=1)]
        self.lines = [line for step, line in lines if step <= last]

    @property
    def history(self) -> list[dict[str, float]]:
        """The numbers of every step, for the monitors."""
        return [{key: value for key, value in line.items() if isinstance(value, int | float)} for line in self.lines]

    def truncate(self) -> None:
        """Write the lines that were taken over, and no others."""
        with replacing(self._path) as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)

    def write_last(self) -> None:
        """Add the last of `lines` to the file; it is on the disk when this returns."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.lines[-1]) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _read_line(text: bytes, path: Path, number: int) -> tuple[int, dict[str, JsonValue]]:
    """The step of a line, and the line."""
    try:
        line = json.loads(text)
        return int(line["step"]), line
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path} line {number} is no line of metrics: {type(error).__name__} {error}",
            "put a whole copy of the file back, or remove that line: the metrics of one step are lost with it",
        ) from error
