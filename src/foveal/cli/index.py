"""`foveal index`: build a search index over your own files, and try it."""

import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape

from foveal.cli.common import check_writable, open_search, plain, write_json
from foveal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foveal.tools.search.folder import Built
    from foveal.tools.search.walk import Skipped
    from foveal.trajectory import SearchHit

app = App(name="index", help="Build a search index over your own documents and pictures, and try it.")

SHOWN = 5
"""Files named for each reason to skip; the rest are counted."""


@app.command
def build(
    folder: Path,
    *,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Index the documents (.md, .txt, .html, .pdf, .jsonl) and pictures of a folder, or bring its index up to date.

    Args:
        folder: The folder to index, with all folders in it.
        out: The index folder; by default FOLDER.index beside it.
        json_file: Write the counts to this file: documents, pictures, read, unchanged, gone, skipped, seconds.
    """
    from foveal.tools.search.folder import build_index

    _run(build_index, folder, out or folder.resolve().with_name(folder.resolve().name + ".index"), json_file)


@app.command
def add(
    index: Path,
    folder: Path,
    *,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Index one more folder into an index, or bring the part of one of its folders up to date.

    Args:
        index: An index folder.
        folder: The folder to index, with all folders in it. Its name must be another than those of other folders.
        json_file: Write the counts to this file, as foveal index build does.
    """
    from foveal.tools.search.folder import add_folder

    _run(add_folder, folder, index, json_file)


@app.command
def stats(index: Path, *, json_file: Annotated[Path | None, Parameter(name="--json")] = None) -> None:
    """Tell what an index holds.

    Args:
        index: An index folder.
        json_file: Write the figures to this file: documents, pictures, bytes, folders (files of each), pending.
    """
    from foveal.tools.search.folder import index_stats

    check_writable(json_file)
    held = index_stats(index)
    if json_file is not None:
        write_json(json_file, held._asdict())
    console = Console(highlight=False, emoji=False)
    console.print(f"{held.documents} documents and {held.pictures} pictures, {held.bytes / 1e6:.1f} MB", style="bold")
    for name, files in held.folders.items():
        console.print(f"{files} files of {_safe(name)}")
    if held.pending:
        console.print(
            f"{held.pending} files could not be read, or were left by a build that was killed", style="yellow"
        )


@app.command
def embed(index: Path, model: Path) -> None:
    """Prepare the documents of an index for search by meaning; run it again after the index has changed.

    Args:
        index: An index folder.
        model: Folder of a sentence-embedding model, such as all-MiniLM-L6-v2.
    """
    from foveal.tools.search.dense import embed_index
    from foveal.tools.search.embedding import Embedder

    open_search(index)
    console = Console(highlight=False, emoji=False)
    with console.status("reading the model") as status:
        done = embed_index(index, Embedder(model), lambda done: status.update(f"{done} documents"))
    console.print(f"{done} documents embedded", style="bold")


@app.command
def embed_images(index: Path, checkpoint: Path) -> None:
    """Prepare the pictures of an index for search by a vision tower; run it again after the index has changed.

    Args:
        index: An index folder.
        checkpoint: Folder of a Qwen2-VL or Qwen2.5-VL model; only its vision tower is read.
    """
    from foveal.policy.tower import Tower
    from foveal.tools.search.pictures import embed_pictures

    open_search(index)
    console = Console(highlight=False, emoji=False)
    with console.status("reading the model") as status:
        done = embed_pictures(index, Tower(checkpoint), lambda done: status.update(f"{done} pictures"))
    console.print(f"{done} pictures embedded", style="bold")


@app.command
def search(index: Path, query: str, *, k: int = 5, dense: Path | None = None) -> None:
    """Search the documents of an index, as the `search` tool does.

    Args:
        index: An index folder.
        query: Any words.
        k: How many hits.
        dense: Search by meaning too, with the model of this folder (foveal index embed).
    """
    import asyncio

    text = open_search(index, dense).text
    if text is None:
        raise InputError(f"{index} holds pictures only", f"try: foveal index search-image {index} PICTURE")
    print_hits(Console(highlight=False, emoji=False), asyncio.run(text.search(query, k)))


@app.command
def search_image(index: Path, picture: Path, *, k: int = 5, tower: Path | None = None) -> None:
    """Search the pictures of an index by a picture, as the `image_search` tool does.

    Args:
        index: An index folder.
        picture: A picture file.
        k: How many hits.
        tower: Search by the vision tower of this checkpoint folder instead (foveal index embed-images).
    """
    import asyncio

    from foveal.tools.search.loaders import read_picture
    from foveal.trajectory import ImageStore

    if not picture.is_file():
        raise InputError(f"there is no picture {picture}", "name a PNG, JPEG, WebP, GIF, BMP or TIFF file")
    try:
        pixels = read_picture(picture)
    except ValueError as error:
        raise InputError(f"{picture}: {error}", "name a PNG, JPEG, WebP, GIF, BMP or TIFF file") from error
    images = open_search(index, tower=tower).images
    if images is None:
        raise InputError(f"{index} holds documents only", f'try: foveal index search {index} "QUERY"')
    print_hits(Console(highlight=False, emoji=False), asyncio.run(images.search(pixels, k, ImageStore())))


def print_hits(console: Console, hits: "Sequence[SearchHit]") -> None:
    """Print the hits of a search, numbered, or that there are none."""
    if not hits:
        console.print("no hits")
    for number, hit in enumerate(hits, 1):
        score = None if hit.score is None else f"score {hit.score:.4g}"
        about = "  ".join(part for part in (hit.link, hit.date, score) if part)
        title = f"{number}. [bold]{_safe(hit.title)}[/bold]"
        console.print(f"{title}  [dim]{_safe(about)}[/dim]", soft_wrap=True)
        if hit.snippet:
            console.print(f"   {_safe(hit.snippet)}", soft_wrap=True)


def _run(work: "Callable[[Path, Path], Built]", folder: Path, out: Path, json_file: Path | None) -> None:
    """Build or add, and tell what was done."""
    check_writable(json_file)
    console = Console(highlight=False, emoji=False)
    start = time.monotonic()
    with console.status(f"reading {_safe(str(folder))}"):
        built = work(folder, out)
    seconds = round(time.monotonic() - start, 3)
    if json_file is not None:
        write_json(json_file, {**built._asdict(), "skipped": len(built.skipped), "seconds": seconds})
    console.print(f"{built.documents} documents and {built.pictures} pictures in {_safe(str(out))}", style="bold")
    console.print(f"{built.read} files read, {built.unchanged} unchanged, {built.gone} gone, {seconds} s")
    _print_skipped(console, built.skipped)


def _print_skipped(console: Console, skipped: "tuple[Skipped, ...]") -> None:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for path, reason in skipped:
        by_reason[reason].append(path)
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        named = ", ".join(paths[:SHOWN])
        console.print(f"skipped, {_safe(reason)}: {_safe(named)}{more}", style="yellow", soft_wrap=True)


def _safe(text: str) -> str:
    """Text of a user's file, obeyed neither by the terminal nor by rich."""
    return escape(plain(text))
