"""Reasoning without pictures and tools, for the cold start: question, solution and answer become one turn.

    long-cot/source/             the rows as they were taken in (`curate.sources`), with what was set aside
    long-cot/trajectories.jsonl  a run folder
    long-cot/rejects.jsonl       the rows that are not learned, and why

The paper mixes such rows into the cold start (81.6 % of it, figure 9): they teach long thought, which short tool
trajectories do not.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from foveal.curate.added import AddedFigures
from foveal.curate.adding import REJECTS, add_sources
from foveal.curate.folder import Folder, Verdict
from foveal.curate.leaks import check
from foveal.curate.questions import StoredQuestion
from foveal.curate.sampling import remember
from foveal.curate.sets import LONG_COT, leaking, source_of
from foveal.curate.settings import CurateSettings
from foveal.errors import ConfigError
from foveal.files import write_whole
from foveal.protocol import Profile, opening
from foveal.records import RunWriter, scan_run
from foveal.trajectory import Question, StopReason, Trajectory, Turn

TAGS = ("<think>", "</think>", "<answer>", "</answer>", "<code>", "<tool_call>")
"""Of the protocol: a solution that holds one would be read as something else."""


class Taken(NamedTuple):
    """What became of the rows."""

    added: AddedFigures
    kept: int
    """Trajectories."""
    refused: Mapping[str, int]
    """Rows that are no single turn of reasoning, or leak, by reason."""


class Refusal(Verdict):
    """A row that is not learned; a line of `rejects.jsonl`."""

    reason: str


def take_reasoning(folder: Folder, settings: CurateSettings, profile: Profile) -> Taken:
    """Read the sources of `long_cot` and write a trajectory for every row that can be one.

    What leaks from a benchmark is told here, and left out where the set is written (`leaking`), so that thresholds can
    be changed afterwards.

    Raises:
        ConfigError: No source is named, or the folder was made from others, or with another prompt.
        InputError: A benchmark cannot be read, or no row can be kept.
    """
    if not settings.long_cot.sources:
        raise ConfigError("long_cot names no sources", "add [[long_cot.sources]] with columns.reasoning")
    source = source_of(folder)
    away = f"move {folder.run(LONG_COT)} away, and run foveal curate long-cot again: nobody is asked for it"
    added = add_sources(source.path, settings.long_cot.sources, otherwise=away)
    check(source.path, settings.benchmarks)
    refused = leaking(folder, settings)
    remember(folder.run(LONG_COT), {"profile": profile.name, "prompt_sha256": profile.prompt_hash(())})
    with RunWriter(folder.run(LONG_COT), resume=True) as writer:
        done = {trajectory.id for trajectory in scan_run(folder.run(LONG_COT))}
        for name, made in _trajectories(source.questions(), profile):
            if isinstance(made, str):
                refused[name] = made
            elif name not in done:
                writer.write(made)
    lines = [Refusal(id=name, reason=why).model_dump_json() + "\n" for name, why in sorted(refused.items())]
    write_whole(folder.run(LONG_COT) / REJECTS, "".join(lines))
    return Taken(added, added.kept - len(refused), Counter(refused.values()))


def _trajectories(questions: list[StoredQuestion], profile: Profile) -> Iterator[tuple[str, Trajectory | str]]:
    """Each row with its trajectory, or why there is none."""
    for question in questions:
        row, solution = question.row, question.row.meta.get("reasoning")
        if not isinstance(solution, str) or not solution.strip():
            yield row.id, "no reasoning"
        elif row.images:
            yield row.id, "has pictures"
        elif not row.gold:
            yield row.id, "no answer"
        elif any(tag in solution or tag in row.gold[0] for tag in TAGS):
            yield row.id, "holds tags of the protocol"
        else:
            text = f"<think>{solution.strip()}</think>\n<answer>{row.gold[0]}</answer>"
            meta = {key: value for key, value in row.meta.items() if key != "reasoning"}
            trajectory = Trajectory(
                id=row.id,
                question=Question(id=row.id, text=row.text, gold=row.gold, family=row.family, meta=meta),
                policy=LONG_COT,
                profile=profile.name,
                prompt=opening(profile, row.text, (), ()),
                turns=(Turn(text=text),),
                answer=row.gold[0],
                stop_reason=StopReason.ANSWERED,
                reward={"accuracy": 1.0},
            )
            yield row.id, trajectory
