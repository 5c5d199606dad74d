"""The endpoint: chat requests go in, the agent answers them, so many at a time.

    POST /v1/chat/completions   GET /v1/models   GET /health

A request waits for its turn before its body is read, so that waiting requests cost next to nothing. One whose client
goes away is ended at once, and so is everything when the server stops.
"""

import asyncio
import hashlib
import logging
import secrets
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from foveal.agent import Agent
from foveal.config import Limits, Sampling
from foveal.errors import FovealError
from foveal.policy.base import Policy
from foveal.protocol import Profile
from foveal.records import RunWriter
from foveal.serve.guard import Guard
from foveal.serve.reply import chunk, completion, error_object, error_response, failure, last_chunks
from foveal.serve.request import Asked, Refused, read_request
from foveal.serve.stream import Stream, with_signs_of_life
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Question, StopReason, Trajectory, Turn

MAX_BODY = 64 * 2**20
"""Bytes of a request."""
BODY_SECONDS = 60.0
"""For the whole body to arrive, once the request has its turn."""
MAX_WAITING = 1000
"""Requests that wait for their turn."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """Who answers, and how."""

    name: str
    """What clients call it."""
    policy: Policy
    tools: Tools
    profile: Profile
    limits: Limits
    temperature: float = 0.0
    """Where a request names none."""
    check: Callable[[Asked], None] = lambda asked: None
    """Raises `FovealError` for a question that must not be asked."""


class Saved:
    """The run that trajectories go into.

    Args:
        writer: Of the run.
        already: Trajectories that it holds.
    """

    def __init__(self, writer: RunWriter, already: int):
        self.images = writer.images
        self._writer, self._number = writer, already

    def write(self, trajectory: Trajectory) -> str:
        """Append a trajectory; where `foveal view` draws it."""
        self._writer.write(trajectory)
        self._number += 1
        return str(self._writer.folder.resolve() / "pages" / f"{self._number}.html")


class _Gone(Exception):
    """The client has hung up."""


class Completions:
    """Answers chat requests.

    Args:
        served: Who answers.
        concurrency: Requests at a time.
        saved: Where trajectories go; None keeps none.
        stopping: Set when the server has to stop.
        max_waiting: Requests that wait for their turn; further ones are turned away.
    """

    def __init__(
        self, served: Served, concurrency: int, saved: Saved | None, stopping: asyncio.Event, max_waiting: int
    ):
        self._served, self._saved, self._stopping, self._max_waiting = served, saved, stopping, max_waiting
        self._slots = asyncio.Semaphore(concurrency)
        # One thread: the limit against picture bombs hangs on warning filters, which threads share.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="requests")
        self.running = 0
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.waiting >= self._max_waiting:
            full = Refused("too many requests are waiting: send fewer at a time", code="queue_full", status=429)
            return await error_response(full)(scope, receive, send)
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        try:
            await self._answer(Request(scope, receive), send)
        finally:
            self.running -= 1
            self._slots.release()

    async def _answer(self, request: Request, send: Send) -> None:
        stream = Stream(send)
        try:
            if self._stopping.is_set():
                raise _stopped()
            content = await _body(request)
            asked = await asyncio.get_running_loop().run_in_executor(self._reader, read_request, content)
            await self._check(asked)
            work = self._tell(asked, stream) if asked.stream else self._complete(asked)
            response = await self._while_wanted(work, request.receive)
        except (_Gone, ClientDisconnect):
            log.info("a client hung up; its question is dropped")
            return
        except Refused as refused:
            if stream.begun:
                return await stream.end(error_object(refused))
            response = error_response(refused)
        except FovealError as error:
            log.error("%s", error)
            failed = Refused(_on_one_line(error), code="internal_error", status=500)
            if stream.begun:
                return await stream.end(error_object(failed))
            response = error_response(failed)
        if response is not None:
            await response(request.scope, request.receive, send)

    async def _check(self, asked: Asked) -> None:
        if asked.model != self._served.name:
            raise Refused(
                f"there is no model {asked.model!r} here; there is {self._served.name!r}",
                "model",
                "model_not_found",
                404,
            )
        try:
            await asyncio.to_thread(self._served.check, asked)
        except FovealError as error:
            raise Refused(_on_one_line(error), "messages", "unsupported_value") from None

    async def _while_wanted(self, work: Coroutine[Any, Any, Response | None], receive: Receive) -> Response | None:
        """Do the work until it is done, or the client is gone, or the server has to stop."""
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_hung_up(receive))
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((working, gone, stop), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise _Gone if gone.done() else _stopped()
        finally:
            for task in (working, gone, stop):
                task.cancel()
            await asyncio.gather(working, gone, stop, return_exceptions=True)

    async def _complete(self, asked: Asked) -> Response:
        trajectory, page = await self._run(asked, uuid.uuid4().hex, lambda turn: None)
        return JSONResponse(completion(self._served.name, trajectory, page))

    async def _tell(self, asked: Asked, stream: Stream) -> None:
        """Stream the turns as reasoning, and then the answer."""
        name, id = self._served.name, uuid.uuid4().hex
        await stream.begin(chunk(name, id, {"role": "assistant", "content": ""}))
        turns: asyncio.Queue[Turn | None] = asyncio.Queue()
        running = asyncio.ensure_future(self._run(asked, id, turns.put_nowait))
        running.add_done_callback(lambda task: turns.put_nowait(None))
        try:
            async for turn in with_signs_of_life(turns, stream):
                await stream.say(chunk(name, id, {"reasoning_content": turn.text + "\n"}))
            trajectory, page = await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await stream.end(*last_chunks(name, trajectory, page, asked.stream_usage))

    async def _run(self, asked: Asked, id: str, on_turn: Callable[[Turn], None]) -> tuple[Trajectory, str | None]:
        """Let the agent answer; with where the trajectory is drawn, if it was saved.

        Raises:
            Refused: The model's endpoint failed or was too slow, or the question was too long for it.
        """
        images = self._saved.images if self._saved else ImageStore()
        refs = await asyncio.to_thread(lambda: tuple(images.put(picture) for picture in asked.pictures))
        digest = hashlib.sha256("\0".join([asked.question, *(ref.sha256 for ref in refs)]).encode()).hexdigest()
        question = Question(id=digest[:16], text=asked.question, images=refs)
        trajectory = await self._agent(asked).run(question, images, on_turn, id)
        page = self._saved.write(trajectory) if self._saved else None
        log.info("%s: %d turns, %.1f s", trajectory.stop_reason, len(trajectory.turns), trajectory.seconds)
        lowered = asked.max_tokens is not None and asked.max_tokens < self._served.limits.max_turn_tokens
        if trajectory.stop_reason is StopReason.MAX_TOKENS and lowered:
            log.warning("the client's max_tokens of %d cut a turn short: raise it there", asked.max_tokens)
        if (failed := failure(trajectory)) is not None:
            raise failed
        return trajectory, page

    def _agent(self, asked: Asked) -> Agent:
        served, profile, limits = self._served, self._served.profile, self._served.limits
        if asked.system:
            own = profile.prompt(served.tools.offered)
            profile = replace(profile, system_prompt=f"{own}\n\n{asked.system}" if own else asked.system)
        if asked.max_tokens is not None:
            limits = limits.model_copy(update={"max_turn_tokens": min(asked.max_tokens, limits.max_turn_tokens)})
        sampling = Sampling(
            temperature=served.temperature if asked.temperature is None else asked.temperature,
            top_p=1.0 if asked.top_p is None else asked.top_p,
            # Who asks again without a seed wants another sample; the record has it.
            seed=secrets.randbelow(2**31) if asked.seed is None else asked.seed,
        )
        return Agent(served.policy, served.tools, profile, limits, sampling)


async def _body(request: Request) -> bytes:
    content = bytearray()
    too_large = Refused(f"the request has more than {MAX_BODY} bytes: send smaller pictures", status=413)
    if int(request.headers.get("content-length", "0")) > MAX_BODY:
        raise too_large
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > MAX_BODY:
                    raise too_large
    except TimeoutError:
        raise Refused(f"the request was not whole after {BODY_SECONDS:g} s", status=408) from None
    return bytes(content)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _on_one_line(error: FovealError) -> str:
    return f"{error.what}: {error.fix}" if error.fix else error.what


def _stopped() -> Refused:
    return Refused("the server is stopping", code="stopping", status=503)


def application(
    served: Served,
    stopping: asyncio.Event,
    concurrency: int = 8,
    saved: Saved | None = None,
    key: str | None = None,
    max_waiting: int = MAX_WAITING,
) -> Starlette:
    """The endpoint as an ASGI application.

    Args:
        served: Who answers.
        stopping: Set it to end what is under way.
        concurrency: Requests at a time; further ones wait.
        saved: Where trajectories go; None keeps none.
        key: What clients have to send as a bearer token; None asks for none.
        max_waiting: Requests that wait for their turn; further ones are turned away.
    """
    completions = Completions(served, concurrency, saved, stopping, max_waiting)
    started = int(time.time())

    async def models(request: Request) -> Response:
        model = {"id": served.name, "object": "model", "created": started, "owned_by": "foveal"}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", "running": completions.running, "waiting": completions.waiting})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", completions, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        middleware=[Middleware(Guard, key=key)],
        exception_handlers={HTTPException: _no_route, Exception: _bug},
    )


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = f"{request.method} {request.url.path}: {error.detail}; there is POST /v1/chat/completions"
    return error_response(Refused(said, status=error.status_code))


async def _bug(request: Request, error: Exception) -> Response:
    return error_response(Refused("the server failed; its log says why", code="internal_error", status=500))
