"""The records that cross every boundary: question, turn, tool call, observation, trajectory.

All records are frozen and typed and refuse unknown fields. Pictures are never inside a record: a record holds an
`ImageRef` (the SHA-256 of the pixels), and an `ImageStore` holds the pixels, in memory or in a folder.
Reading and writing whole runs is in `foveal.records`.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from foveal.errors import RecordError
from foveal.files import write_content

FORMAT_VERSION: Literal[1] = 1
"""Version of the trajectory format. A reader refuses versions that it does not know."""


class Record(BaseModel):
    """Base of all records: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ImageRef(Record):
    """A picture by content."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of mode, size and raw pixels (not of a file's bytes)."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class TextPart(Record):
    """A piece of text in a message."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(Record):
    """A picture in a message."""

    type: Literal["image"] = "image"
    image: ImageRef


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Record):
    """One chat message as the policy sees it."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """The pictures, in order."""
        return tuple(part.image for part in self.parts if isinstance(part, ImagePart))


class Question(Record):
    """A question about zero or more pictures, with its accepted answers if they are known."""

    id: str
    text: str
    images: tuple[ImageRef, ...] = ()
    gold: tuple[str, ...] = ()
    """Accepted answers; empty when nobody knows the answer."""
    family: str | None = None
    """Kind of question, for tables by family (perception, search, reasoning, ...)."""
    meta: dict[str, JsonValue] = {}
    """Whatever the source recorded: boxes, hops, split."""


class ToolCall(Record):
    """A tool call that the model asked for: `code` (arguments: code), `search` (query) or `image_search`."""

    tool: str
    arguments: dict[str, JsonValue] = {}


class CellResult(Record):
    """What one code cell gave back."""

    status: Literal["ok", "error", "timeout", "died"]
    """`error`: the code raised. `timeout`: interrupted or killed at the limit. `died`: the session was lost."""
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    """`repr` of the last expression, if it had a value and was not a picture."""
    images: tuple[ImageRef, ...] = ()
    seconds: float = 0.0
    truncated: bool = False
    """True if output was cut at a cap."""


class SearchHit(Record):
    """One search result, the same for every provider."""

    title: str
    link: str | None = None
    snippet: str | None = None
    date: str | None = None
    source: str | None = None
    thumbnail: ImageRef | None = None
    score: float | None = None
    """The provider's own score; comparable within one answer only."""


class ToolError(Record):
    """A recoverable failure, told to the model as an observation."""

    kind: Literal["format", "unknown_tool", "arguments", "limit", "request", "sandbox", "search"]
    """`request`: it was asked for something that cannot be had, such as an address that is no page. `sandbox`,
    `search`: they failed themselves; all others are the model's own."""
    message: str
    """What went wrong and what to do instead, addressed to the model."""


class Observation(Record):
    """What came back from a tool call: exactly one of `cell`, `hits` and `error` is set."""

    tool: str
    cell: CellResult | None = None
    hits: tuple[SearchHit, ...] | None = None
    error: ToolError | None = None
    query: str | None = None
    """The text query, for text search."""
    image: ImageRef | None = None
    """The picture that was searched for, for image search."""
    seconds: float = 0.0

    @model_validator(mode="after")
    def _one_outcome(self) -> "Observation":
        if sum(outcome is not None for outcome in (self.cell, self.hits, self.error)) != 1:
            raise ValueError("an observation has exactly one of cell, hits, error")
        return self


class Turn(Record):
    """One model turn and what came back for it."""

    text: str
    """The model's own words, as sampled."""
    finish: Literal["stop", "length"] = "stop"
    """`length`: cut at the token limit of a turn."""
    call: ToolCall | None = None
    observation: Observation | None = None
    observation_parts: tuple[Part, ...] = ()
    """The observation as it was shown to the model."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    """Time that the policy took; the tool's time is on the observation."""


class Tokens(Record):
    """The exact token sequence of a trajectory: prompt, model turns, observations, in order."""

    ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    """1 on the model's own sampled tokens, 0 on everything else. Same length as `ids`."""
    logprobs: tuple[float, ...]
    """Log-probability of each sampled token under the sampling policy; 0.0 where `loss_mask` is 0."""

    @model_validator(mode="after")
    def _same_length(self) -> "Tokens":
        if not len(self.ids) == len(self.loss_mask) == len(self.logprobs):
            raise ValueError("ids, loss_mask and logprobs differ in length")
        return self


class StopReason(StrEnum):
    """Why a trajectory ended. An end is data: it never raises."""

    ANSWERED = "answered"
    """The model gave an answer."""
    MAX_TURNS = "max_turns"
    """The turn limit was reached without an answer."""
    MAX_TOKENS = "max_tokens"
    """A turn was cut at its token limit before any action."""
    CONTEXT_FULL = "context_full"
    """The next observation would not fit into the context and was not shown, or it cut the last turn short."""
    WALL_TIME = "wall_time"
    """The time limit of the trajectory was reached."""
    REPEATED_ERROR = "repeated_error"
    """The same error came back several times in a row."""
    POLICY_ERROR = "policy_error"
    """The policy failed; the message is in `Trajectory.error`."""


class Trajectory(Record):
    """One question answered (or not), with everything that happened."""

    version: Literal[1] = FORMAT_VERSION
    id: str
    question: Question
    policy: str
    """Name of the policy: model name or checkpoint folder."""
    profile: str
    """Name of the protocol profile."""
    prompt: tuple[Message, ...] = ()
    """System and user messages as the policy saw them."""
    turns: tuple[Turn, ...] = ()
    answer: str | None = None
    stop_reason: StopReason
    error: str | None = None
    tokens: Tokens | None = None
    """None when the policy does not give token ids."""
    reward: dict[str, float] = {}
    """Named reward parts and their `total`; empty when not scored."""
    unscored: str | None = Field(None, exclude_if=lambda value: value is None)
    """Why scoring failed, if it was tried: `reward` then holds only the parts that are known, and no `total`."""
    settings: dict[str, JsonValue] = {}
    """Limits, sampling, seed and tools that the run used."""
    started: str = ""
    """UTC time, ISO 8601."""
    seconds: float = 0.0

    @property
    def images(self) -> tuple[ImageRef, ...]:
        """Every picture that the model was shown, in order: prompt first, then observations."""
        prompt = [ref for message in self.prompt for ref in message.images]
        shown = [p.image for turn in self.turns for p in turn.observation_parts if isinstance(p, ImagePart)]
        return (*prompt, *shown)

    @property
    def refs(self) -> frozenset[ImageRef]:
        """Every picture that the record names anywhere, shown or not: what a saved run must hold."""
        found = {*self.images, *self.question.images}
        for turn in self.turns:
            if turn.observation is not None:
                found.update(_observed(turn.observation))
        return frozenset(found)


def _observed(observation: Observation) -> Iterator[ImageRef]:
    if observation.image is not None:
        yield observation.image
    if observation.cell is not None:
        yield from observation.cell.images
    for hit in observation.hits or ():
        if hit.thumbnail is not None:
            yield hit.thumbnail


def image_ref(image: Image.Image) -> ImageRef:
    """The reference of an RGB picture: SHA-256 over mode, size and pixels."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return ImageRef(sha256=digest.hexdigest(), width=image.width, height=image.height)


class ImageStore:
    """Pictures by content. With a folder they are written to `<folder>/<sha256>.png` and read back on demand.

    All pictures are kept as RGB: transparency is laid over white, once, here. Files are written whole or not at all.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = folder
        self._held: dict[str, Image.Image] = {}

    def put(self, image: Image.Image) -> ImageRef:
        """Keep a picture and return its reference. Putting the same pixels twice keeps them once."""
        rgb = to_rgb(image)
        ref = image_ref(rgb)
        if self.folder is None:
            self._held.setdefault(ref.sha256, rgb)
        elif not (path := self.folder / f"{ref.sha256}.png").exists():
            _write_whole(path, rgb)
        return ref

    def get(self, ref: ImageRef) -> Image.Image:
        """The picture of a reference.

        Raises:
            RecordError: The picture is not there, or its file holds other pixels.
        """
        if ref.sha256 in self._held:
            return self._held[ref.sha256]
        if self.folder is None:
            raise RecordError(f"picture {ref.sha256[:12]}… is not in this store")
        path = self.folder / f"{ref.sha256}.png"
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except FileNotFoundError:
            raise RecordError(
                f"picture {path} is missing", "copy the images folder together with the JSONL file"
            ) from None
        except OSError as error:
            raise RecordError(f"picture {path} cannot be read: {error}") from error
        if image_ref(image) != ref:
            raise RecordError(f"picture {path} holds other pixels than its name says")
        return image

    def copy_to(self, other: "ImageStore", refs: Iterable[ImageRef]) -> None:
        """Put the pictures of `refs` into another store."""
        for ref in refs:
            other.put(self.get(ref))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB, transparency over white; EXIF and palette are gone. An RGB picture is copied."""
    if image.mode == "RGB":
        return image.copy()
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _write_whole(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    write_content(path, buffer.getvalue())
