"""`foveal curate`: from raw question sets to a cold-start set and a set for reinforcement learning, step by step."""

import asyncio
import itertools

from cyclopts import App

from foveal.cli.asked import reading_bar
from foveal.cli.common import logs, plain
from foveal.cli.curation import (
    Config,
    Figures,
    InFolder,
    JsonFile,
    Words,
    begin,
    run_sampling,
    run_synthesis,
    score_again,
    sieved_figures,
    step_figures,
    tell,
    unscored,
)
from foveal.errors import ConfigError

app = App(
    name="curate",
    help_epilogue="Every step takes --config FILE and --folder DIR, can be killed and started again, and writes what "
    "it found out about each question, so that thresholds can be changed later. Any setting can be given as a flag, "
    "too, behind the other words: --difficulty.most-right 3. docs/curation.md goes through the steps.\n\n"
    "--json FILE gets rows_in, rows_out, waiting and dropped.REASON; where a model is asked also made, failed, "
    "scored_again, given_up, calls, tokens, money and stopped.",
)


@app.command
def add(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> None:
    """Read the raw question sets of the settings into the folder, checked row by row."""
    from foveal.curate.adding import add_sources

    chosen, curation, console = begin(settings, config, folder, json_file)
    if not chosen.sources:
        raise ConfigError(f"{config} names no sources", "add [[sources]] with name and path")
    with logs(), reading_bar("sources") as tell_bar:
        rows_read = itertools.count(1)
        added = add_sources(curation.path, chosen.sources, chosen.pictures, lambda progress: tell_bar(next(rows_read)))
    rows, dropped = sum(source.rows for source in added.sources), dict(added.rejected)
    tell(console, json_file, step_figures("sources", rows, added.kept, dropped))
    if dropped:
        console.print(f"what was set aside, and why: {curation.path / 'rejects.jsonl'}", soft_wrap=True, markup=False)


@app.command
def check(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> None:
    """Find repetitions, and questions or pictures that leak from a benchmark."""
    from foveal.curate import leaks
    from foveal.curate.stages import Stages

    chosen, curation, console = begin(settings, config, folder, json_file)
    with logs(), reading_bar("check", curation.count()) as tell_bar:
        leaks.check(curation.path, chosen.benchmarks, tell_bar)
    tell(console, json_file, sieved_figures(Stages(curation, chosen).checked))


@app.command
def difficulty(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Ask the student every question without tools, several times; what it answers is too easy."""
    from foveal.curate.stages import Stages

    chosen, curation, console = begin(settings, config, folder, json_file)
    questions = Stages(curation, chosen).checked.kept
    prompt = chosen.difficulty.prompt or chosen.prompt
    figures = run_sampling(curation, "difficulty", chosen, chosen.student, prompt, False, questions)
    return tell(console, json_file, sieved_figures(Stages(curation, chosen).hard) | figures)


@app.command
def benefit(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Ask the student the hard questions with tools; what it solves goes to RL, the rest to the cold start."""
    from foveal.curate.stages import Stages

    chosen, curation, console = begin(settings, config, folder, json_file)
    questions = Stages(curation, chosen).hard.kept
    figures = run_sampling(curation, "benefit", chosen, chosen.student, chosen.prompt, True, questions)
    return tell(console, json_file, sieved_figures(Stages(curation, chosen).unsolved) | figures)


@app.command
def synthesize(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Let the teachers answer what the student did not solve, with the real tools, within the ceiling."""
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = begin(settings, config, folder, json_file)
    if not chosen.teachers:
        raise ConfigError(f"{config} names no teachers", "add [[teachers]] with name and policy")
    questions = Stages(curation, chosen).asked
    figures = score_again(curation, chosen)
    with logs():
        figures |= asyncio.run(run_synthesis(curation, chosen, questions))
    found = judge(curation, chosen, questions)
    figures["stopped"] = figures["stopped"] or unscored(curation, found)
    return tell(console, json_file, sieved_figures(Stages(curation, chosen).verified) | figures)


@app.command
def verify(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Judge the teachers' trajectories by the rules and the reward again, after one was changed."""
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = begin(settings, config, folder, json_file)
    questions = Stages(curation, chosen).asked
    figures = score_again(curation, chosen)
    figures["stopped"] = unscored(curation, judge(curation, chosen, questions))
    return tell(console, json_file, sieved_figures(Stages(curation, chosen).verified) | figures)


@app.command
def long_cot(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> None:
    """Take in reasoning without pictures and tools, to be mixed into the cold start."""
    from foveal.curate.asked import open_profile
    from foveal.curate.longcot import take_reasoning

    chosen, curation, console = begin(settings, config, folder, json_file)
    with logs():
        taken = take_reasoning(curation, chosen, open_profile(chosen.prompt))
    rows = sum(source.rows for source in taken.added.sources)
    tell(console, json_file, step_figures("long-cot", rows, taken.kept, {**taken.added.rejected, **taken.refused}))


@app.command
def window(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Ask the model that RL starts from the questions that the cold start did not learn, with tools."""
    from foveal.curate.split import Placed
    from foveal.curate.stages import Stages

    chosen, curation, console = begin(settings, config, folder, json_file)
    if chosen.window.student is None:
        raise ConfigError("window names no student of its own: the samples of benefit count", "run curate split")
    if not curation.has("split"):
        raise ConfigError("the cold-start set is not cut yet", "run foveal curate split, and foveal sft on it")
    learned = {name for name, one in curation.verdicts("split", Placed).items() if one.set == "sft"}
    questions = Stages(curation, chosen).for_window(learned)
    figures = run_sampling(curation, "window", chosen, chosen.window.student, chosen.prompt, True, questions)
    return tell(console, json_file, sieved_figures(Stages(curation, chosen).in_window(learned)) | figures)


@app.command
def split(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> int:
    """Write the sets: FOLDER/sft for foveal sft, FOLDER/rl for foveal rl. Questions that wait are in neither: code 1.

    --json FILE gets waiting, the rows of each set (sft.train, sft.held_out, rl.train, rl.held_out), and how many of
    those of sft are reasoning alone (long_cot.train, long_cot.held_out).
    """
    from foveal.curate.split import split as cut
    from foveal.curate.stages import Stages
    from foveal.curate.synthesis import verify as judge

    chosen, curation, console = begin(settings, config, folder, json_file)
    if curation.has("verify"):  # a rule, the reward or the teachers may have changed since
        questions = Stages(curation, chosen).asked
        score_again(curation, chosen)
        judge(curation, chosen, questions)
    sets = cut(curation, chosen)
    figures: Figures = {"step": "split", "waiting": sum(sets.waiting.values())}
    for name, counts in (("sft", sets.sft), ("long_cot", sets.long_cot), ("rl", sets.rl)):
        figures |= {f"{name}.{part}": count for part, count in counts.items()}
    tell(console, json_file, figures)
    for change in sets.changed:
        console.print(f"cut anew: {plain(change)}", style="yellow", soft_wrap=True, markup=False)
    for step, count in sets.waiting.items():
        left = f"{count} questions wait: run foveal curate {step}, and split again"
        console.print(left, style="yellow", soft_wrap=True, markup=False)
    return 1 if sets.waiting else 0


@app.command
def card(*settings: Words, config: Config, folder: InFolder, json_file: JsonFile = None) -> None:
    """Write what the folder holds, as far as it has come: README.md for the hub, page.html to look at, card.json.

    --json FILE gets questions, <step>.rows_in and so on of every step, and the rows of the sets as split tells them.
    """
    from foveal.curate.card import collect, write_card
    from foveal.view import render_curation

    chosen, curation, console = begin(settings, config, folder, json_file)
    with logs():
        found = collect(curation, chosen)
    written = write_card(curation, found), render_curation(curation.path)
    figures: Figures = {"step": "card", "questions": found.questions}
    for stage in found.stages:
        of_step = step_figures(stage.step, stage.rows_in, stage.rows_out, stage.dropped, stage.waiting)
        figures |= {f"{stage.step}.{name}": value for name, value in of_step.items() if name != "step"}
    figures |= {f"{one.set}.{one.part}": one.rows for one in found.sets}
    figures |= {f"long_cot.{one.part}": one.reasoning for one in found.sets if one.set == "sft"}
    tell(console, json_file, figures)
    for file in written:
        console.print(str(file), soft_wrap=True, markup=False)
