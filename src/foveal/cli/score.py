"""`foveal score`: score a saved run, again or at last, without its model."""

import asyncio
import json
import logging
import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from foveal.cli.asked import counting_bar
from foveal.cli.common import api_key, check_writable, logs, plain, read_flags, write_json

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.records import RunEditor
    from foveal.reward.judge import Judge
    from foveal.reward.score import Scored
    from foveal.reward.settings import RewardSettings
    from foveal.trajectory import Trajectory

JUDGE_KEY = "FOVEAL_JUDGE_API_KEY"


def score(
    run: Path,
    *settings: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Score a saved run, again or at last, without its model.

    Without settings those that the run was scored with are used, so that what a judge left unscored is finished.
    Every setting can be given as a flag, too: --preset official --judge.url URL --judge.model NAME. The new rewards
    are written together, or not at all. docs/rewards.md says what each part means.

    Args:
        run: The folder of the run.
        settings: Settings by name, behind RUN.
        config: TOML file of the settings of the reward.
        json_file: Write the figures to this file; docs/rewards.md lists them.
    """
    from foveal.records import edit_run
    from foveal.reward.judge import open_judge
    from foveal.reward.score import check_settings

    flags = read_flags(settings)
    check_writable(json_file)
    console = Console(highlight=False, emoji=False)
    started = time.monotonic()
    with logs(logging.WARNING), edit_run(run) as editor:
        chosen = _settings(run, config, flags)
        check_settings(chosen)
        key = os.environ.get(JUDGE_KEY) or api_key()
        judge = open_judge(chosen.judge, key, _beside_ledger(run)) if chosen.judge else None
        tally = asyncio.run(_score_all(run, editor, chosen, judge))
        # A score that is there is never given up for one that could not be made.
        if not tally.lost:
            editor.commit()
    numbers = tally.figures()
    extra = {"unreadable": editor.unreadable, "written": not tally.lost, "seconds": time.monotonic() - started}
    if json_file is not None:
        write_json(json_file, {**numbers, **extra, "settings": json.dumps(chosen.model_dump(mode="json"))})
    _show(numbers, tally, console)
    if editor.unreadable:
        console.print(f"{editor.unreadable} lines cannot be read and were left as they are", style="yellow")
    if tally.lost:
        console.print(f"the old rewards are kept: {tally.lost} of them would have been lost", style="yellow")
    if tally.unfinished:
        console.print("verdicts so far are kept; run this command again when the judge is up", style="yellow")
    return 1 if tally.lost or tally.unfinished else 0


def _settings(run: Path, config: Path | None, flags: dict[str, str]) -> "RewardSettings":
    """Settings of file and flags; without any, those on the record if they are all the same."""
    from pydantic import ValidationError

    from foveal.config import read_settings
    from foveal.errors import ConfigError
    from foveal.records import scan_run
    from foveal.reward.settings import RewardSettings

    if config is not None or flags:
        return read_settings(RewardSettings, config, flags)
    recorded = {json.dumps(t.settings["reward"], sort_keys=True) for t in scan_run(run) if "reward" in t.settings}
    if not recorded:
        return RewardSettings()
    fix = "name the settings: --config FILE, or --preset paper"
    if len(recorded) > 1:
        raise ConfigError(f"the run was scored with {len(recorded)} different settings", fix)
    try:
        return RewardSettings.model_validate_json(recorded.pop())
    except ValidationError as error:
        raise ConfigError(f"the settings that the run was scored with cannot be used: {error}", fix) from error


def _beside_ledger(run: Path) -> Path:
    """Where the verdicts on a run are: in its folder, or above it with the ledger that it shares with other runs.

    So teachers who say the same are judged once, and what a step or a benchmark has paid for is found here.
    """
    from foveal.curate.folder import LEDGER

    above = run.absolute().parent
    return above if (above / LEDGER).is_file() else run


async def _score_all(run: Path, editor: "RunEditor", settings: "RewardSettings", judge: "Judge | None") -> "Tally":
    from foveal.records import FILE
    from foveal.reward.score import score as score_one

    tally = Tally()
    with (run / FILE).open("rb") as lines:
        count = sum(1 for _ in lines)
    with counting_bar("scoring", count) as advance:

        async def one(trajectory: "Trajectory") -> "Scored":
            scored = await score_one(trajectory, settings, judge)
            advance()
            return scored

        async def again(batch: "Sequence[Trajectory]") -> "Sequence[Trajectory]":
            scored = await asyncio.gather(*map(one, batch))
            return [tally.add(old, new) for old, new in zip(batch, scored, strict=True)]

        await editor.draft(again)
    return tally


class Tally:
    """What a scoring comes to, counted trajectory by trajectory: a run may be too large to be held.

    Attributes:
        lost: Trajectories whose accuracy was known and could not be told now.
        unfinished: Whether scoring again may help.
        unscored: Reasons for having no total, and how often.
    """

    def __init__(self) -> None:
        self.lost, self.unfinished = 0, False
        self.unscored: Counter[str] = Counter()
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._by: Counter[str] = Counter()

    def add(self, old: "Trajectory", scored: "Scored") -> "Trajectory":
        """Count the new score of a trajectory.

        Returns:
            The trajectory with it.
        """
        self.lost += scored.unscored is not None and "accuracy" in old.reward
        self.unfinished |= scored.unfinished
        self.unscored.update([scored.unscored] if scored.unscored else [])
        self._by[scored.by] += 1
        for name, value in scored.reward.items():
            self._sums[name] += value
            self._counts[name] += 1
        self._shares[""].add(scored)
        if old.question.family:
            self._shares[f"family.{old.question.family}."].add(scored)
        return scored.onto(old)

    def figures(self) -> "dict[str, JsonValue]":
        """Flat figures.

        `n`: trajectories; `scored`, `unscored`: how many have a total, and how many have none; `accuracy`, `low`,
        `high`: share of right answers among those whose accuracy is known, with its 95 % Wilson interval;
        `part.<name>`: mean of a part and of the `total` where it is known; `family.<name>.n`, `.unscored`, `.accuracy`,
        `.low`, `.high`: the same by family of questions; `by.<what>`: answers that each rule or the judge decided on.
        """
        out = self._shares[""].figures("")
        out |= {f"part.{name}": total / self._counts[name] for name, total in self._sums.items()}
        for prefix in sorted(self._shares.keys() - {""}):
            out |= self._shares[prefix].figures(prefix)
        return out | {f"by.{what}": count for what, count in sorted(self._by.items())}


class _Share:
    """Right answers among some."""

    def __init__(self) -> None:
        self.n = self.unscored = self.known = 0
        self.right = 0.0

    def add(self, scored: "Scored") -> None:
        self.n, self.unscored = self.n + 1, self.unscored + (scored.unscored is not None)
        if (accuracy := scored.reward.get("accuracy")) is not None:
            self.known, self.right = self.known + 1, self.right + accuracy

    def figures(self, prefix: str) -> "dict[str, JsonValue]":
        from foveal.bench.statistics import wilson

        out: dict[str, JsonValue] = {"n": self.n, "scored": self.n - self.unscored, "unscored": self.unscored}
        if self.known:
            share = wilson(self.right, self.known)
            out |= {"accuracy": share.value, "low": share.low, "high": share.high}
        return {prefix + name: value for name, value in out.items()}


def _show(numbers: "dict[str, JsonValue]", tally: Tally, console: Console) -> None:
    table = Table(show_header=False, box=None)
    for name, value in numbers.items():
        table.add_row(plain(name), f"{value:.3f}" if isinstance(value, float) else str(value))
    console.print(table)
    for why, count in tally.unscored.most_common(3):
        console.print(f"{count} unscored: {plain(why)}", style="yellow", soft_wrap=True, markup=False)
