"""`foveal sandbox`: run a Python file as a model's code runs, and see what the model would see."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from foveal.cli.common import plain
from foveal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image
    from pydantic import JsonValue

    from foveal.tools.base import Cell
    from foveal.trajectory import CellResult, ImageRef

app = App(name="sandbox", help="Run a Python file in the sandbox and see what the model would see.")


@app.command
def run(
    file: Path,
    *,
    image: Annotated[list[Path] | None, Parameter(negative="")] = None,
    timeout: Annotated[float, Parameter(validator=Number(gt=0))] = 60.0,
    out: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
    unsafe_allow_unsandboxed: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run a Python file as one cell, isolated from this machine, and print what the model would see.

    Exit codes: 0 the code ran, 1 it failed, 2 wrong usage or no isolation.

    Args:
        file: The code.
        image: A picture for the code, as image_1; give it again for image_2 and so on.
        timeout: Seconds until the code is interrupted.
        out: Save the pictures that the code shows in this folder.
        as_json: Print one JSON object instead: status, stdout, stderr, result, images, seconds.
        unsafe_allow_unsandboxed: Run the code with all your rights if this machine offers no isolation.
    """
    from foveal.trajectory import CellResult, ImageStore

    code, pictures = _read(file), _pictures(image or [])
    cell = asyncio.run(_run(code, pictures, timeout, unsafe_allow_unsandboxed))
    store = ImageStore()
    refs = tuple(store.put(picture) for picture in cell.images)
    files = [] if out is None else _save(cell.images, refs, out)
    result = CellResult.model_validate({**cell._asdict(), "images": refs})
    if as_json:
        Console(soft_wrap=True).out(json.dumps(_values(result, files), ensure_ascii=True), highlight=False)
    else:
        _show(result, files)
    return 0 if cell.status == "ok" else 1


async def _run(code: str, pictures: "Sequence[Image.Image]", timeout: float, unsafe: bool) -> "Cell":
    from foveal.tools.sandbox import LocalSandbox

    async with LocalSandbox(unsafe_allow_unsandboxed=unsafe) as sandbox:
        session = await sandbox.open(pictures)
        return await session.run(code, timeout)


def _read(file: Path) -> str:
    usage = "write: foveal sandbox run FILE.py [--image PICTURE]..."
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"there is no file {file}", usage) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not text: {error.reason} at byte {error.start}", "save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", usage) from None


def _pictures(files: "Sequence[Path]") -> "list[Image.Image]":
    from foveal.agent import load_picture

    for file in files:
        if not file.is_file():
            raise InputError(f"there is no picture {file}", "--image takes a picture file")
    return [load_picture(file) for file in files]


def _save(images: "Sequence[Image.Image]", refs: "Sequence[ImageRef]", folder: Path) -> list[str]:
    names = [str(folder / f"{number}-{ref.sha256[:12]}.png") for number, ref in enumerate(refs, 1)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for image, name in zip(images, names, strict=True):
            image.save(name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}", "name a folder for --out") from error
    return names


def _values(result: "CellResult", files: list[str]) -> "dict[str, JsonValue]":
    """The object for `--json`; with `--out` each picture names its file, too."""
    images: list[JsonValue] = []
    for number, ref in enumerate(result.images):
        images.append(ref.model_dump(mode="json") | ({"file": files[number]} if files else {}))
    kept = {"status", "stdout", "stderr", "result", "seconds"}
    return {**result.model_dump(mode="json", include=kept), "images": images}


def _show(result: "CellResult", files: list[str]) -> None:
    from foveal.protocol import FOVEAL, render_observation
    from foveal.trajectory import Observation, TextPart

    console, names = Console(highlight=False, markup=False, emoji=False, soft_wrap=True), iter(files)
    for part in render_observation(FOVEAL, Observation(tool="code", cell=result)):
        if isinstance(part, TextPart):
            console.print(plain(part.text).rstrip("\n"))
        else:
            saved = next(names, None)
            about = f"[image {part.image.width}x{part.image.height}  sha256 {part.image.sha256[:12]}"
            console.print(f"{about}  {plain(saved)}]" if saved else f"{about}]", style="dim")
    console.print(f"{result.status}, {result.seconds:.3f} s", style="green" if result.status == "ok" else "red")
