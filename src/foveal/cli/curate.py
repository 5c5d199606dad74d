"""`foveal curate`: from raw question sets to a cold-start set and a set for reinforcement learning, step by step."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console

from foveal.cli.asked import asking_bar, open_asked, open_limiter, open_profile
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
from foveal.curate.settings import AskedSettings, CurateSettings, PromptSettings
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.asking import Asked
    from foveal.asking import Progress as Made
    from foveal.curate.folder import Folder
    from foveal.curate.questions import StoredQuestion
    from foveal.curate.stages import Sieved
    from foveal.policy.base import Policy
    from foveal.policy.paid import Ledger

Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
JsonFile = Annotated[Path | None, Parameter(name="--json")]
Figures = dict[str, "JsonValue"]

app = App(
    name="curate",
    help="From raw question sets to a cold-start set and a set for reinforcement learning, step by step.\n\n"
    "Every step takes --config FILE and --folder DIR, can be killed and started again, and writes what it found out "
    "about each question, so that thresholds can be changed later. docs/curation.md goes through them.",
)


@app.command
def add(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> None:
    """Read the raw question sets of the settings into the folder, checked row by row.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings (docs/curation.md).
        folder: Folder of the curation; made if it is not there.
        json_file: Write the figures to this file: rows_in, rows_out, dropped.<reason>.
    """
    from foveal.curate.adding import add_sources

    chosen, curation, console = _begin(settings, config, folder, json_file)
    if not chosen.sources:
        raise ConfigError(f"{config} names no sources", "add [[sources]] with name and path")
    with logs():
        added = add_sources(curation.path, chosen.sources, chosen.pictures)
    rows, dropped = sum(source.rows for source in added.sources), dict(added.rejected)
    _tell(console, json_file, _figures("sources", rows, added.kept, dropped))
    if dropped:
        console.print(f"what was set aside, and why: {curation.path / 'rejects.jsonl'}", soft_wrap=True, markup=False)


@app.command
def check(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> None:
    """Find repetitions, and questions or pictures that leak from a benchmark.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: rows_in, rows_out, dropped.<reason>.
    """
    from foveal.curate import leaks
    from foveal.curate.stages import Stages

    chosen, curation, console = _begin(settings, config, folder, json_file)
    with logs():
        leaks.check(curation.path, chosen.benchmarks)
    _tell(console, json_file, _sieved(Stages(curation, chosen).checked))


@app.command
def difficulty(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> int:
    """Ask the student every question without tools, several times; what it answers is too easy.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: rows_in, rows_out, waiting, dropped.<reason>, made, failed, ...
    """
    from foveal.curate.stages import Stages

    chosen, curation, console = _begin(settings, config, folder, json_file)
    questions = Stages(curation, chosen).checked.kept
    prompt = chosen.difficulty.prompt or chosen.prompt
    figures = _sample(curation, "difficulty", chosen, chosen.student, prompt, False, questions)
    return _tell(console, json_file, _sieved(Stages(curation, chosen).hard) | figures)


@app.command
def benefit(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> int:
    """Ask the student the hard questions with tools; what it solves goes to RL, the rest to the cold start.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file; rows_out counts what is not solved, dropped.solved the rest.
    """
    from foveal.curate.stages import Stages

    chosen, curation, console = _begin(settings, config, folder, json_file)
    questions = Stages(curation, chosen).hard.kept
    figures = _sample(curation, "benefit", chosen, chosen.student, chosen.prompt, True, questions)
    return _tell(console, json_file, _sieved(Stages(curation, chosen).unsolved) | figures)


@app.command
def synthesize(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> int:
    """Let the teachers answer what the student did not solve, with the real tools, within the ceiling.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: rows_in, rows_out, made, failed, calls, tokens, money, ...
    """
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = _begin(settings, config, folder, json_file)
    if not chosen.teachers:
        raise ConfigError(f"{config} names no teachers", "add [[teachers]] with name and policy")
    questions = Stages(curation, chosen).asked
    with logs():
        figures = asyncio.run(_synthesize(curation, chosen, questions))
    judge(curation, chosen, questions)
    return _tell(console, json_file, _sieved(Stages(curation, chosen).verified) | figures)


@app.command
def verify(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> int:
    """Judge the teachers' trajectories by the rules again, after a rule was changed.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: rows_in, rows_out, waiting, dropped.<rule>.
    """
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = _begin(settings, config, folder, json_file)
    judge(curation, chosen, Stages(curation, chosen).asked)
    return _tell(console, json_file, _sieved(Stages(curation, chosen).verified))


@app.command
def long_cot(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> None:
    """Take in reasoning without pictures and tools, to be mixed into the cold start.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: rows_in, rows_out, dropped.<reason>.
    """
    from foveal.curate.longcot import take_reasoning

    chosen, curation, console = _begin(settings, config, folder, json_file)
    with logs():
        taken = take_reasoning(curation, chosen, open_profile(chosen.prompt))
    rows = sum(source.rows for source in taken.added.sources)
    _tell(console, json_file, _figures("long-cot", rows, taken.kept, {**taken.added.rejected, **taken.refused}))


@app.command
def window(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> int:
    """Ask the model that RL starts from the questions that the cold start did not learn, with tools.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation; the cold-start set is there (foveal curate split).
        json_file: Write the figures to this file: rows_in, rows_out, waiting, dropped.<reason>, made, failed, ...
    """
    from foveal.curate.split import Placed
    from foveal.curate.stages import Stages

    chosen, curation, console = _begin(settings, config, folder, json_file)
    if chosen.window.student is None:
        raise ConfigError("window names no student of its own: the samples of benefit count", "run curate split")
    if not curation.has("split"):
        raise ConfigError("the cold-start set is not cut yet", "run foveal curate split, and foveal sft on it")
    learned = {name for name, one in curation.verdicts("split", Placed).items() if one.set == "sft"}
    questions = Stages(curation, chosen).for_window(learned)
    figures = _sample(curation, "window", chosen, chosen.window.student, chosen.prompt, True, questions)
    return _tell(console, json_file, _sieved(Stages(curation, chosen).in_window(learned)) | figures)


@app.command
def split(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> None:
    """Write the sets: FOLDER/sft for foveal sft, FOLDER/rl for foveal rl.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation.
        json_file: Write the figures to this file: sft.train, sft.held_out, long_cot.train, rl.train, rl.held_out, ...
    """
    from foveal.curate.split import split as cut
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = _begin(settings, config, folder, json_file)
    if curation.has("verify"):  # a rule or the teachers may have changed since
        judge(curation, chosen, Stages(curation, chosen).asked)
    sets = cut(curation, chosen)
    figures: Figures = {"step": "split", "waiting": sets.waiting}
    for name, counts in (("sft", sets.sft), ("long_cot", sets.long_cot), ("rl", sets.rl)):
        figures |= {f"{name}.{part}": count for part, count in counts.items()}
    _tell(console, json_file, figures)


@app.command
def card(*settings: Words, config: Path, folder: Path, json_file: JsonFile = None) -> None:
    """Write what the folder holds, as far as it has come: README.md for the hub, page.html to look at, card.json.

    Args:
        settings: Settings by name, behind the other words.
        config: TOML file of the settings.
        folder: Folder of the curation; the three files are written anew.
        json_file: Write the figures to this file: questions, <step>.rows_in, <step>.dropped.<reason>, sft.train, ...
    """
    from foveal.curate.card import collect, write_card
    from foveal.view import render_curation

    chosen, curation, console = _begin(settings, config, folder, json_file)
    with logs():
        found = collect(curation, chosen)
    written = write_card(curation, found), render_curation(curation.path)
    figures: Figures = {"step": "card", "questions": found.questions}
    for stage in found.stages:
        of_step = _figures(stage.step, stage.rows_in, stage.rows_out, stage.dropped, stage.waiting)
        figures |= {f"{stage.step}.{name}": value for name, value in of_step.items() if name != "step"}
    figures |= {f"{one.set}.{one.part}": one.rows for one in found.sets}
    _tell(console, json_file, figures)
    for file in written:
        console.print(str(file), soft_wrap=True, markup=False)


def _begin(
    words: Sequence[str], config: Path, folder: Path, json_file: Path | None
) -> tuple[CurateSettings, "Folder", Console]:
    from foveal.curate.folder import Folder
    from foveal.reward.score import check_settings

    check_writable(json_file)
    chosen = read_settings(CurateSettings, config, read_flags(words))
    check_settings(chosen.reward)
    return chosen, Folder(folder), Console(highlight=False, emoji=False)


def _sample(
    curation: "Folder",
    step: str,
    chosen: CurateSettings,
    who: AskedSettings | None,
    prompt: PromptSettings,
    tools: bool,
    questions: "Sequence[StoredQuestion]",
) -> Figures:
    """Run a sampling step."""
    from foveal.curate.folder import LEDGER, Passes
    from foveal.curate.sampling import count_left, sample
    from foveal.policy.paid import Ceiling, Ledger

    if who is None:
        raise ConfigError(f"step {step} needs a student", 'add [student] with policy = "..."')
    samples: int = getattr(chosen, step).samples
    policy, run = open_asked(who), curation.run(step)

    async def work() -> Figures:
        left = count_left(curation, step, questions, samples)
        with contextlib.closing(Ledger(run / LEDGER, {policy.name: who.price}, Ceiling())) as ledger:
            async with _asked(policy, who, chosen, prompt, tools, run, ledger) as asked:
                with asking_bar(step, left, ledger) as advance:
                    made = await sample(curation, step, asked, questions, samples, advance)
            figures = _made([made], ledger)
        if unscored := sum(one.unscored for one in curation.verdicts(step, Passes).values()):
            figures["stopped"] = figures["stopped"] or f"{unscored} answers have no score: run foveal score {run} first"
        return figures

    with logs():
        return asyncio.run(work())


async def _synthesize(curation: "Folder", chosen: CurateSettings, questions: "Sequence[StoredQuestion]") -> Figures:
    from foveal.curate.folder import LEDGER
    from foveal.curate.synthesis import SYNTHESIS, synthesize
    from foveal.policy.paid import Ledger

    run, policies = curation.run(SYNTHESIS), {who.name: open_asked(who) for who in chosen.teachers}
    prices = {policies[who.name].name: who.price for who in chosen.teachers}
    for who in chosen.teachers:
        if who.price != prices[model := policies[who.name].name]:
            raise ConfigError(f"two teachers ask the model {model!r} at different prices", "give them the same price")
    with contextlib.closing(Ledger(run / LEDGER, prices, chosen.synthesis.ceiling)) as ledger:
        async with contextlib.AsyncExitStack() as stack:
            teachers = {}
            for who in chosen.teachers:
                asked = _asked(policies[who.name], who, chosen, chosen.prompt, True, run, ledger)
                teachers[who.name] = await stack.enter_async_context(asked)
            most = len(questions) * len(teachers) * chosen.synthesis.samples
            with asking_bar("synthesis", most, ledger) as advance:
                made = await synthesize(curation, chosen, teachers, questions, advance)
        return _made(list(made.values()), ledger)


@contextlib.asynccontextmanager
async def _asked(
    policy: "Policy",
    who: AskedSettings,
    chosen: CurateSettings,
    prompt: PromptSettings,
    tools: bool,
    run: Path,
    ledger: "Ledger",
) -> "AsyncIterator[Asked]":
    """Somebody to ask, with tools that are closed behind him."""
    from foveal.asking import Asked
    from foveal.bench.scores import infrastructure
    from foveal.reward.judge import open_judge
    from foveal.reward.score import scorer
    from foveal.tools.opening import OpenedTools, open_tools
    from foveal.tools.session import Tools

    if (rate := who.requests_per_minute) and who.concurrency * chosen.limits.max_turns * 60 / rate > (
        wall := chosen.limits.wall_seconds
    ):
        raise ConfigError(
            f"at {rate:g} requests a minute, {who.concurrency} trajectories of up to {chosen.limits.max_turns} turns "
            f"would wait longer for one another than limits.wall_seconds ({wall:g}), and count as wrong",
            "lower concurrency, or raise limits.wall_seconds",
        )
    opened = open_tools(chosen.tools, who.concurrency) if tools else OpenedTools(Tools(), None)
    judge = (
        open_judge(chosen.reward.judge, os.environ.get(JUDGE_KEY) or api_key(), run) if chosen.reward.judge else None
    )
    try:
        if opened.sandbox is not None:
            await opened.sandbox.probe()  # rather now than at the first call of a model
        yield Asked(
            policy=policy,
            tools=opened.tools,
            profile=open_profile(prompt),
            limits=chosen.limits,
            temperature=who.temperature,
            concurrency=who.concurrency,
            seed=chosen.seed,
            score=scorer(chosen.reward, judge),
            ledger=ledger if is_endpoint(who.policy) else None,
            limiter=open_limiter(who),
            failed=infrastructure,  # a search or a sandbox that is down says nothing about the question
        )
    finally:
        if opened.sandbox is not None:
            await opened.sandbox.aclose()


def _made(made: "Sequence[Made]", ledger: "Ledger") -> Figures:
    """What a session made and spent."""
    figures: Figures = {"made": sum(one.made for one in made), "failed": sum(one.failed for one in made)}
    stopped = [one.stopped for one in made if one.stopped] or [one.error for one in made if one.error]
    spent = ledger.spent
    figures |= {"calls": spent.calls, "tokens": spent.tokens, "money": round(spent.money, 6)}
    return figures | {"stopped": stopped[0] if stopped else None}


def _figures(step: str, rows_in: int, rows_out: int, dropped: Mapping[str, int], waiting: int = 0) -> Figures:
    counts: Figures = {f"dropped.{reason}": count for reason, count in dropped.items()}
    return {"step": step, "rows_in": rows_in, "rows_out": rows_out, "waiting": waiting, **counts}


def _sieved(sieved: "Sieved") -> Figures:
    rows = len(sieved.kept) + len(sieved.dropped) + len(sieved.waiting)
    return _figures(sieved.step, rows, len(sieved.kept), sieved.reasons, len(sieved.waiting))


def _tell(console: Console, json_file: Path | None, figures: Figures) -> int:
    """Show and write the figures.

    Returns:
        The exit code: 1 if something is left to be done.
    """
    if json_file is not None:
        write_json(json_file, figures)
    for name, value in figures.items():
        if name not in ("step", "stopped"):
            console.print(f"{value!s:>10}  {plain(name)}", soft_wrap=True, markup=False)
    if left := figures.get("stopped"):
        console.print(f"not everything was answered: {plain(str(left))}", style="yellow", soft_wrap=True, markup=False)
        console.print("run the command again to go on", style="yellow")
    return 1 if left else 0
