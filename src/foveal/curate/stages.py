"""Which questions each step lets through, told from verdicts and settings alone: nothing here asks a model.

    all -> check -> difficulty -> benefit -> solved:   window -> rl
                                          -> unsolved: synthesis -> verify -> sft

Every question that a step drops has a reason, and one that the step knows nothing of yet is waiting, not dropped.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from foveal.asking import number_of
from foveal.curate.folder import Folder, Passes, Verdict
from foveal.curate.leaks import verdicts_against
from foveal.curate.lots import by_lot
from foveal.curate.questions import StoredQuestion
from foveal.curate.rejudging import scored_otherwise
from foveal.curate.settings import CurateSettings
from foveal.curate.verification import UNSCORED
from foveal.errors import ConfigError
from foveal.records import scan_run

SOLVED = "solved"
GIVEN_UP = "given up"
"""Of questions that asking for kept failing."""
NO_TEACHERS = "no teachers"
"""Of questions that would wait for ever."""


class Sieved(NamedTuple):
    """What a step did to the questions that it was given."""

    step: str
    kept: list[StoredQuestion]
    dropped: dict[str, str]
    """Question to reason."""
    waiting: list[StoredQuestion]
    """Nothing is known of them yet."""

    @property
    def reasons(self) -> Counter[str]:
        """How many were dropped for what."""
        return Counter(self.dropped.values())


class VerifiedTry(Verdict):
    """What the rules say of one trajectory of a question. `id` is that of the question."""

    teacher: str
    trajectory: str
    """Its id in the run of the teacher."""
    tokens: int
    """That the model wrote, counted or estimated."""
    failures: tuple[str, ...]

    @property
    def unscored(self) -> bool:
        """Whether it waits for a judge."""
        return any(why.startswith(f"{UNSCORED}:") for why in self.failures)


class Verified(Verdict):
    """All trajectories of a question."""

    tries: tuple[VerifiedTry, ...]
    given_up: int = 0
    """Trajectories that there will not be: asking for them kept failing."""

    @property
    def good(self) -> list[VerifiedTry]:
        """Those that may be learned from."""
        return [one for one in self.tries if not one.failures]

    def waits(self, most: int) -> bool:
        """Whether more may come of it: a trajectory has no score, or not all tries were made.

        Args:
            most: Tries of all teachers together.
        """
        made = sum(number_of(one.trajectory) is not None for one in self.tries)
        return made + self.given_up < most or any(one.unscored for one in self.tries)


class Stages:
    """The way of the questions through the steps, as far as they were run.

    Args:
        folder: The curation.
        settings: Thresholds, and which steps are left out.
    """

    def __init__(self, folder: Folder, settings: CurateSettings):
        self.folder, self.settings = folder, settings
        self.questions = folder.questions()

    @cached_property
    def checked(self) -> Sieved:
        """Without repetitions, without what leaks from a benchmark, and without what nobody knows the answer of."""
        checks = "check" not in self.settings.skip and self.folder.has("check")
        verdicts = verdicts_against(self.folder, self.settings.benchmarks) if checks else {}
        known = [one for one in self.questions if one.row.gold]
        sieved = self._sieve("check", known, lambda one: verdicts[one].reason(self.settings.check), verdicts)
        sieved.dropped.update((one.row.id, "no answer") for one in self.questions if not one.row.gold)
        return sieved

    @cached_property
    def hard(self) -> Sieved:
        """Those that the student does not answer without tools."""
        most, samples = self.settings.difficulty.most_right, self.settings.difficulty.samples
        found = self._passes("difficulty", samples)

        def why(one: str) -> str | None:
            return GIVEN_UP if found[one].given_up else "too easy" if found[one].right > most else None

        return self._sieve("difficulty", self.checked.kept, why, found)

    @cached_property
    def unsolved(self) -> Sieved:
        """Those that the student does not solve with tools either: for the cold start."""
        found, least = self._passes("benefit", self.settings.benefit.samples), self.settings.benefit.least_right

        def why(one: str) -> str | None:
            return GIVEN_UP if found[one].given_up else SOLVED if found[one].right >= least else None

        return self._sieve("benefit", self.hard.kept, why, found)

    @cached_property
    def solved(self) -> list[StoredQuestion]:
        """Those that it solves with tools."""
        dropped = self.unsolved.dropped
        return [one for one in self.hard.kept if dropped.get(one.row.id) == SOLVED]

    @cached_property
    def asked(self) -> list[StoredQuestion]:
        """Those that teachers are asked: all that are unsolved, or as many by lot."""
        return by_lot(self.unsolved.kept, self.settings.synthesis.most_questions, self.settings.seed, "synthesis")

    @cached_property
    def verified(self) -> Sieved:
        """Those that have a trajectory to learn from."""
        most = len(self.settings.teachers) * self.settings.synthesis.samples
        found = {name: one for name, one in self.tries.items() if one.good or not one.waits(most)}
        sieved = _split("verify", self.asked, lambda one: None if found[one].good else _why(found[one]), set(found))
        if self.settings.teachers:
            return sieved
        unasked = {one.row.id: NO_TEACHERS for one in sieved.waiting}
        return sieved._replace(dropped=sieved.dropped | unasked, waiting=[])

    @cached_property
    def tries(self) -> dict[str, Verified]:
        """What was found out about the trajectories of each question."""
        return self.folder.verdicts("verify", Verified)

    def in_window(self, learned: set[str]) -> Sieved:
        """Those for reinforcement learning.

        Args:
            learned: Questions of the cold-start set; they are never in both.
        """
        window = self.settings.window
        if window.student is None:
            candidates, step, samples = self.solved, "benefit", self.settings.benefit.samples
        else:
            candidates, step, samples = self.for_window(learned), "window", window.samples
        if "window" in self.settings.skip:
            return Sieved("window", list(candidates), {}, [])
        found = self._passes(step, samples)

        def why(one: str) -> str | None:
            rate = found[one].rate
            if found[one].given_up:
                return GIVEN_UP
            return "too hard" if rate < window.lowest else "too easy with tools" if rate > window.highest else None

        return _split("window", candidates, why, set(found))

    def for_window(self, learned: set[str]) -> list[StoredQuestion]:
        """Those that the model is asked that reinforcement learning starts from."""
        return [one for one in self.hard.kept if one.row.id not in learned]

    def _passes(self, step: str, samples: int) -> dict[str, Passes]:
        """Verdicts that are whole: as many samples as the settings want, all of them scored or given up.

        Raises:
            ConfigError: They count more samples than the settings want, or others than their reward have scored them.
        """
        if step in self.settings.skip:
            return {}
        found = self.folder.verdicts(step, Passes)
        fix = f"run foveal curate {step} again: it counts what is there, and asks nobody"
        if (most := max((one.tries for one in found.values()), default=0)) > samples:
            raise ConfigError(f"{step} has counted {most} samples, and {step}.samples is {samples} now", fix)
        first = next(scan_run(self.folder.run(step)), None)
        if first is not None and scored_otherwise(first, self.settings.reward):
            raise ConfigError(f"the answers of {step} were scored by another [reward] than that of now", fix)
        return {name: one for name, one in found.items() if one.samples + one.given_up >= samples}

    def _sieve(
        self,
        step: str,
        questions: Sequence[StoredQuestion],
        why: Callable[[str], str | None],
        known: Iterable[str],
    ) -> Sieved:
        """Split questions by what a step says of them.

        Raises:
            ConfigError: The step was not run at all, and is not to be skipped.
        """
        if step in self.settings.skip:
            return Sieved(step, list(questions), {}, [])
        if not self.folder.has(step):
            raise ConfigError(
                f"step {step} was not run in {self.folder.path}", f'run foveal curate {step}, or skip = ["{step}"]'
            )
        return _split(step, questions, why, set(known))


def _split(step: str, questions: Sequence[StoredQuestion], why: Callable[[str], str | None], known: set[str]) -> Sieved:
    sieved = Sieved(step, [], {}, [])
    for question in questions:
        name = question.row.id
        if name not in known:
            sieved.waiting.append(question)
        elif (reason := why(name)) is not None:
            sieved.dropped[name] = reason
        else:
            sieved.kept.append(question)
    return sieved


def _why(verified: Verified) -> str:
    """The rule that the best trajectory broke."""
    fewest = min(verified.tries, key=lambda one: len(one.failures), default=None)
    return fewest.failures[0].partition(":")[0] if fewest is not None else GIVEN_UP
