"""`foveal bench`: run a benchmark with and without tools, or draw the figures of a saved run again."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from foveal.cli.asked import asking_bar
from foveal.cli.common import (
    api_key,
    check_writable,
    is_endpoint,
    logs,
    plain,
    read_flags,
    write_json,
)
from foveal.cli.score import JUDGE_KEY
from foveal.config import read_settings
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from foveal.asking import Progress
    from foveal.bench.benchmark import Benchmark
    from foveal.bench.run import Plan
    from foveal.bench.settings import BenchSettings, Mode
    from foveal.trajectory import Trajectory

SHOWN_PROBLEMS = 3
"""Rows that cannot be read which are told one by one."""


def bench(
    name: str | None = None,
    *settings: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Path | None = None,
    run: Path | None = None,
    list_all: Annotated[bool, Parameter(name="--list", negative="")] = False,
    report: Annotated[tuple[Path, ...], Parameter(consume_multiple=True, negative="", show_default=False)] = (),
    page: Path | None = None,
    rescore: Annotated[bool, Parameter(negative="")] = False,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Run a benchmark with and without tools, and say how good the model is, at what cost.

    foveal bench vstar --policy http://127.0.0.1:8000/v1 --data vstar.tsv --run runs/vstar

    Settings are flags behind the name, or in --config: --policy, --model, --data, --n, --repeats, --tools.search,
    --judge.url, --blind true and more (docs/bench.md). A run that was killed or failed in part goes on when the same
    command is given again.

    Args:
        name: The benchmark; --list names them. Behind it its settings as flags, or in --config: --policy URL or FOLDER,
            --model, --data, --n, --repeats, --tools.search DIR, --judge.url, --blind true and more (docs/bench.md).
        settings: Settings by name, behind the name.
        config: TOML file of the settings.
        run: Folder of the run; a new one by default, runs/bench-NAME-TIME.
        list_all: List the benchmarks instead, with tools, scorer and licence.
        report: Draw the figures of saved runs again instead, without their models.
        page: With --report: write a web page into this folder, runs side by side, with every answer behind it.
        rescore: With --report: score the saved answers by the rules as they are now. Verdicts of a judge are kept.
        json_file: Write the figures to this file; docs/bench.md says what each means.
    """
    check_writable(json_file)
    if (name is not None) + list_all + bool(report) != 1:
        raise ConfigError("name a benchmark, or --list, or --report RUN", "foveal bench --list names the benchmarks")
    if rescore and not report:
        raise ConfigError("--rescore is for saved runs", "foveal bench --report RUN --rescore")
    if page is not None and not report:
        raise ConfigError("--page is for saved runs", "foveal bench --report RUN --page DIR")
    console = Console(highlight=False, emoji=False)
    if name is not None:
        return _run(name, settings, config, run, json_file, console)
    if settings or config is not None or run is not None:
        raise ConfigError("settings are for running a benchmark", "name it: foveal bench NAME --policy P")
    if list_all:
        return _list(json_file, console)
    if len(report) > 1 and page is None:
        raise ConfigError("several runs are drawn side by side on a page", "name its folder: --page DIR")
    for folder in report if rescore else ():
        asyncio.run(_rescore(folder))
    code = _sum_up(report, json_file, console) if len(report) > 1 else _draw(report[0], json_file, console)
    if page is not None:
        _write_page(report, page, console)
    return code


def _list(json_file: Path | None, console: Console) -> int:
    from foveal.bench.catalogue import describe

    found = describe()
    if json_file is not None:
        write_json(json_file, found)
    table = Table("name", "benchmark", "questions", "tools", "scored by", "licence", box=None, padding=(0, 2, 0, 0))
    for name, one in found.items():
        tools = ", ".join(one["tools"])
        table.add_row(name, one["title"], f"{one['items']:,}", tools, one["scorer"], one["licence"])
    console.print(table)
    return 0


async def _rescore(folder: Path) -> None:
    from foveal.bench.catalogue import find
    from foveal.bench.header import note_code, read_header
    from foveal.bench.scores import regrade, require_packages
    from foveal.records import FILE

    header = read_header(folder)
    benchmark = find(header.benchmark)
    require_packages(benchmark)
    for mode in header.modes:
        if (folder / mode / FILE).exists():
            await regrade(folder / mode, benchmark, None, every=True)
    note_code(folder)


def _draw(folder: Path, json_file: Path | None, console: Console) -> int:
    """Show and write the figures of a saved run.

    Returns:
        The exit code: 1 if answers are not there yet, or wait for a judge.
    """
    from foveal.bench.figures import draw
    from foveal.bench.report import facts, notes, tables, whole, write_report

    with logs():
        drawn = draw(folder)
    if json_file is not None:
        write_json(json_file, drawn.figures)
    console.print(f"{plain(drawn.header.title)}: {plain(drawn.header.policy)}", style="bold", markup=False)
    for table in tables(drawn):
        console.print(f"\n{table.title}", style="bold", markup=False)
        shown = Table(show_header=any(table.columns), box=None, padding=(0, 2, 0, 0))
        for number, column in enumerate(table.columns):
            shown.add_column(column, no_wrap=number > 0 and any(table.columns))
        for cells in table.rows:
            shown.add_row(*map(plain, cells))
        console.print(shown, markup=False)
    console.print()
    for note in notes(drawn):
        console.print(plain(note), style="yellow", soft_wrap=True, markup=False)
    for what, text in facts(drawn.header):
        console.print(f"{what}: {plain(text)}", style="dim", soft_wrap=True, markup=False)
    console.print(f"report: {write_report(folder, drawn)}", style="dim", soft_wrap=True, markup=False)
    return int(not whole(drawn))


def _sum_up(folders: Sequence[Path], json_file: Path | None, console: Console) -> int:
    """Show a line a run, and write the figures of all by folder.

    Returns:
        The exit code, as of `_draw`.
    """
    from foveal.bench.figures import draw
    from foveal.bench.report import headline, whole

    with logs():
        drawn = {str(folder): draw(folder) for folder in folders}
    if json_file is not None:
        write_json(json_file, {folder: one.figures for folder, one in drawn.items()})
    for folder, one in drawn.items():
        console.print(f"{folder}: {plain(one.header.title)}, {plain(one.header.policy)}: {headline(one)}",
                      soft_wrap=True, markup=False)  # fmt: skip
    return int(any(not whole(one) for one in drawn.values()))


def _write_page(folders: Sequence[Path], out: Path, console: Console) -> None:
    from foveal.bench.pages.site import write_page

    with console.status("drawing the pages"), logs():
        written = write_page(folders, out)
    console.print(f"page: {written.resolve()}", soft_wrap=True, markup=False)


def _run(
    name: str, words: Sequence[str], config: Path | None, run: Path | None, json_file: Path | None, console: Console
) -> int:
    from foveal.bench.catalogue import find
    from foveal.bench.run import plan
    from foveal.bench.scores import require_packages
    from foveal.bench.settings import BenchSettings

    benchmark = find(name)
    settings = read_settings(BenchSettings, config, read_flags(words))
    require_packages(benchmark)
    folder = run or Path("runs") / f"bench-{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    with console.status("reading the questions"):
        questions = plan(benchmark, settings)
    for problem in questions.problems[:SHOWN_PROBLEMS]:
        console.print(f"left out: {plain(str(problem))}", style="yellow", soft_wrap=True, markup=False)
    if more := len(questions.problems[SHOWN_PROBLEMS:]):
        console.print(f"left out: {more} rows more", style="yellow")
    with logs():
        stopped = asyncio.run(_ask(benchmark, settings, questions, folder, console))
    code = _draw(folder, json_file, console)
    console.print(f"page: foveal bench --report {folder} --page DIR", style="dim", soft_wrap=True, markup=False)
    if stopped is not None:
        console.print(f"not everything was asked: {plain(stopped)}", style="yellow", soft_wrap=True, markup=False)
    if code:
        console.print(f"to go on, give the same command again with --run {folder}", style="yellow", soft_wrap=True)
    return code


async def _ask(
    benchmark: "Benchmark", settings: "BenchSettings", questions: "Plan", folder: Path, console: Console
) -> str | None:
    """Ask what is left.

    Returns:
        Why that came to an end too early; None if it did not.
    """
    from foveal.bench.opening import bare_profile, open_offered
    from foveal.bench.run import LEDGER, Who, count_left, modes
    from foveal.bench.run import run as run_benchmark
    from foveal.curate.asked import open_asked, open_profile
    from foveal.policy.paid import Ledger
    from foveal.reward.judge import open_judge

    with console.status("opening the model"):
        policy = open_asked(settings, settings.limits)
        opened = open_offered(benchmark, settings.tools, settings.concurrency)
    judge = None
    if settings.judge is not None and benchmark.judge:
        judge = open_judge(settings.judge, os.environ.get(JUDGE_KEY) or api_key(), folder)
    prices = {policy.name: settings.price}
    with contextlib.closing(Ledger(folder / LEDGER, prices, settings.ceiling)) as ledger:
        who = Who(
            policy=policy,
            tools=opened.tools,
            why=opened.why,
            profile=open_profile(settings.prompt),
            bare=bare_profile(settings),
            judge=judge,
            ledger=ledger if is_endpoint(settings.policy) else None,
        )
        left = count_left(folder, settings, questions, modes(settings, opened.tools))
        async with opened.sandbox or contextlib.nullcontext():
            if opened.sandbox is not None:
                await opened.sandbox.probe()  # rather now than at the first call of a model
            with asking_bar(benchmark.name, left, ledger) as advance:

                def on_done(mode: "Mode", trajectory: "Trajectory") -> None:
                    advance(trajectory)

                made = await run_benchmark(benchmark, settings, questions, who, folder, on_done)
    return _stopped(list(made.values()))


def _stopped(made: "Sequence[Progress]") -> str | None:
    reasons = [one.stopped for one in made if one.stopped] + [one.error for one in made if one.error]
    return reasons[0] if reasons else None
