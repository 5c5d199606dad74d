"""`foveal demo`: held-out questions, the shipped model, the real sandbox and search."""

import asyncio
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import check_writable, plain, shipped_policy, write_json

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.trajectory import Trajectory

GLYPHS = {"code": "code", "search": "text search", "image_search": "image search"}


def demo(
    *,
    n: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    seed: int = 0,
    run: Path | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> int:
    """Answer held-out questions with the shipped model: no GPU, no key, no network.

    The questions are the first of the micro world's test split: scenes that were never seen, about countries that
    occur in no training question. Nothing is recorded beforehand.

    Args:
        n: Questions, the five families in turn.
        seed: Of the questions.
        run: Save into this new folder; by default runs/demo-TIME.
        json_file: Write asked, correct, seconds and page to this file.
    """
    check_writable(json_file)
    console = Console(highlight=False)
    folder = run or Path("runs") / f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
    started = time.monotonic()
    trajectories = asyncio.run(_answer(n, seed, folder, console))
    seconds = time.monotonic() - started
    _summary(trajectories, seconds, console)

    from foveal.view import render_run

    page = render_run(folder).resolve()
    console.print(f"every step, with pictures: {page}", soft_wrap=True, markup=False)
    if json_file is not None:
        correct = sum(trajectory.reward["accuracy"] == 1.0 for trajectory in trajectories)
        figures: dict[str, JsonValue] = {
            "asked": len(trajectories),
            "correct": correct,
            "seconds": round(seconds, 2),
            "page": str(page),
        }
        write_json(json_file, figures)
    return 0


async def _answer(n: int, seed: int, folder: Path, console: Console) -> "list[Trajectory]":
    from foveal.micro import BEST, world
    from foveal.micro.bench import ask_all
    from foveal.micro.facts import countries
    from foveal.micro.questions import sample
    from foveal.records import RunWriter
    from foveal.tools.sandbox import LocalSandbox

    with tempfile.TemporaryDirectory(prefix="foveal-demo-") as scratch, console.status("opening the model"):
        policy = shipped_policy(BEST)
        world.build(Path(scratch), countries())
        async with LocalSandbox() as sandbox:
            console.print(
                f"{n} questions about new pictures; code runs in a sandbox (isolation: {await sandbox.probe()})"
            )
            items = [(f"test-{seed}-{index}", item) for index, item in enumerate(sample("test", n, seed))]
            with RunWriter(folder) as writer:
                return await ask_all(
                    policy, items, world.tools(Path(scratch), sandbox), writer, on_done=lambda t: _show(t, console)
                )


def _show(trajectory: "Trajectory", console: Console) -> None:
    right = trajectory.reward["accuracy"] == 1.0
    used = [GLYPHS.get(turn.call.tool, turn.call.tool) for turn in trajectory.turns if turn.call is not None]
    console.print(f"\n[bold]{trajectory.question.text}[/bold]")
    console.print(f"  {' > '.join(used) or 'no tool'}", style="dim", markup=False)
    answer = plain(trajectory.answer) if trajectory.answer is not None else f"no answer ({trajectory.stop_reason})"
    mark, style = ("right", "green") if right else (f"wrong: it is {trajectory.question.gold[0]}", "red")
    console.print(f"  {answer}  ({mark})", style=style, markup=False)


def _summary(trajectories: "list[Trajectory]", seconds: float, console: Console) -> None:
    from foveal.micro.bench import figures
    from foveal.micro.questions import FAMILIES

    numbers = figures(trajectories)
    console.print()
    for family in FAMILIES:
        if asked := int(numbers.get(f"family.{family}.n", 0)):
            right = round(numbers[f"family.{family}.accuracy"] * asked)
            console.print(f"  {family:<12} {right} of {asked} right")
    right = round(numbers["accuracy"] * len(trajectories))
    console.print(f"  [bold]{'all':<12} {right} of {len(trajectories)} right[/bold] in {seconds:.0f} s")
