"""The command line: one file a verb, imported only when that verb runs.

`foveal --help` imports no command, so it needs neither torch nor a tenth of a second more than the parser itself.
Exit codes: 0 good; 1 it ran but failed; 2 wrong usage, setting or input; 130 interrupted.
"""

import sys
from collections.abc import Sequence

from cyclopts import App
from rich.console import Console

from foveal import __version__
from foveal.cli.common import explain, missing_package, unusable_path
from foveal.errors import FovealError, first_known

app = App(
    name="foveal",
    version=__version__,
    help="A vision-language model that looks at a picture, writes Python, searches, and answers.",
)

COMMANDS = (
    ("demo", "foveal.cli.demo:demo", "Answer held-out questions with the shipped model: no GPU, no key, no network."),
    ("ask", "foveal.cli.ask:ask", "Answer one question about your pictures and show every step."),
    ("serve", "foveal.cli.serve:serve", "Answer OpenAI clients: the agent, its tools included, as if it were a model."),
    ("view", "foveal.cli.view:view", "Draw a saved run as web pages that open from disk."),
    ("score", "foveal.cli.score:score", "Score a saved run again, without its model."),
    ("bench", "foveal.cli.bench:bench", "Run a benchmark with and without tools, or draw a saved one again."),
    ("compare", "foveal.cli.compare:compare", "Is one saved run better than another, or can nobody tell?"),
    ("bench-data", "foveal.cli.bench_data:bench_data", "Build realx-mini, the offline benchmark, into a folder."),
    ("curate", "foveal.cli.curate:app", "From raw question sets to a cold-start set and a set for RL, step by step."),
    ("export", "foveal.cli.export:export", "Write a run or a question set in a format of the field."),
    ("import", "foveal.cli.export:import_", "Turn data of a format of the field into a run or a question set."),
    ("doctor", "foveal.cli.doctor:doctor", "Check sandbox, model, search and endpoint, and say how to fix what fails."),
    ("index", "foveal.cli.index:app", "Build a search index over your own documents and pictures."),
    ("search", "foveal.cli.search:search", "Try a search by hand: a live provider or an index, words or a picture."),
    ("sandbox", "foveal.cli.sandbox:app", "Run a Python file in the sandbox and see what the model would see."),
    ("sft", "foveal.cli.sft:sft", "Cold start: teach a model to use tools from saved trajectories."),
    ("rl", "foveal.cli.rl:rl", "Reinforcement learning: improve a model with its own answers to questions."),
    ("micro", "foveal.cli.micro:app", "Build, train and measure the small model and the world it lives in."),
)
_MORE = {"ask": {"usage": 'Usage: foveal ask PICTURE... "QUESTION" [OPTIONS]'}}
"""Cyclopts cannot tell the last word from those before it."""
for _order, (_name, _path, _help) in enumerate(COMMANDS):
    app.command(_path, name=_name, help=_help, sort_key=_order, **_MORE.get(_name, {}))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code.

    Args:
        argv: Words after the program's name; None for those of the process.

    Raises:
        SystemExit: Always, with the codes of the module docstring. A command returns its own code, or None for 0.
    """
    sys.exit(_run(sys.argv[1:] if argv is None else list(argv)))


def _run(words: list[str]) -> int:
    errors = Console(stderr=True, highlight=False)
    # The parser of markdown would take a third of the time of `foveal --help`, whose texts are one plain line each.
    app.help_format = "markdown" if words and not words[0].startswith("-") else "plaintext"
    try:
        code = app(words, error_console=errors, result_action="return_value")
    except FovealError as error:
        return explain(error, errors)
    except ExceptionGroup as group:  # of questions that were asked at the same time
        known = first_known(group)
        if known is None:
            raise
        return explain(known, errors)
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        return explain(missing, errors)
    except OSError as error:
        unusable = unusable_path(error)
        if unusable is None:
            raise
        return explain(unusable, errors)
    except KeyboardInterrupt:
        errors.print("interrupted", style="yellow")
        return 130
    return code if isinstance(code, int) else 0
