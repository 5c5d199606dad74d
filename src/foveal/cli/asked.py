"""Bars: with the cost, for commands that ask a model many questions, and for those that read many."""

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from foveal.policy.paid import Ledger


@contextlib.contextmanager
def asking_bar(step: str, total: int, ledger: "Ledger") -> Iterator[Callable[[object], None]]:
    """A bar with the time to go and what was spent; called with whatever is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(step, total=total)

        def advance(done: object) -> None:
            spent = ledger.spent
            cost = f" {spent.calls} calls, {spent.tokens / 1e6:.2f} M tokens, {spent.money:.2f}" if spent.calls else ""
            bar.update(task, advance=1, description=step + cost)

        yield advance


@contextlib.contextmanager
def reading_bar(step: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A bar for rows that are read, with their rate, and with the time to go where it is known how many there are.

    Called with how many have been read.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True))
    times = (TimeElapsedColumn(), *(() if total is None else (TimeRemainingColumn(),)))
    with _bar(*columns, *times) as bar:
        task = bar.add_task(step, total=total)

        def tell(done: int) -> None:
            bar.update(task, completed=done, description=f"{step} {done:,} rows")

        yield tell


@contextlib.contextmanager
def counting_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on the terminal for work that is counted; call what this gives when one more is done."""
    with _bar(*Progress.get_default_columns()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def _bar(*columns: ProgressColumn) -> Progress:
    """A bar on the terminal that is gone when it is done; nothing where nobody looks."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
