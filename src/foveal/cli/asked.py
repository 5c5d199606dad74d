"""A bar with the cost, for commands that ask a model many questions."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from foveal.policy.paid import Ledger
    from foveal.trajectory import Trajectory


@contextlib.contextmanager
def asking_bar(step: str, total: int, ledger: "Ledger") -> "Iterator[Callable[[Trajectory], None]]":
    """A bar with the time to go and what was spent."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(step, total=total)

        def advance(trajectory: "Trajectory") -> None:
            spent = ledger.spent
            cost = f" {spent.calls} calls, {spent.tokens / 1e6:.2f} M tokens, {spent.money:.2f}" if spent.calls else ""
            bar.update(task, advance=1, description=step + cost)

        yield advance
