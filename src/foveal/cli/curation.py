"""What the commands of `foveal curate` share: settings, asking students and teachers, figures."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich.console import Console

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
from foveal.curate.settings import AskedSettings, CurateSettings, PromptSettings
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from foveal.asking import Asked
    from foveal.asking import Progress as Made
    from foveal.curate.folder import Folder
    from foveal.curate.questions import StoredQuestion
    from foveal.curate.rejudging import Score
    from foveal.curate.stages import Sieved, Verified
    from foveal.policy.base import Policy
    from foveal.policy.paid import Ledger

Words = Annotated[str, Parameter(show=False, allow_leading_hyphen=True)]
Config = Annotated[Path, Parameter(help="TOML file of the settings.")]
InFolder = Annotated[Path, Parameter(help="Folder of the curation; foveal curate add makes it.")]
JsonFile = Annotated[Path | None, Parameter(name="--json", help="Write the figures to this file.")]
Figures = dict[str, "JsonValue"]


def begin(
    words: Sequence[str], config: Path, folder: Path, json_file: Path | None
) -> tuple[CurateSettings, "Folder", Console]:
    """Settings, folder and console of a step, before any work is done.

    Raises:
        ConfigError: The settings cannot be used.
        InputError: The figures could not be written.
        MissingDependency: A rule of the reward needs a package that is not installed.
    """
    from foveal.curate.folder import Folder
    from foveal.reward.score import check_settings

    check_writable(json_file)
    chosen = read_settings(CurateSettings, config, read_flags(words))
    check_settings(chosen.reward)
    return chosen, Folder(folder), Console(highlight=False, emoji=False)


def run_sampling(
    curation: "Folder",
    step: str,
    chosen: CurateSettings,
    who: AskedSettings | None,
    prompt: PromptSettings,
    tools: bool,
    questions: "Sequence[StoredQuestion]",
) -> Figures:
    """Ask the student, as far as it was not asked before, and write the verdicts.

    Args:
        curation: The folder.
        step: `difficulty`, `benefit` or `window`.
        chosen: The settings.
        who: The student.
        prompt: How it is asked.
        tools: Whether it has tools.
        questions: Those that the earlier steps let through.

    Raises:
        ConfigError: There is no student, or another one was asked before.
    """
    from foveal.curate.asked import open_asked
    from foveal.curate.folder import LEDGER, Passes
    from foveal.curate.rejudging import rejudge
    from foveal.curate.sampling import count_left, sample
    from foveal.policy.paid import Ceiling, Ledger

    if who is None:
        raise ConfigError(f"step {step} needs a student", 'add [student] with policy = "..."')
    samples: int = getattr(chosen, step).samples
    policy, run = open_asked(who, chosen.limits), curation.run(step)

    async def work() -> Figures:
        left = count_left(curation, step, questions, samples)
        with contextlib.closing(Ledger(run / LEDGER, {policy.name: who.price}, Ceiling())) as ledger:
            async with _asked(policy, who, chosen, prompt, tools, run, ledger) as asked:
                again = await rejudge(run, chosen.reward, asked.score, before=lambda: curation.forget(step))
                with asking_bar(step, left, ledger) as advance:
                    made = await sample(curation, step, asked, questions, samples, advance)
            figures = {"scored_again": again, **_made([made], ledger)}
        if unscored := sum(one.unscored for one in curation.verdicts(step, Passes).values()):
            figures["stopped"] = figures["stopped"] or f"{unscored} answers have no score: run foveal score {run} first"
        return figures

    with logs():
        return asyncio.run(work())


async def run_synthesis(curation: "Folder", chosen: CurateSettings, questions: "Sequence[StoredQuestion]") -> Figures:
    """Let all teachers of the settings answer, within the ceiling.

    What they have answered must be scored by the reward of the settings: `score_again`.

    Raises:
        ConfigError: Two teachers ask one model at different prices, or a teacher is another one than before.
    """
    from foveal.curate.asked import open_asked
    from foveal.curate.folder import LEDGER
    from foveal.curate.synthesis import SYNTHESIS, count_left, synthesize
    from foveal.policy.paid import Ledger

    run, policies = curation.run(SYNTHESIS), {who.name: open_asked(who, chosen.limits) for who in chosen.teachers}
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
            with asking_bar("synthesis", count_left(curation, chosen, questions), ledger) as advance:
                made = await synthesize(curation, chosen, teachers, questions, advance)
        return _made(list(made.values()), ledger)


def score_again(curation: "Folder", chosen: CurateSettings) -> Figures:
    """Score what the teachers have answered by the reward of the settings, where another one has scored it."""
    from foveal.curate.rejudging import rejudge
    from foveal.curate.synthesis import SYNTHESIS, run_of

    async def work() -> int:
        score = _scorer(chosen, curation.run(SYNTHESIS))
        return sum([await rejudge(run_of(curation, who.name), chosen.reward, score) for who in chosen.teachers])

    with logs():
        return {"scored_again": asyncio.run(work())}


def unscored(curation: "Folder", found: "Mapping[str, Verified]") -> str | None:
    """What is to be done about trajectories of teachers that no judge could score; None without any."""
    from foveal.curate.synthesis import run_of

    waiting = Counter(one.teacher for verified in found.values() for one in verified.tries if one.unscored)
    if not waiting:
        return None
    runs = " and ".join(f"foveal score {run_of(curation, teacher)}" for teacher in sorted(waiting))
    return f"{waiting.total()} answers have no score: run {runs} first"


def _scorer(chosen: CurateSettings, run: Path) -> "Score":
    """Puts the reward of the settings onto trajectories; verdicts of a judge are kept in the run folder."""
    from foveal.reward.judge import open_judge
    from foveal.reward.score import scorer

    if chosen.reward.judge is None:
        return scorer(chosen.reward)
    return scorer(chosen.reward, open_judge(chosen.reward.judge, os.environ.get(JUDGE_KEY) or api_key(), run))


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
    from foveal.curate.asked import open_profile
    from foveal.policy.tower import Tower
    from foveal.policy.weights import checkpoint_digest
    from foveal.tools.opening import OpenedTools, open_tools
    from foveal.tools.session import Tools

    opened = open_tools(chosen.tools, who.concurrency, Tower) if tools else OpenedTools(Tools(), None)
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
            score=_scorer(chosen, run),
            ledger=ledger if is_endpoint(who.policy) else None,
            weights=None if is_endpoint(who.policy) else checkpoint_digest(Path(who.policy)),
            failed=infrastructure,  # what is down or slow says nothing about the question
        )
    finally:
        if opened.sandbox is not None:
            await opened.sandbox.aclose()


def _made(made: "Sequence[Made]", ledger: "Ledger") -> Figures:
    """What a session made and spent."""
    figures: Figures = {name: sum(getattr(one, name) for one in made) for name in ("made", "failed", "given_up")}
    stopped = [one.stopped for one in made if one.stopped] or [one.error for one in made if one.error]
    spent = ledger.spent
    figures |= {"calls": spent.calls, "tokens": spent.tokens, "money": round(spent.money, 6)}
    return figures | {"stopped": stopped[0] if stopped else None}


def step_figures(step: str, rows_in: int, rows_out: int, dropped: Mapping[str, int], waiting: int = 0) -> Figures:
    """Rows of a step: in, out, waiting, and dropped by reason."""
    counts: Figures = {f"dropped.{reason}": count for reason, count in dropped.items()}
    return {"step": step, "rows_in": rows_in, "rows_out": rows_out, "waiting": waiting, **counts}


def sieved_figures(sieved: "Sieved") -> Figures:
    """Rows of a step that let some questions through."""
    rows = len(sieved.kept) + len(sieved.dropped) + len(sieved.waiting)
    return step_figures(sieved.step, rows, len(sieved.kept), sieved.reasons, len(sieved.waiting))


def tell(console: Console, json_file: Path | None, figures: Figures) -> int:
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
