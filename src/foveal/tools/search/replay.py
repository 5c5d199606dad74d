"""Record and replay of live search: answers come from the file of `cache`, from the provider, or from either.

- `record`: every answer comes from the provider and is kept.
- `replay`: every answer comes from the file. A search that is not in it fails, and nothing is asked.
- `replay_or_record`: what is not in the file is asked for and kept. Equal searches of any number of threads and
  processes are asked once; failures of the provider are not kept, so the next one asks again.

What cannot be had (a page that is not there, a query that is refused) is the model's to read, and kept like an answer.
A refused picture is not: it says as much about the uploader.
"""

import asyncio
import io
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence

from PIL import Image
from pydantic import JsonValue

from foveal.errors import SearchError
from foveal.tools.base import ImageSearch, TextSearch, Visitor
from foveal.tools.search.cache import Answer, Answers, Request
from foveal.tools.search.settings import Mode, SearchSettings, VisitSettings
from foveal.trajectory import ImageStore, SearchHit, image_ref, to_rgb

FIRST_POLL, LAST_POLL = 0.05, 0.5
"""Seconds between looks at the file while somebody else asks: more and more."""

log = logging.getLogger(__name__)


class _Recorder:
    """Decides whether an answer comes from the file or from the provider."""

    def __init__(self, answers: Answers, mode: Mode, options: dict[str, JsonValue]):
        self._answers = answers
        self._mode = mode
        self._options = options

    async def answer(
        self, tool: str, provider: str, sought: str, k: int, ask: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """The answer from where the mode says; a refusal that is kept is raised as it was."""
        answer = await self._answer(tool, provider, sought, k, ask)
        if answer.refused is not None:
            raise SearchError(answer.refused, of_request=True)
        return answer

    async def _answer(
        self, tool: str, provider: str, sought: str, k: int, ask: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        request = Request(tool, provider, sought, k, self._options)
        if self._mode == "record":
            return await self._record(request, ask)
        owner, wait = uuid.uuid4().hex, FIRST_POLL
        while True:
            known = await asyncio.to_thread(self._answers.get, request.key)
            if known is not None:
                return known
            if self._mode == "replay":
                what = "this picture" if tool == "image_search" else f"{sought[:100]!r}"
                hits = "" if tool == "visit" else f" with {k} hits"
                raise SearchError(f"no recorded answer to a {tool} for {what}{hits}", "record it first")
            if await asyncio.to_thread(self._answers.claim, request.key, owner):
                break
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, LAST_POLL)
        try:
            return await self._record(request, ask)
        finally:
            await asyncio.shield(asyncio.to_thread(self._answers.release, request.key, owner))

    async def _record(self, request: Request, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        try:
            answer = await ask()
        except SearchError as error:
            if not error.of_request or request.tool == "image_search":
                raise
            answer = Answer((), {}, error.what)
        try:
            await asyncio.to_thread(self._answers.put, request, answer)
        except SearchError as error:  # what was paid for is not thrown away
            log.warning("%s; it is used this once", error.what)
        return answer


def _of_search(answers: Answers, settings: SearchSettings) -> _Recorder:
    # The program is what is asked, as the options are; another address of the same provider is not.
    options: dict[str, JsonValue] = {**settings.options}
    if settings.command:
        options["command"] = list(settings.command)
    return _Recorder(answers, settings.mode, options)


class RecordedText:
    """Text search whose answers are kept.

    Args:
        provider: Asked for what is not kept, if the mode allows it.
        answers: The file.
        settings: Mode and options.
    """

    def __init__(self, provider: TextSearch, answers: Answers, settings: SearchSettings):
        self.name = provider.name
        self._provider = provider
        self._recorder = _of_search(answers, settings)

    async def search(self, query: str, k: int) -> list[SearchHit]:
        """The kept answer, or that of the provider.

        Raises:
            SearchError: There is none, or the provider failed.
        """

        async def ask() -> Answer:
            return Answer(tuple(await self._provider.search(query, k)), {})

        return list((await self._recorder.answer("search", self.name, query, k, ask)).hits)


class RecordedImages:
    """Image search whose answers are kept.

    Args:
        provider: Asked for what is not kept, if the mode allows it.
        answers: The file.
        settings: Mode and options.
    """

    def __init__(self, provider: ImageSearch, answers: Answers, settings: SearchSettings):
        self.name = provider.name
        self._provider = provider
        self._recorder = _of_search(answers, settings)

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        """The kept answer, or that of the provider.

        Raises:
            SearchError: There is none, it is damaged, or the provider failed.
        """

        async def ask() -> Answer:
            hits = tuple(await self._provider.search(image, k, images))
            return await asyncio.to_thread(packed, hits, images)

        sought = await asyncio.to_thread(lambda: image_ref(to_rgb(image)).sha256)
        answer = await self._recorder.answer("image_search", self.name, sought, k, ask)
        await asyncio.to_thread(unpack, answer, images)
        return list(answer.hits)


class RecordedVisits:
    """Pages that are kept.

    Args:
        visitor: Asked for what is not kept, if the mode allows it.
        answers: The file.
        settings: Mode and length of a page.
    """

    def __init__(self, visitor: Visitor, answers: Answers, settings: VisitSettings):
        self.name = visitor.name
        self._visitor = visitor
        self._recorder = _Recorder(answers, settings.mode, {"max_chars": settings.max_chars})

    async def visit(self, url: str) -> SearchHit:
        """The kept page, or what is at the address.

        Raises:
            SearchError: There is none, or it cannot be had.
        """

        async def ask() -> Answer:
            return Answer((await self._visitor.visit(url),), {})

        [page] = (await self._recorder.answer("visit", self.name, url, 1, ask)).hits
        return page


def packed(hits: Sequence[SearchHit], images: ImageStore) -> Answer:
    """An answer with its pictures, taken out of the store that the hits were put into."""
    pictures = {}
    for hit in hits:
        if hit.thumbnail is not None and hit.thumbnail.sha256 not in pictures:
            buffer = io.BytesIO()
            images.get(hit.thumbnail).save(buffer, "PNG", compress_level=6)
            pictures[hit.thumbnail.sha256] = buffer.getvalue()
    return Answer(tuple(hits), pictures)


def unpack(answer: Answer, images: ImageStore) -> None:
    """Put the pictures of an answer into a store.

    Raises:
        SearchError: A picture is damaged, or not the one that its name says.
    """
    for hit in answer.hits:
        if hit.thumbnail is None:
            continue
        try:
            with Image.open(io.BytesIO(answer.pictures[hit.thumbnail.sha256]), formats=("PNG",)) as file:
                picture = file.convert("RGB")
        except (OSError, SyntaxError, ValueError, KeyError) as error:
            raise SearchError(f"the recorded thumbnail of {hit.title!r} cannot be read: {error}") from error
        if image_ref(picture) != hit.thumbnail:
            raise SearchError(f"the recorded thumbnail of {hit.title!r} is another picture than its name says")
        images.put(picture)
