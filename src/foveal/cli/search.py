"""`foveal search`: one search by hand, as the model's tools do it, with a live provider or in an index."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import check_writable, live_settings, logs, open_search, open_searches, write_json
from foveal.cli.index import print_hits
from foveal.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from pydantic import JsonValue


def search(
    query: str | None = None,
    *,
    image: Path | None = None,
    box: str | None = None,
    provider: str | None = None,
    index: Path | None = None,
    visit: str | None = None,
    k: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Search for words or for a picture, or read a page, as the model's tools do.

    Args:
        query: Words to search for.
        image: A picture to search for, in place of words.
        box: Search for this part of the picture: x0,y0,x1,y1 in pixels.
        provider: A live provider: serper, serpapi, brave, tavily, exa or searxng, its key in the environment; or a TOML
            file of settings.
        index: An index folder made by foveal index build, in place of a provider.
        visit: The address of a page to read, in place of a search.
        k: How many hits; by default 5, or as the settings say.
        json_file: Write the hits to this file.
    """
    check_writable(json_file)
    if visit is not None:
        if query or image or provider or index:
            raise InputError("a page is read without searching", "give --visit URL alone")
        return _visit(visit, json_file)
    if bool(query and query.strip()) == (image is not None):
        raise InputError(
            "name words or a picture to search for", 'foveal search "QUERY", or: foveal search --image FILE'
        )
    if (provider is None) == (index is None):
        raise InputError("name a provider or an index", "--provider NAME, or --index DIR")
    if provider is not None and live_settings(provider) is None:
        raise InputError(f"there is no search provider {provider}", "see foveal search --help for those there are")
    picture = _picture(image, box)
    searches = open_searches(provider) if index is None else open_search(index)
    wanted = k or searches.k
    console = Console(highlight=False, emoji=False)
    start = time.monotonic()
    with logs(), console.status("searching"):
        if picture is None:
            if searches.text is None:
                raise InputError(f"{index} holds pictures only", f"try: foveal search --image FILE --index {index}")
            hits = asyncio.run(searches.text.search(query or "", wanted))
        else:
            if searches.images is None:
                why = searches.no_images or f"{index} holds documents only"
                raise InputError(why, "see docs/search.md for what search by picture needs")
            from foveal.trajectory import ImageStore

            hits = asyncio.run(searches.images.search(picture, wanted, ImageStore()))
    seconds = round(time.monotonic() - start, 3)
    print_hits(console, hits)
    if json_file is not None:
        result: dict[str, JsonValue] = {
            "from": provider or str(index),
            "query": query,
            "image": None if image is None else str(image),
            "box": box,
            "k": wanted,
            "seconds": seconds,
            "hits": [hit.model_dump(mode="json") for hit in hits],
        }
        write_json(json_file, result)


def _visit(url: str, json_file: Path | None) -> None:
    """Read a page and print it."""
    from foveal.tools.search.settings import VisitSettings
    from foveal.tools.search.visit import open_visitor

    console = Console(highlight=False, emoji=False)
    reader = open_visitor(VisitSettings())
    with logs(), console.status("reading"):
        page = asyncio.run(reader.visit(url))
    print_hits(console, [page])
    if json_file is not None:
        write_json(json_file, {"from": reader.name, "url": url, "hits": [page.model_dump(mode="json")]})


def _picture(file: Path | None, box: str | None) -> "Image.Image | None":
    """The picture of a file, or the part of it that the box cuts out."""
    if file is None:
        if box is not None:
            raise InputError("--box cuts out a part of a picture, and there is none", "name one: --image FILE")
        return None
    from foveal.agent import load_picture

    picture = load_picture(file)
    if box is None:
        return picture
    try:
        x0, y0, x1, y1 = (int(side) for side in box.split(","))
    except ValueError:
        raise InputError(f"{box!r} is no box", "write it as --box x0,y0,x1,y1 in pixels") from None
    if not (0 <= x0 < x1 <= picture.width and 0 <= y0 < y1 <= picture.height):
        raise InputError(
            f"the box {box} does not lie in the picture", f"it has {picture.width}x{picture.height} pixels"
        )
    return picture.crop((x0, y0, x1, y1))
