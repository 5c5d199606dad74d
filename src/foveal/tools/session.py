"""The tools of one trajectory: a `ToolCall` goes in, an `Observation` comes out, whatever the call.

- `code` runs in a sandbox session that starts at the first code call and keeps its variables. If the sandbox fails,
  the next call starts another session, with the pictures of the question loaded again.
- `search` takes `{"query": str}`.
- `visit` takes `{"url": str}`, and gives one hit: the page.
- `image_search` takes, both optional, `{"image": "image_2" or a variable of the code session}` and
  `{"box": [x0, y0, x1, y1]}` in pixels of that picture. Without arguments it searches for the whole of `image_1`.

Long outputs are cut in the middle and say so. Pictures are fitted to what vision models accept (`fit_picture`).
"""

import asyncio
import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image
from pydantic import JsonValue

from foveal.errors import FovealError, IsolationError, SandboxError, SearchError
from foveal.tools.base import Cell, CodeSandbox, CodeSession, ImageSearch, TextSearch, Visitor
from foveal.trajectory import CellResult, ImageRef, ImageStore, Observation, ToolCall, ToolError, to_rgb

MAX_STDOUT = 8000
MAX_STDERR = 4000
MAX_RESULT = 2000
MAX_QUERY = 1000
MAX_URL = 2000
"""Caps in characters."""
MAX_IMAGES = 10
"""Pictures of one cell."""
MIN_SIDE = 32
MAX_ASPECT = 200
MAX_PIXELS = 16384 * 28 * 28
"""What `fit_picture` fits to: vision processors refuse thin pictures, and a huge one would fill the context."""

log = logging.getLogger(__name__)


class Tools:
    """The tools that a trajectory is offered.

    Args:
        code: Sandbox for Python code.
        text: Text search.
        image: Image search.
        k: Hits of one search.
        max_image_searches: Image searches in one trajectory; None is no limit.
        visitor: Reader of pages.
        searched: What else a trajectory records about where is searched (`foveal.tools.searched`).
    """

    def __init__(
        self,
        code: CodeSandbox | None = None,
        text: TextSearch | None = None,
        image: ImageSearch | None = None,
        k: int = 5,
        max_image_searches: int | None = None,
        visitor: Visitor | None = None,
        searched: Mapping[str, JsonValue] | None = None,
    ):
        self.code, self.text, self.image, self.visitor = code, text, image, visitor
        self.k = k
        self.max_image_searches = max_image_searches
        self.searched = dict(searched or {})

    @property
    def offered(self) -> tuple[str, ...]:
        """Names of the tools that can be called."""
        tools = {"code": self.code, "search": self.text, "image_search": self.image, "visit": self.visitor}
        return tuple(name for name, tool in tools.items() if tool is not None)

    def describe(self) -> dict[str, JsonValue]:
        """What a trajectory records about its tools."""
        return {
            "offered": list(self.offered),
            "search": self.text.name if self.text else None,
            "image_search": self.image.name if self.image else None,
            "k": self.k,
            "max_image_searches": self.max_image_searches,
            **({"visit": self.visitor.name} if self.visitor else {}),
            **self.searched,
        }

    async def open(
        self, question_images: Sequence[Image.Image], store: ImageStore, cell_seconds: float
    ) -> "ToolSession":
        """Start a session; nothing is spent before the first call.

        Args:
            question_images: `image_1` ... `image_n`, the pixels that the model sees.
            store: Where pictures that come back are put.
            cell_seconds: Time limit of one code cell.
        """
        return ToolSession(self, question_images, store, cell_seconds)


class _Refused(Exception):
    """A call that cannot be carried out: becomes the error of the observation."""

    def __init__(self, error: ToolError):
        self.error = error


class _Sought(NamedTuple):
    """A picture to search for."""

    image: Image.Image
    ref: ImageRef


class ToolSession:
    """The tools of one trajectory. Made by `Tools.open`."""

    def __init__(self, tools: Tools, question_images: Sequence[Image.Image], store: ImageStore, cell_seconds: float):
        self._tools = tools
        self._images = tuple(question_images)
        self._store = store
        self._cell_seconds = cell_seconds
        self._code: CodeSession | None = None
        self._image_searches = 0

    async def call(self, call: ToolCall) -> Observation:
        """Carry out a call. Every failure that may pass is an observation with an error.

        Raises:
            IsolationError: No code can be run on this machine at all: for the user to mend, not for the model.
        """
        started = time.monotonic()
        try:
            observation = await self._dispatch(call)
        except _Refused as refused:
            observation = Observation(tool=call.tool, error=refused.error)
        except IsolationError:
            raise
        except SandboxError as error:
            await self._drop_code()
            observation = _failed(call, "sandbox", error.what)
        except SearchError as error:
            # A picture goes by way of an uploader, so its refusal says nothing sure about what the model asked for.
            own = error.of_request and call.tool != "image_search"
            observation = _failed(call, "request" if own else "search", error.what)
        except Exception as error:
            # A bug of a provider must not end the run of a thousand other questions; it is logged with its traceback.
            log.exception("tool %s failed", call.tool)
            what = error.what if isinstance(error, FovealError) else type(error).__name__
            observation = _failed(call, "sandbox" if call.tool == "code" else "search", what)
        return observation.model_copy(update={"seconds": time.monotonic() - started})

    async def close(self) -> None:
        """End the code session. Safe to call twice."""
        await self._drop_code()

    async def _dispatch(self, call: ToolCall) -> Observation:
        if call.tool not in self._tools.offered:
            there = ", ".join(self._tools.offered) or "none"
            raise _refuse("unknown_tool", f"There is no tool {call.tool[:100]!r} here. Tools: {there}.")
        if call.tool == "code":
            return await self._run(_string(call, "code"))
        if call.tool == "search":
            return await self._search(_string(call, "query"))
        if call.tool == "visit":
            return await self._visit(_string(call, "url"))
        return await self._image_search(call)

    async def _run(self, code: str) -> Observation:
        assert self._tools.code is not None
        if self._code is None:
            self._code = await self._tools.code.open(self._images)
        cell = await self._code.run(code, self._cell_seconds)
        return Observation(tool="code", cell=await asyncio.to_thread(self._keep, cell))

    def _keep(self, cell: Cell) -> CellResult:
        texts = {"stdout": (cell.stdout, MAX_STDOUT), "stderr": (cell.stderr, MAX_STDERR)}
        if cell.result is not None:
            texts["result"] = (cell.result, MAX_RESULT)
        shown = {name: _cut(_clean(text), limit) for name, (text, limit) in texts.items()}
        left_out = max(len(cell.images) - MAX_IMAGES, 0)
        if left_out:
            shown["stdout"] += f"\n[{left_out} more pictures were left out: show {MAX_IMAGES} at most]"
        images = [self._store.put(fit_picture(image)) for image in cell.images[:MAX_IMAGES]]
        cut = cell.truncated or bool(left_out) or any(len(text) > limit for text, limit in texts.values())
        fields = {"status": cell.status, "images": images, "seconds": cell.seconds, "truncated": cut}
        return CellResult.model_validate({**fields, **shown})

    async def _search(self, query: str) -> Observation:
        assert self._tools.text is not None
        query = query.strip()
        if not query:
            raise _refuse("arguments", 'The query was empty. Say what to look for: {"query": "..."}.')
        if len(query) > MAX_QUERY:
            raise _refuse("arguments", f"The query had {len(query)} characters. Ask in a few words.")
        hits = await self._tools.text.search(query, self._tools.k)
        return Observation(tool="search", hits=tuple(hits[: self._tools.k]), query=query)

    async def _visit(self, url: str) -> Observation:
        assert self._tools.visitor is not None
        url = url.strip()
        if not url or len(url) > MAX_URL:
            raise _refuse("arguments", 'That was no address of a page. Name one: {"url": "https://..."}.')
        page = await self._tools.visitor.visit(url)
        return Observation(tool="visit", hits=(page,), query=url)

    async def _image_search(self, call: ToolCall) -> Observation:
        assert self._tools.image is not None
        limit = self._tools.max_image_searches
        if limit is not None and self._image_searches >= limit:
            raise _refuse("limit", f"image_search can be called {limit} times only. Go on with what you have.")
        sought = await self._sought(call)
        self._image_searches += 1
        hits = await self._tools.image.search(sought.image, self._tools.k, self._store)
        return Observation(tool="image_search", hits=tuple(hits[: self._tools.k]), image=sought.ref)

    async def _sought(self, call: ToolCall) -> _Sought:
        if extra := sorted(set(call.arguments) - {"image", "box"}):
            raise _refuse("arguments", f'image_search takes "image" and "box", both optional, not {extra[0][:100]!r}.')
        image = await self._named(call.arguments.get("image"))
        if (box := call.arguments.get("box")) is not None:
            image = image.crop(_box(box, image.width, image.height))
        image = to_rgb(image)
        return _Sought(image, await asyncio.to_thread(self._store.put, image))

    async def _named(self, name: JsonValue) -> Image.Image:
        """The picture that the model names: a variable of its code session, or a picture of the question."""
        there = ", ".join(f"image_{number}" for number in range(1, len(self._images) + 1))
        if name is None:
            if not self._images:
                raise _refuse("arguments", 'The question has no picture. Name a variable that holds one: "image".')
            return self._images[0]
        if not isinstance(name, str) or not name.isidentifier():
            raise _refuse("arguments", f'"image" must be the name of a picture: {there or "a variable"}.')
        # The session first: the model may have given image_1 another value there.
        found = await self._code.image(name) if self._code is not None else None
        if found is not None:
            return found
        if name in there.split(", "):
            return self._images[int(name.removeprefix("image_")) - 1]
        raise _refuse(
            "arguments", f"{name[:100]} is no picture. Pictures: {there or 'none'}, and PIL images made by your code."
        )

    async def _drop_code(self) -> None:
        session, self._code = self._code, None
        if session is not None:
            await session.close()


def fit_picture(image: Image.Image) -> Image.Image:
    """The picture as RGB with sides, aspect ratio and size that vision processors accept.

    A picture longer than 200 : 1 is squeezed to at most 150 : 1; a side under 32
    pixels is enlarged to 32; more than 12.8 million pixels are scaled down.
    """
    image = to_rgb(image)
    width, height = image.size
    long, short = max(width, height), min(width, height)
    if long > MAX_ASPECT * short:
        long = int(short * min(150, long / short / 2))
        width, height = (long, height) if width > height else (width, long)
    if min(width, height) < MIN_SIDE:
        grow = MIN_SIDE / min(width, height)
        width, height = math.ceil(width * grow), math.ceil(height * grow)
    if width * height > MAX_PIXELS:
        shrink = math.sqrt(MAX_PIXELS / (width * height))
        width, height = int(width * shrink), int(height * shrink)
    if (width, height) == image.size:
        return image
    # The gap: else the weights for a row of 40 million pixels take 2 GB, and seconds that hold all threads.
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _refuse(kind: str, message: str) -> _Refused:
    return _Refused(ToolError.model_validate({"kind": kind, "message": message}))


def _failed(call: ToolCall, kind: str, what: str) -> Observation:
    said = _cut(_clean(what), MAX_RESULT).removesuffix(".")
    return Observation(
        tool=call.tool, error=_refuse(kind, f"{call.tool} failed: {said}. Try again, or go on without it.").error
    )


def _string(call: ToolCall, key: str) -> str:
    value = call.arguments.get(key)
    if not isinstance(value, str) or len(call.arguments) != 1:
        raise _refuse("arguments", f'{call.tool} takes exactly one argument, a string: {{"{key}": "..."}}.')
    return value


def _box(value: JsonValue, width: int, height: int) -> tuple[int, int, int, int]:
    """The box in whole pixels, clipped to the picture."""
    form = f'"box" must be [x0, y0, x1, y1] in pixels with x0 < x1 and y0 < y1; the picture is {width}x{height}.'
    if not isinstance(value, list) or len(value) != 4:
        raise _refuse("arguments", form)
    sides: list[int] = []
    for side, limit in zip(value, (width, height, width, height), strict=True):
        if isinstance(side, bool) or not isinstance(side, int | float) or not math.isfinite(side):
            raise _refuse("arguments", form)
        sides.append(min(max(round(side), 0), limit))
    x0, y0, x1, y1 = sides
    if x0 >= x1 or y0 >= y1:
        raise _refuse("arguments", form)
    return x0, y0, x1, y1


def _cut(text: str, limit: int) -> str:
    """The text, its middle replaced by a note if it is longer than `limit`: ends of logs and tracebacks matter."""
    if len(text) <= limit:
        return text
    kept = limit - 80
    note = f"\n[... {len(text) - kept} characters left out: print less ...]\n"
    return text[: kept // 2] + note + text[-(kept // 2) :]


def _clean(text: str) -> str:
    """The text without halves of UTF-16 pairs, which no UTF-8 file can hold."""
    return text.encode(errors="replace").decode()
