"""`foveal micro`: build, train and measure the small model and the world it lives in."""

import asyncio
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from foveal.cli.asked import counting_bar
from foveal.cli.common import check_writable, logs, open_policy, shipped_policy, write_json
from foveal.errors import ConfigError
from foveal.micro import BEST, CHECKPOINTS, checkpoint_folder
from foveal.micro.settings import QUICK_STUDY, ColdStartSettings, PretrainSettings, StudySettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foveal.micro.questions import Item
    from foveal.trajectory import Trajectory

app = App(name="micro", help="Build, train and measure the small model and the world it lives in.")

Flat = Parameter(name="*")
JsonFile = Annotated[Path | None, Parameter(name="--json")]
Split = Literal["train", "test", "counterfactual"]


@app.command
def pretrain(
    run: Path,
    *,
    resume: bool = False,
    json_file: JsonFile = None,
    settings: Annotated[PretrainSettings, Flat] | None = None,
) -> None:
    """Train the base model from scratch: it sees and talks, and knows no tools.

    Args:
        run: Folder of the run; the checkpoint ends up in RUN/base.
        resume: Go on with an interrupted run.
        json_file: Write to this file where the checkpoint is: checkpoint.
        settings: See docs/micro.md for how long this takes.
    """
    from foveal.micro.pretrain import Pretraining

    check_writable(json_file)
    _check_run(run / "state.pt", resume)
    console = Console(highlight=False)
    folder = Pretraining(settings or PretrainSettings(), run, console.print).run()
    _report(folder, console, json_file)


@app.command
def sft(
    run: Path,
    *,
    base: Path | None = None,
    resume: bool = False,
    json_file: JsonFile = None,
    settings: Annotated[ColdStartSettings, Flat] | None = None,
) -> None:
    """Cold start: let two teachers answer training questions with the real tools, and learn what they got right.

    Args:
        run: Folder of the run; the checkpoint ends up in RUN/sft.
        base: Checkpoint to start from; by default the shipped base model.
        resume: Go on with an interrupted run.
        json_file: Write to this file where the checkpoint is: checkpoint.
        settings: See docs/micro.md for how long this takes.
    """
    from foveal.micro.coldstart import TEACHER, cold_start

    check_writable(json_file)
    _check_run(run / TEACHER, resume)
    console = Console(highlight=False)
    start = base or checkpoint_folder("base")
    with logs():
        folder = cold_start(settings or ColdStartSettings(), start, run, resume, console.print)
    _report(folder, console, json_file)


@app.command
def bench(
    *,
    policy: str = BEST,
    split: Split = "test",
    n: Annotated[int, Parameter(validator=Number(gte=1))] = 400,
    seed: int = 0,
    run: Path | None = None,
    json_file: JsonFile = None,
) -> None:
    """Ask held-out questions and print accuracy by family with 95 % intervals.

    Args:
        policy: A shipped checkpoint with tools (rl, sft), the base model without (base) or with them (base-tools), or a
            checkpoint folder, with tools.
        split: Questions about other countries than in training (test), or the same with edited facts.
        n: Questions, the five families in turn.
        seed: Of the questions.
        run: Save the trajectories into this new folder.
        json_file: Write the figures to this file: n, accuracy, low, high, code_error_rate, calls_per_question,
            call_rate, answered, seconds_per_question, and family.NAME.n/accuracy/low/high/call_rate.
    """
    from foveal.micro.bench import figures
    from foveal.micro.questions import sample

    check_writable(json_file)
    console = Console(highlight=False)
    named = {"base-tools": "base"}.get(policy, policy)
    items = [(f"{split}-{seed}-{index}", item) for index, item in enumerate(sample(split, n, seed))]
    with tempfile.TemporaryDirectory(prefix="foveal-bench-") as scratch:
        trajectories = asyncio.run(
            _asked(named, items, split, run or Path(scratch) / "run", Path(scratch), console, policy != "base")
        )
    numbers = figures(trajectories)
    console.print(table(numbers, f"{policy} on {split}, n = {n}, seed {seed}"))
    if json_file is not None:
        write_json(json_file, numbers)


@app.command
def study(
    run: Path,
    *,
    base: Path | None = None,
    quick: bool = False,
    jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    known: Path | None = None,
    page: Path | None = None,
    json_file: JsonFile = None,
    settings: Annotated[StudySettings | None, Flat] = None,
) -> None:
    """Does reinforcement learning need a cold start? The paper's central experiment: six arms, several seeds.

    Hours on a CPU. The same command goes on with an interrupted study.

    Args:
        run: Folder of the study.
        base: Checkpoint that all arms start from; by default the shipped base model.
        quick: All parts in ten minutes, far too small to show anything; no other settings go with it.
        jobs: Arms under way at once, each in a process with its share of the cores.
        known: Figures of the same study, made elsewhere: the .json beside its page. What it tells is not done again.
        page: Folder for the page, its plots and its data; by default RUN/page.
        json_file: Write the figures to this file: for every arm and seed ARM.SEED.accuracy, .call_rate,
            .family.NAME.accuracy, .family.NAME.call_rate, .alarms, .curve.METRIC and more.
        settings: See docs/micro.md.
    """
    from foveal.micro.study import run_study, take_over
    from foveal.micro.studypage import missing, write_page

    check_writable(json_file)
    if quick and settings is not None:
        raise ConfigError("--quick has settings of its own", "leave it out, or the others")
    console = Console(highlight=False)
    chosen = QUICK_STUDY if quick else settings or StudySettings()
    start = base or checkpoint_folder("base")
    if known is not None:
        taken = take_over(chosen, start, run, known)
        console.print(f"done elsewhere: {', '.join(taken) or 'nothing more'}", soft_wrap=True, markup=False)
    figures = run_study(chosen, start, run, jobs)
    if undone := missing(figures):
        console.print(f"no page yet: {', '.join(undone)} are still to be run", soft_wrap=True, markup=False)
    else:
        command = shlex.join(["foveal", *sys.argv[1:]])
        console.print(f"page: {write_page(figures, command, page or run / 'page')}", soft_wrap=True, markup=False)
    if json_file is not None:
        write_json(json_file, figures)


@app.command
def scenes(
    out: Path, *, n: Annotated[int, Parameter(validator=Number(gte=1))] = 5, split: Split = "test", seed: int = 0
) -> None:
    """Write scenes to try `foveal ask` on, and print a question and its answer for each.

    Args:
        out: Folder for the pictures.
        n: How many, the five families in turn.
        split: Whose countries appear.
        seed: Of the questions.
    """
    from foveal.micro.questions import sample

    console = Console(highlight=False)
    out.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(sample(split, n, seed)):
        path = out / f"{split}-{seed}-{index}.png"
        item.scene.image.save(path)
        console.print(f'foveal ask {path} "{item.text}"', soft_wrap=True)
        console.print(f"  answer: {item.gold}", style="dim")


@app.command(name="world")
def write_world(
    out: Path, *, n: Annotated[int, Parameter(validator=Number(gte=1))] = 4000, split: Split = "train", seed: int = 2
) -> None:
    """Write questions with their pictures, the search index and the prompt, as foveal rl takes them.

    Args:
        out: A new folder; questions.jsonl, pictures, index, system.txt and suffix.txt end up in it.
        n: Questions, the five families in turn.
        split: Countries of training (train) or of the tests (test), or those with edited facts (counterfactual).
        seed: Of the questions; the teacher of the cold start answers those of seed 1.
    """
    from foveal.micro.questionset import write_world as write

    console = Console(highlight=False)
    with counting_bar("drawing", n) as advance:
        questions = write(out, split, n, seed, advance)
    console.print(f"{n} questions: {questions}", soft_wrap=True, markup=False)


@app.command
def teachers(
    *,
    n: Annotated[int, Parameter(validator=Number(gte=1))] = 4000,
    split: Split = "train",
    seed: int = 2,
    port: Annotated[int, Parameter(validator=(Number(gte=0), Number(lte=65535)))] = 8100,
) -> None:
    """Serve the teachers as models of an OpenAI-compatible endpoint, to try foveal curate without a key or a bill.

    They know the questions that foveal micro world writes with the same --n, --split and --seed. End with Ctrl-C.

    Args:
        n: Questions that they know.
        split: Whose countries these are about.
        seed: Of the questions.
        port: On 127.0.0.1; 0 takes a free one.
    """
    from foveal.micro.endpoint import TEACHERS, TeacherServer

    console = Console(highlight=False)
    with TeacherServer(split, n, seed, port) as server:
        console.print(f"models {' and '.join(TEACHERS)} at {server.url}; end with Ctrl-C", soft_wrap=True)
        server.serve_forever()


def table(numbers: "Mapping[str, float]", title: str) -> Table:
    """Figures of `micro.bench.figures` as a table."""
    out = Table(title=title, title_justify="left")
    for name in ("family", "n", "accuracy", "95 % interval"):
        out.add_column(name, justify="left" if name == "family" else "right")
    families = [key.split(".")[1] for key in numbers if key.endswith(".accuracy")]
    for family in (*families, ""):
        prefix = f"family.{family}." if family else ""
        value, low, high = (100 * numbers[prefix + key] for key in ("accuracy", "low", "high"))
        row = (family or "all", f"{numbers[prefix + 'n']:.0f}", f"{value:.1f} %", f"{low:.1f} - {high:.1f} %")
        out.add_row(*row, style=None if family else "bold")
    errors, calls = numbers["code_error_rate"], numbers["calls_per_question"]
    out.caption = f"code errors {100 * errors:.1f} % of cells, {calls:.2f} tool calls a question"
    return out


async def _asked(
    named: str,
    items: "Sequence[tuple[str, Item]]",
    split: str,
    run: Path,
    scratch: Path,
    console: Console,
    with_tools: bool,
) -> "list[Trajectory]":
    from foveal.micro import world
    from foveal.micro.bench import ask_all
    from foveal.micro.questions import facts_of
    from foveal.records import RunWriter
    from foveal.tools.sandbox import LocalSandbox

    world.build(scratch / "index", facts_of(split))
    async with LocalSandbox() as sandbox:
        tools = world.tools(scratch / "index", sandbox) if with_tools else None
        with RunWriter(run) as writer, counting_bar("asking", len(items)) as advance:
            policy = shipped_policy(named) if named in CHECKPOINTS else open_policy(named, None)
            return await ask_all(policy, items, tools, writer, on_done=lambda _: advance())


def _report(checkpoint: Path, console: Console, json_file: Path | None) -> None:
    console.print(f"checkpoint: {checkpoint}", soft_wrap=True, markup=False)
    if json_file is not None:
        write_json(json_file, {"checkpoint": str(checkpoint)})


def _check_run(begun: Path, resume: bool) -> None:
    if begun.exists() and not resume:
        raise ConfigError(f"{begun.parent} already holds a run", "go on with it: --resume, or name another folder")
    if resume and not begun.exists():
        raise ConfigError(f"{begun.parent} holds no run to go on with", "leave --resume out")
