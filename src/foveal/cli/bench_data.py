"""`foveal bench-data`: build the benchmark that foveal makes itself."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.asked import counting_bar
from foveal.cli.common import check_writable, write_json


def bench_data(
    name: Literal["realx-mini"],
    out: Path,
    *,
    split: Literal["real", "counterfactual"] = "real",
    seed: int = 0,
    n: Annotated[int, Parameter(validator=Number(gte=1))] = 300,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Build an offline benchmark into a folder: questions, pictures, and what there is to search.

    Args:
        name: The benchmark; docs/realx-mini.md says what it asks.
        out: A new folder.
        split: The world as it is, or with edited facts, which no model can know by heart.
        seed: Of the questions; published figures are those of seed 0.
        n: The first so many of its 300 questions.
        json_file: Write the figures to this file: questions, documents, pictures.
    """
    from foveal.bench.realxmini.build import build

    check_writable(json_file)
    console = Console(highlight=False, emoji=False)
    with counting_bar(f"building {name}", n) as advance:
        built = build(out, split, seed, n, on_done=advance)
    console.print(f"{built.questions} questions, {built.documents} documents, {built.pictures} pictures to search")
    command = f"foveal bench {name} --policy URL --data {out} --tools.search {out}/index"
    console.print(f"run it: {command}", soft_wrap=True, markup=False)
    if json_file is not None:
        write_json(json_file, {"questions": built.questions, "documents": built.documents, "pictures": built.pictures})
