"""verl: Parquet rows of questions for reinforcement learning, as its own examples and DeepEyesV2's trainer have them.

`data_source` (the family, or the name of the file), `prompt` (`<image>` in the text for each picture), `images`,
`ability`, `reward_model`, `extra_info`, and `env_name`, which names the environment of DeepEyesV2's trainer and which
verl itself ignores. `extra_info.index` is the identifier of the question; `extra_info.foveal` is JSON text.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from foveal.integrations.formats.dialogue import About, Reject, Task, Unfit, Where, about, first_answer, read_about
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.placeholders import MARK, joined
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
    """The questions of Parquet files, DeepEyesV2's released ones included.

    Raises:
        InputError: There is none.
    """
    return read_rows(source, [".parquet"], list(QUESTIONS), _task)


def _task(where: Where, row: Row) -> Task:
    extra, shown = fields(row, "extra_info"), tuple(pictures(row))
    _check_marks(row.get("prompt"), len(shown))
    known = read_about(extra.get("foveal"))
    if known is None:
        known = About(text=_text(row, extra), gold=_gold(row, extra), family=_name(row.get("data_source")))
    name = where.name if extra.get("index") is None else str(extra["index"])
    return Task(where, name, known.text, shown, known.gold, known.family, known.meta)


def _check_marks(prompt: Any, count: int) -> None:
    said = (
        [message.get("content") for message in prompt if isinstance(message, dict)] if isinstance(prompt, list) else []
    )
    texts = [content for content in said if isinstance(content, str)]
    if texts and (marks := sum(text.count(MARK) for text in texts)) != count:
        raise Unfit(f"{marks} times {MARK} in the prompt for {count} pictures")


def _text(row: Row, extra: Row) -> str:
    """The question itself, or else what the user says."""
    said = extra.get("question")
    if not isinstance(said, str):
        prompt = row.get("prompt")
        users = (
            [m for m in prompt if isinstance(m, dict) and m.get("role") == "user"] if isinstance(prompt, list) else []
        )
        said = users[-1].get("content") if users else None
    if not isinstance(said, str) or not (text := said.replace(MARK, "").strip()):
        raise Unfit("there is no question, neither `extra_info.question` nor a user's message in `prompt`")
    return text


def _gold(row: Row, extra: Row) -> tuple[str, ...]:
    truth = fields(row, "reward_model").get("ground_truth")
    truth = extra.get("answer") if truth is None else truth
    return tuple(str(answer) for answer in (truth if isinstance(truth, list) else [truth]) if answer is not None)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
