"""`foveal compare`: is one saved run better than another, or can these questions not tell?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

from foveal.cli.common import check_writable, logs, plain, write_json

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.bench.answers import Pair

SHOWN = 20
"""Flipped questions that are shown by name; --json has all."""


def compare(
    first: Path,
    second: Path,
    *,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Say whether the second of two saved runs is better than the first, on the questions that both answered.

    Args:
        first: Folder of a benchmark run, or a run folder in it: RUN/without-tools.
        second: The same.
        json_file: Write the figures to this file; docs/bench.md says what each means.
    """
    from foveal.bench.answers import compare_runs

    check_writable(json_file)
    with logs():
        pair = compare_runs(first, second)
    console = Console(highlight=False, emoji=False)
    if json_file is not None:
        write_json(json_file, figures(pair))
    for number, line in enumerate(describe(pair, first, second)):
        console.print(plain(line), style="bold" if number == 0 else None, soft_wrap=True, markup=False)


def figures(pair: "Pair") -> "dict[str, JsonValue]":
    """What `--json` writes."""
    from foveal.bench.report import smallest_difference, verdict

    found = pair.comparison
    return {
        "verdict": verdict(found), "n": found.n, "left_out": pair.left_out,
        "first": found.first, "second": found.second,
        "difference": found.difference, "low": found.low, "high": found.high,
        "p": found.p, "test": found.test, "interval": found.interval, "clustered": pair.clustered,
        "detectable": smallest_difference(pair), "differ": list(pair.differ),
        "gained": [flip._asdict() for flip in found.gained], "lost": [flip._asdict() for flip in found.lost],
    }  # fmt: skip


def describe(pair: "Pair", first: Path, second: Path) -> list[str]:
    """The comparison in plain words, the verdict first."""
    from foveal.bench.report import smallest_difference, verdict

    found = pair.comparison
    said = {
        "better": f"{second} is better than {first}.",
        "worse": f"{second} is worse than {first}.",
        "cannot tell": f"Cannot tell: on these {found.n:,} questions {second} may be better or worse than {first}.",
    }[verdict(found)]
    test = "exact McNemar test" if found.test == "mcnemar" else "permutation test"
    interval = "Newcombe's" if found.interval == "newcombe" else "bootstrap"
    together = ", questions about one picture counted together" if pair.clustered else ""
    lines = [
        said,
        f"{100 * found.first:.1f} % and {100 * found.second:.1f} %: {100 * found.difference:+.1f} points",
        f"95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f} points ({interval}); p = {found.p:.3g} "
        f"({test}{together})",
    ]
    smallest = smallest_difference(pair)
    if smallest is not None:
        lines.append(f"smallest difference that {found.n:,} such questions show in 4 of 5 runs: "
                     f"{100 * smallest:.1f} points")  # fmt: skip
    else:
        lines.append(f"too few of the {found.n:,} questions flipped to say which difference they would show")
    if pair.left_out:
        lines.append(f"left out: {pair.left_out:,} questions that only one of the runs has a score for")
    if pair.differ:
        lines.append(f"the runs differ in: {', '.join(pair.differ)}")
    for what, flips in (("gained", found.gained), ("lost", found.lost)):
        names = ", ".join(flip.id for flip in flips[:SHOWN])
        more = f" and {len(flips) - SHOWN} more" if len(flips) > SHOWN else ""
        lines.append(f"{what}: {len(flips):,}" + (f" ({names}{more})" if flips else ""))
    return lines
