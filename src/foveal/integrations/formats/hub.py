"""The Hugging Face hub: a folder that `datasets.load_dataset(folder)` reads at once, and the card that goes with it.

Runs have messages as `trl` has them, and the facts to filter by as columns of their own. The card says how large it
is; its licence says `unknown` until its owner writes which.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from foveal.integrations.formats.dialogue import About, Dialogue, Reject, Task, Unfit, Where, about, read_about
from foveal.integrations.formats.outbox import Outbox
from foveal.integrations.formats.rows import Row, read_rows
from foveal.integrations.formats.shards import IMAGES, MESSAGES, NUMBER, TEXT, Shards
from foveal.integrations.formats.trl import columns, dialogue, name_of, pictures

CARD = "README.md"
_FACTS = {"question": TEXT, "gold": [TEXT], "family": TEXT}
RUN = {
    **{"id": TEXT, "messages": MESSAGES, "images": IMAGES},
    **_FACTS,
    **{"answer": TEXT, "stop_reason": TEXT, "policy": TEXT, "profile": TEXT, "reward": NUMBER, "foveal": TEXT},
}
QUESTIONS = {"id": TEXT, "images": IMAGES, **_FACTS, "foveal": TEXT}
_COLUMNS = ("id", "messages", "images", "image", "question", "gold", "answer", "family", "foveal")


def write_trajectories(dialogues: Iterable[Dialogue], out: Outbox) -> None:
    """Write conversations, and the card."""
    with Shards(out.folder, "train", RUN) as shards:
        for one in dialogues:
            with out.row(one.where):
                shards.write({"id": one.id, **columns(one), **_facts(one)})
    _write_card(out.folder, shards, "conversations of a model with tools", "image-text-to-text")


def write_questions(tasks: Iterable[Task], out: Outbox, system: str | None = None, suffix: str = "") -> None:
    """Write questions, and the card."""
    with Shards(out.folder, "train", QUESTIONS) as shards:
        for task in tasks:
            with out.row(task.where):
                facts = {"question": task.text, "gold": list(task.gold), "family": task.family}
                images = [{"bytes": picture} for picture in task.pictures]
                shards.write({"id": task.id, "images": images, **facts, "foveal": about(task).model_dump_json()})
    _write_card(out.folder, shards, "questions about pictures", "visual-question-answering")


def read(source: Path) -> Iterator[Dialogue | Task | Reject]:
    """Conversations (rows with `messages`) or questions (rows with `question`) of Parquet files.

    Raises:
        InputError: There is none.
    """
    return read_rows(source, [".parquet"], _COLUMNS, _item)


def _facts(one: Dialogue) -> Row:
    label = one.label
    if label is None:
        return {}
    return {
        "question": label.text,
        "gold": list(label.gold),
        "family": label.family,
        "answer": label.answer,
        "stop_reason": label.stop_reason.value,
        "policy": label.policy,
        "profile": label.profile,
        "reward": label.reward.get("total"),
    }


def _item(where: Where, row: Row) -> Dialogue | Task:
    return _task(where, row) if row.get("messages") is None else dialogue(where, row)


def _task(where: Where, row: Row) -> Task:
    known = read_about(row.get("foveal"))
    if known is None:
        text, gold, family = row.get("question"), row.get("gold", row.get("answer")), row.get("family")
        if not isinstance(text, str) or not text:
            raise Unfit("there are neither `messages` nor a `question`")
        answers = gold if isinstance(gold, list) else [] if gold is None else [gold]
        known = About(text=text, gold=tuple(map(str, answers)), family=None if family is None else str(family))
    return Task(where, name_of(row, where), known.text, tuple(pictures(row)), known.gold, known.family, known.meta)


def _write_card(folder: Path, shards: Shards, what: str, category: str) -> None:
    written = sum(path.stat().st_size for path in folder.glob("data/*.parquet"))
    card = f"""\
---
license: unknown
task_categories:
- {category}
size_categories:
- {_size_category(shards.rows)}
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
dataset_info:
  splits:
  - name: train
    num_bytes: {shards.bytes}
    num_examples: {shards.rows}
  download_size: {written}
  dataset_size: {shards.bytes}
---
# {shards.rows} {what}

Written by `foveal export --to hub-folder`. Read it with `datasets.load_dataset("PATH OR NAME")`, or turn it back into
foveal's own records with `foveal import --from hub-folder`. The column `foveal` is JSON text with what has no column of
its own.

The licence is that of the pictures and texts it was made from: write it into the header above before you publish.
"""
    (folder / CARD).write_text(card, encoding="utf-8")


def _size_category(rows: int) -> str:
    """The hub's name for a size."""
    if rows < 1000:
        return "n<1K"
    steps = ["1K", "10K", "100K", "1M", "10M"]
    power = min(len(str(rows)) - 4, len(steps) - 2)
    return f"{steps[power]}<n<{steps[power + 1]}"
