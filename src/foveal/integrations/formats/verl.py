"""verl: Parquet rows of questions for reinforcement learning, as its own examples and DeepEyesV2's trainer have them.

`data_source` (the family, or the name of the file), `prompt` (`<image>` in the text for each picture), `images`,
`ability`, `reward_model`, `extra_info`, and `env_name`, which names the environment of DeepEyesV2's trainer and which
verl itself ignores. `extra_info.index` is the identifier of the question; `extra_info.foveal` is JSON text.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from foveal.curate.rejects import Refused
from foveal.curate.released import check_marks, rl_fields
from foveal.integrations.formats.dialogue import Reject, Task, Unfit, Where, about, first_answer, read_about
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.placeholders import joined
from foveal.integrations.formats.rows import Row, fields, read_rows
from foveal.integrations.formats.shards import BYTES, TEXT, Shards
from foveal.integrations.formats.trl import pictures

QUESTIONS = {
    "data_source": TEXT,
    "prompt": [{"role": TEXT, "content": TEXT}],
    "images": BYTES,
    "ability": TEXT,
    "reward_model": {"style": TEXT, "ground_truth": TEXT},
    "extra_info": {"index": TEXT, "question": TEXT, "answer": TEXT, "split": TEXT, "foveal": TEXT},
    "env_name": TEXT,
}
ENVIRONMENT = "deepeyes_v2"


def write_questions(tasks: Iterable[Task], out: Outbox, system: str | None = None, suffix: str = "") -> None:
    """Write questions as rows of the reinforcement learning data set."""
    with Shards(out.folder, "train", QUESTIONS) as shards:
        for task in tasks:
            with out.row(task.where):
                lines = task.lines(system, suffix)
                answer = first_answer(task)
                shards.write(
                    {
                        # The name of a file may hold bytes that are no UTF-8.
                        "data_source": task.family or task.where.file.stem.encode(errors="replace").decode(),
                        "prompt": [
                            {"role": line.role, "content": content}
                            for line, content in zip(lines, joined(lines), strict=True)
                        ],
                        "images": [{"bytes": picture} for picture in task.pictures],
                        "ability": task.family or "vision",
                        "reward_model": {"style": "rule", "ground_truth": answer},
                        "extra_info": {
                            "index": task.id,
                            "question": task.text,
                            "answer": answer,
                            "split": "train",
                            "foveal": about(task).model_dump_json(),
                        },
                        "env_name": ENVIRONMENT,
                    }
                )


def read(source: Path) -> Iterator[Task | Reject]:
    """The questions of Parquet files, DeepEyesV2's released ones included; read as curation reads them (`rl_fields`).

    Raises:
        InputError: There is none.
    """
    return read_rows(source, [".parquet"], list(QUESTIONS), _task)


def _task(where: Where, row: Row) -> Task:
    extra, shown = fields(row, "extra_info"), tuple(pictures(row))
    known = read_about(extra.get("foveal"))
    try:
        if known is not None:
            check_marks(row)
            name = str(extra.get("index") or where.name)
            return Task(where, name, known.text, shown, known.gold, known.family, known.meta)
        found = rl_fields(row, where.file.stem, answered=False)
    except Refused as refused:
        raise Unfit(refused.message) from None
    return Task(where, found.id or where.name, found.text, shown, found.answers, found.family, {})
