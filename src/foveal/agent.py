"""The loop: a question goes in, a trajectory comes out. One coroutine a trajectory.

    policy writes a turn -> protocol reads its action -> tools carry it out -> the observation goes back, until an end

Every end is data (`StopReason`); only mistakes of the caller raise: a picture that is not in the store, a profile
without its prompt, a machine that cannot isolate code. What the model wrote is parsed once; what a tool gave back is
never parsed.

Budgets are checked before an observation is appended, text and pictures together: what does not fit is recorded on
the turn and not shown, and nothing is ever cut. A policy that counts no tokens is held to the sum of prompt and
completion that it last reported, and to the limit of its endpoint.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps
from pydantic import JsonValue

from foveal import __version__
from foveal.config import Limits, Sampling
from foveal.errors import InputError, PolicyError
from foveal.policy.base import Conversation, Generation, Policy
from foveal.protocol import FOVEAL, Answer, Call, Code, Malformed, Profile, opening, parse_turn, render_observation
from foveal.tools.search.loaders import read_picture
from foveal.tools.session import Tools, ToolSession
from foveal.trajectory import (
    ImageRef,
    ImageStore,
    Message,
    Observation,
    Question,
    StopReason,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
    to_rgb,
)

log = logging.getLogger(__name__)


class Agent:
    """A policy with tools.

    Args:
        policy: Who writes the turns.
        tools: What it may call; None offers nothing.
        profile: How it is prompted and read.
        limits: Budgets of one trajectory.
        sampling: How the policy draws tokens.

    Raises:
        ConfigError: The profile has no system prompt.
    """

    def __init__(
        self,
        policy: Policy,
        tools: Tools | None = None,
        profile: Profile = FOVEAL,
        limits: Limits | None = None,
        sampling: Sampling | None = None,
    ):
        self.policy = policy
        self.tools = tools or Tools()
        self.profile = profile
        self.limits = limits or Limits()
        self.sampling = sampling or Sampling()
        self._settings = self._describe()

    async def run(
        self,
        question: Question,
        images: ImageStore,
        on_turn: Callable[[Turn], None] | None = None,
        trajectory_id: str | None = None,
    ) -> Trajectory:
        """Answer one question.

        Args:
            question: What is asked. Every picture is shown, and preloaded in the sandbox as `image_1` ... `image_n`.
            images: Holds the pictures of the question; takes those that tools give back.
            on_turn: Called with each finished turn.
            trajectory_id: A new one by default.

        Raises:
            RecordError: A picture of the question is not in `images`.
            IsolationError: Code was to be run, and this machine cannot isolate it.
        """
        started, clock = datetime.now(UTC), time.monotonic()
        most = self.limits.max_image_pixels
        shown = [await asyncio.to_thread(_fit, images, ref, most) for ref in question.images]
        prompt = opening(self.profile, question.text, [ref for ref, _ in shown], self.tools.offered)
        session = await self.tools.open([image for _, image in shown], images, self.limits.cell_seconds)
        conversation = self.policy.open(images, self.sampling)
        episode = _Episode(self.profile, self.limits, conversation, session, on_turn)
        try:
            await episode.run(prompt)
            tokens = conversation.tokens()
        finally:
            await _finish(conversation.close(), session.close())
        return Trajectory(
            id=trajectory_id or uuid.uuid4().hex,
            question=question,
            policy=self.policy.name,
            profile=self.profile.name,
            prompt=prompt,
            turns=tuple(episode.turns),
            answer=episode.answer,
            stop_reason=episode.stop_reason,
            error=episode.error,
            tokens=tokens,
            settings=self._settings,
            started=started.isoformat(timespec="milliseconds"),
            seconds=time.monotonic() - clock,
        )

    def ask(
        self,
        images: Sequence[Path | str | Image.Image],
        text: str,
        store: ImageStore | None = None,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> Trajectory:
        """Answer a question about pictures, from code that is not async, or from a notebook.

        Args:
            images: Files or pictures.
            text: The question.
            store: Keep the pictures of the trajectory here; without it they are gone afterwards.
            on_turn: Called with each finished turn.

        Raises:
            InputError: A file is no picture that can be read.
        """
        store = store or ImageStore()
        refs = tuple(store.put(load_picture(image)) for image in images)
        question = Question(id=uuid.uuid4().hex, text=text, images=refs)
        answering = self.run(question, store, on_turn)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(answering)
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, answering).result()

    def _describe(self) -> dict[str, JsonValue]:
        offered = self.tools.offered
        return {
            "foveal": __version__,
            "limits": self.limits.model_dump(mode="json"),
            "sampling": self.sampling.model_dump(mode="json"),
            "profile": {"name": self.profile.name, "thumbnails": self.profile.thumbnails},
            "prompt_sha256": self.profile.prompt_hash(offered),
            "tools": self.tools.describe(),
        }


class _Episode:
    """The state of one run of the loop. What it holds is whole after every step, so a time-out can stop it anywhere."""

    def __init__(
        self,
        profile: Profile,
        limits: Limits,
        conversation: Conversation,
        session: ToolSession,
        on_turn: Callable[[Turn], None] | None,
    ):
        self.profile, self.limits = profile, limits
        self.conversation, self.session = conversation, session
        self.on_turn = on_turn
        self.turns: list[Turn] = []
        self.answer: str | None = None
        self.error: str | None = None
        self.stop_reason = StopReason.WALL_TIME
        self._last_failure: str | None = None
        self._failures = 0

    async def run(self, prompt: Sequence[Message]) -> None:
        """Run to an end, and say in `stop_reason` which it was."""
        try:
            async with asyncio.timeout(self.limits.wall_seconds) as clock:
                self.stop_reason = await self._loop(prompt)
        except TimeoutError:
            if not clock.expired():
                raise
            self.stop_reason = StopReason.WALL_TIME
        except PolicyError as error:
            self.stop_reason, self.error = StopReason.POLICY_ERROR, str(error)

    async def _loop(self, prompt: Sequence[Message]) -> StopReason:
        for message in prompt:
            if not await self._append(message):
                return StopReason.CONTEXT_FULL
        while True:
            room = self.limits.max_context - self._used()
            if room <= 0:
                return StopReason.CONTEXT_FULL
            started = time.monotonic()
            limit = min(self.limits.max_turn_tokens, room)
            generation = await self.conversation.generate(limit, self.profile.stop)
            turn = _turn(generation, time.monotonic() - started)
            self.turns.append(turn)
            end = await self._act(turn)
            if end is StopReason.MAX_TOKENS and room < self.limits.max_turn_tokens:
                end = StopReason.CONTEXT_FULL  # the context cut it, not the limit of a turn
            if self.on_turn is not None:
                self.on_turn(self.turns[-1])
            if end is not None:
                return end

    async def _act(self, turn: Turn) -> StopReason | None:
        """Carry out the action of the last turn; the reason if that is the end."""
        parsed = parse_turn(turn.text, self.profile)
        if turn.finish == "length" and not parsed.closed:
            return StopReason.MAX_TOKENS
        call: ToolCall | None = None
        match parsed.action:
            case Answer(text):
                self.answer = text
                return StopReason.ANSWERED
            case Code(code):
                call = ToolCall(tool="code", arguments={"code": code})
            case Call(tool, arguments):
                call = ToolCall(tool=tool, arguments=arguments)
            case Malformed(kind, message):
                failed = Observation(tool="format", error=ToolError(kind=kind, message=message))
        self._note(call=call)
        if len(self.turns) >= self.limits.max_turns:
            return StopReason.MAX_TURNS  # nothing is run that the model could not see
        observation = failed if call is None else await self.session.call(call)
        self._note(observation=observation)
        if self._keeps_failing(observation):
            return StopReason.REPEATED_ERROR
        parts = render_observation(self.profile, observation)
        if not await self._append(Message(role="user", parts=parts)):
            return StopReason.CONTEXT_FULL
        self._note(observation_parts=parts)
        return None

    def _note(self, **fields: Any) -> None:
        self.turns[-1] = self.turns[-1].model_copy(update=fields)

    def _used(self) -> int:
        """Tokens in the context, or the least that they can be."""
        counted = self.conversation.num_tokens
        if counted is not None or not self.turns:
            return counted or 0
        return (self.turns[-1].prompt_tokens or 0) + (self.turns[-1].completion_tokens or 0)

    async def _append(self, message: Message) -> bool:
        """Append a message if it fits and leaves room for a word; False if not."""
        if self._used() + (self.conversation.cost(message) or 0) >= self.limits.max_context:
            return False
        await self.conversation.append(message)
        return True

    def _keeps_failing(self, observation: Observation) -> bool:
        failure = _failure(observation)
        self._failures = self._failures + 1 if failure == self._last_failure else 1
        self._last_failure = failure
        return failure is not None and self._failures >= self.limits.max_repeated_errors


def load_picture(source: Path | str | Image.Image) -> Image.Image:
    """A picture as people see it: from a file or as given, turned upright, RGB.

    Raises:
        InputError: The file is missing, or is no picture that can be read.
    """
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source))
    if not Path(source).is_file():
        raise InputError(f"there is no file {source}", "check the path")
    try:
        return read_picture(Path(source))
    except ValueError as error:
        raise InputError(f"{source} cannot be used: {error}", "save it as a PNG or JPEG file") from error


class _Shown(NamedTuple):
    """A picture of the question as model and sandbox get it."""

    ref: ImageRef
    image: Image.Image


def _fit(images: ImageStore, ref: ImageRef, max_pixels: int) -> _Shown:
    image = images.get(ref)
    if image.width * image.height <= max_pixels:
        return _Shown(ref, image)
    scale = math.sqrt(max_pixels / (image.width * image.height))
    size = max(int(image.width * scale), 1), max(int(image.height * scale), 1)
    image = image.resize(size, Image.Resampling.LANCZOS)
    return _Shown(images.put(image), image)


def _turn(generation: Generation, seconds: float) -> Turn:
    return Turn(
        text=generation.text.encode(errors="replace").decode(),  # an endpoint may send halves of UTF-16 pairs
        finish=generation.finish,
        prompt_tokens=generation.prompt_tokens,
        completion_tokens=generation.completion_tokens,
        seconds=seconds,
    )


def _failure(observation: Observation) -> str | None:
    """What makes two failures the same: the message, or the last line of the traceback."""
    if observation.error is not None:
        return observation.error.message
    if observation.cell is not None and observation.cell.status != "ok":
        return f"{observation.cell.status} {observation.cell.stderr.rstrip().rpartition(chr(10))[2]}"
    return None


async def _finish(*closing: Coroutine[Any, Any, None]) -> None:
    """Close everything even if this task is cancelled meanwhile; then the cancellation goes on."""
    closed = asyncio.gather(*closing, return_exceptions=True)
    try:
        await asyncio.shield(closed)
    finally:
        for outcome in await closed:
            if isinstance(outcome, Exception):
                # The answer is there; a failed clean-up must not take it away.
                log.error("closing a trajectory failed", exc_info=outcome)
