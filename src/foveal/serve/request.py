"""Reading a chat request: what is asked, and how. What the agent cannot do as asked is refused, never passed over.

- The texts of all user messages, one under the other, are the question; its pictures are `image_1` ... `image_n`. A
  picture between two texts leaves `[image_n]` in its place, since the agent shows pictures before the question.
- System (or developer) messages go behind the agent's own system prompt.
- Earlier assistant turns are refused: the agent answers one question, and what its tools gave back for an earlier one
  is not in the request.
"""

import base64
import binascii
import io
import re
from typing import Annotated, Any, Literal, NamedTuple

from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from foveal.tools.search.loaders import read_picture

MAX_PIXELS = 100_000_000
"""Of all pictures of a request together; they are held at three bytes a pixel."""

_DATA = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


class Refused(Exception):
    """A request that is not carried out: becomes an error object.

    Args:
        message: What is wrong, and what to do instead.
        param: The field.
        code: For programs.
        status: Of HTTP.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400):
        super().__init__(message)
        self.message, self.param, self.code, self.status = message, param, code, status


class Asked(NamedTuple):
    """What a request asks for; None where it leaves the choice to the server."""

    model: str
    question: str
    pictures: tuple[Image.Image, ...]
    system: str
    temperature: float | None
    top_p: float | None
    seed: int | None
    max_tokens: int | None
    stream: bool
    stream_usage: bool


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _ImageUrl(_Shape):
    url: str
    detail: Literal["auto", "low", "high"] | None = None
    """Without effect: the picture is taken as it was sent, and harnesses send this with every one."""


class _Text(_Shape):
    type: Literal["text"]
    text: str


class _Image(_Shape):
    type: Literal["image_url"]
    image_url: _ImageUrl


def _parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class _Message(_Shape):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[list[Annotated[_Text | _Image, Field(discriminator="type")]], BeforeValidator(_parts)]
    name: str | None = None


class _StreamOptions(_Shape):
    include_usage: bool = False


class _ResponseFormat(_Shape):
    type: Literal["text"]


class _Body(_Shape):
    """Every parameter that is understood; of those in `_NEUTRAL`, only the value that changes nothing."""

    model: str
    messages: list[_Message] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: str | None = None
    n: Literal[1] | None = None
    stop: Annotated[list[str], Field(max_length=0)] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logprobs: Literal[False] | None = None
    response_format: _ResponseFormat | None = None


_NEUTRAL = ("n", "stop", "tools", "presence_penalty", "frequency_penalty", "logprobs", "response_format")


def read_request(content: bytes, max_pixels: int = MAX_PIXELS) -> Asked:
    """What the body of a chat request asks for.

    Args:
        content: JSON.
        max_pixels: Most that the pictures may have together.

    Raises:
        Refused: It is no chat request, or asks for what the agent does not do.
    """
    try:
        body = _Body.model_validate_json(content)
    except ValidationError as error:
        raise _refusal(error) from None
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise Refused("max_tokens and max_completion_tokens differ: give one of them", "max_tokens")
    question, pictures = _question(body.messages, max_pixels)
    system = [part.text for one in body.messages if one.role in ("system", "developer") for part in _texts(one)]
    return Asked(
        model=body.model,
        question=question,
        pictures=pictures,
        system="\n\n".join(text for text in system if text.strip()),
        temperature=body.temperature,
        top_p=body.top_p,
        seed=body.seed,
        max_tokens=body.max_tokens or body.max_completion_tokens,
        stream=body.stream or False,
        stream_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def _refusal(error: ValidationError) -> Refused:
    """The first thing that is wrong, without the value: it may be a picture."""
    first = error.errors(include_url=False, include_input=False)[0]
    # Behind the number of a part stands its kind, which is no field.
    steps = zip(("", *first["loc"]), first["loc"], strict=False)
    param = ".".join(
        str(key) for before, key in steps if not (isinstance(before, int) and key in ("text", "image_url"))
    )
    if first["type"] == "extra_forbidden" or param.partition(".")[0] in _NEUTRAL:
        return Refused(f"{param} is not supported here: leave it out", param, "unsupported_parameter")
    if first["type"] == "json_invalid":
        return Refused(f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    return Refused(f"{param}: {first['msg']}" if param else first["msg"], param or None, "invalid_value")


def _texts(message: _Message) -> list[_Text]:
    found = [part for part in message.content if isinstance(part, _Text)]
    if len(found) < len(message.content):
        raise Refused(f"a {message.role} message cannot hold pictures: put them into a user message", "messages")
    return found


def _question(messages: list[_Message], max_pixels: int) -> tuple[str, tuple[Image.Image, ...]]:
    parts: list[_Text | _Image] = []
    for place, message in enumerate(messages):
        if message.role == "assistant":
            raise Refused(
                "earlier assistant turns are not supported: ask one question a request, with everything it needs",
                f"messages.{place}",
                "unsupported_value",
            )
        if message.role == "user":
            parts += [part for part in message.content if isinstance(part, _Image) or part.text.strip()]
    places = [place for place, part in enumerate(parts) if isinstance(part, _Text)]
    if not places:
        raise Refused("there is no question: no user message holds text", "messages")
    between = any(isinstance(part, _Image) for part in parts[places[0] : places[-1]])
    lines: list[str] = []
    pictures: list[Image.Image] = []
    for part in parts:
        if isinstance(part, _Text):
            lines.append(part.text)
            continue
        pictures.append(_picture(part.image_url.url, len(pictures) + 1))
        if between:
            lines.append(f"[image_{len(pictures)}]")
        if sum(picture.width * picture.height for picture in pictures) > max_pixels:
            raise Refused(f"the pictures have more than {max_pixels} pixels together: send smaller ones", "messages")
    return "\n".join(lines), tuple(pictures)


def _picture(url: str, number: int) -> Image.Image:
    """The picture of a data URL, upright, as RGB."""
    start = _DATA.match(url)
    if start is None:
        raise Refused(
            f"picture {number} is no data URL: addresses are not fetched, send data:image/png;base64,...",
            "messages",
            "unsupported_value",
        )
    try:
        return read_picture(io.BytesIO(base64.b64decode(url[start.end() :], validate=True)))
    except (binascii.Error, ValueError) as error:
        raise Refused(f"picture {number} cannot be used: {error}", "messages", "invalid_image") from None
