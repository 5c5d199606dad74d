"""The micro world as files that any command takes: questions with pictures, index, prompt.

out/questions.jsonl   the question set (`foveal.curate.questions`)
out/pictures/         its scenes
out/index/            what the tools search
out/system.txt        the system prompt
out/suffix.txt        what follows every question
out/suffix-plain.txt  what follows it where no tools are offered
"""

from collections.abc import Callable
from pathlib import Path

from foveal.curate.questions import QuestionRow
from foveal.errors import InputError
from foveal.files import replacing
from foveal.micro import world
from foveal.micro.questions import SYSTEM, WITH_TOOLS, WITHOUT_TOOLS, facts_of, sample

QUESTIONS, PICTURES, INDEX = "questions.jsonl", "pictures", "index"


def write_world(out: Path, split: str, count: int, seed: int, on_done: Callable[[], None] = lambda: None) -> Path:
    """Write `count` questions of a split, and all that belongs to them; return the question set.

    Raises:
        InputError: The folder holds a world already.
    """
    if (out / QUESTIONS).exists() or (out / INDEX).exists():
        raise InputError(f"{out} already holds a world", "name another folder")
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    world.build(out / INDEX, facts_of(split))
    (out / "system.txt").write_text(SYSTEM, encoding="utf-8")
    (out / "suffix.txt").write_text(WITH_TOOLS, encoding="utf-8")
    (out / "suffix-plain.txt").write_text(WITHOUT_TOOLS, encoding="utf-8")
    rows = []
    for index, item in enumerate(sample(split, count, seed)):
        picture = f"{PICTURES}/{index:06d}.png"
        item.scene.image.save(out / picture, compress_level=1)
        rows.append(
            QuestionRow(
                id=f"{split}-{seed}-{index}",
                text=item.text,
                images=(picture,),
                gold=(item.gold,),
                family=item.family,
                meta=item.meta,
            )
        )
        on_done()
    # The question set comes last: where it is, everything is.
    with replacing(out / QUESTIONS) as file:
        file.writelines(f"{row.model_dump_json()}\n" for row in rows)
    return out / QUESTIONS
