"""A curation folder: questions, what the steps found out about each of them, and the sets that come out.

    questions.jsonl, pictures/   the questions (`curate.sources`), with sources.json and rejects.jsonl
    difficulty/, benefit/, ...   run folders: every answer that a model gave
    verdicts/<step>.jsonl        one line a question: what the step found out, in the order of the questions
    sft/, rl/                    the sets (`curate.split`)

Verdicts hold what was measured, never what was decided: thresholds are settings, and are applied anew each time.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from foveal.curate.questions import StoredQuestion, read_questions
from foveal.errors import InputError, RecordError
from foveal.files import write_whole
from foveal.trajectory import Record

QUESTIONS = "questions.jsonl"
VERDICTS = "verdicts"
LEDGER = "ledger.sqlite"
"""In the run folder of every step that asks an endpoint (`policy.paid`)."""


class Verdict(Record):
    """What a step found out about a question."""

    id: str
    """Of the question."""


class Passes(Verdict):
    """How often a model was right in the first so many answers."""

    samples: int
    """Answers that were scored."""
    right: int
    unscored: int = 0
    """Answers that wait for a judge."""
    given_up: int = 0
    """Answers that there will not be: asking for them kept failing."""

    @property
    def tries(self) -> int:
        """Answers that were asked for, with or without success."""
        return self.samples + self.unscored + self.given_up

    @property
    def rate(self) -> float:
        """Share of right answers; 0 without any."""
        return self.right / self.samples if self.samples else 0.0


VerdictT = TypeVar("VerdictT", bound=Verdict)


class Folder:
    """A curation folder.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path):
        self.path = path

    def questions(self) -> list[StoredQuestion]:
        """The questions, in order.

        Raises:
            InputError: There are none yet, or they cannot be read.
        """
        file = self.path / QUESTIONS
        if not file.is_file():
            raise InputError(f"{self.path} holds no questions yet", "take some in first: foveal curate add")
        return read_questions([file])

    def count(self) -> int:
        """How many questions there are; 0 if there are none yet."""
        file = self.path / QUESTIONS
        if not file.is_file():
            return 0
        with file.open("rb") as lines:
            return sum(1 for line in lines if line.strip())

    def run(self, step: str) -> Path:
        """The run folder of a step."""
        return self.path / step

    def has(self, step: str) -> bool:
        """Whether a step has given its verdicts."""
        return self._file(step).is_file()

    def verdicts(self, step: str, kind: type[VerdictT]) -> dict[str, VerdictT]:
        """What a step found out, by question; empty if it was not run.

        Raises:
            RecordError: The file cannot be read as written.
        """
        file = self._file(step)
        if not file.is_file():
            return {}
        found = {}
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    verdict = kind.model_validate_json(line)
                except ValidationError as error:
                    raise RecordError(
                        f"{file} line {number} is no verdict: {error.errors()[0]['msg']}", "run the step again"
                    ) from error
                found[verdict.id] = verdict
        return found

    def forget(self, step: str) -> None:
        """Take away what a step found out: it has to be run again."""
        self._file(step).unlink(missing_ok=True)

    def write_verdicts(self, step: str, verdicts: Iterable[Verdict]) -> None:
        """Put the verdicts of a step in place of those that there are; whole or not at all."""
        write_whole(self._file(step), "".join(f"{verdict.model_dump_json()}\n" for verdict in verdicts))

    def _file(self, step: str) -> Path:
        return self.path / VERDICTS / f"{step}.jsonl"
