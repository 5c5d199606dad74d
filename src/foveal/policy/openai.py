"""A policy behind any OpenAI-compatible chat endpoint: vLLM, SGLang, llama.cpp, OpenAI and others.

- **Pictures** travel as data URLs: PNG, to the pixel; above 2 million pixels JPEG of quality 95, for smaller requests.
- **Stop strings** are sent as `stop`. Plain endpoints cut them off, and `include_stop_str_in_output` is not part of the
  API, so it is never sent: the closing tag is put back here. Text that runs past a stop string is cut here, too.
- **Thinking** that the endpoint returns apart (`reasoning_content`, `reasoning`) comes back as `<think>...</think>`.
- **Retries**: 429, 5xx, time-outs, broken connections, and a 200 without a completion (some gateways send errors that
  way), with exponential backoff and jitter, honouring `Retry-After`. Everything else fails at once with a `PolicyError`
  that names the fix. A limiter holds every try back, not every reply.
- **Tokens**: the endpoint only tells counts afterwards, so budgets cannot be checked before a message is appended.
- **Seeds**: sent only when sampling, as they are given: who wants several samples of a question gives several seeds.

The HTTP client is made at the first request in an event loop, and closed with the last conversation that used it.
"""

import asyncio
import base64
import contextlib
import io
import logging
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import httpx
from aiolimiter import AsyncLimiter
from PIL import Image
from pydantic import BaseModel, Field

from foveal.config import Sampling
from foveal.errors import ConfigError, PolicyError
from foveal.policy.base import Generation, up_to_stop
from foveal.retry import retry_after
from foveal.trajectory import ImagePart, ImageRef, ImageStore, Message, Tokens

_ADDRESS = re.compile(r"""(?<=://)[^\s"'\\]+""")

MAX_PNG_PIXELS = 2_000_000
MAX_BACKOFF_SECONDS = 30.0
MAX_RETRY_AFTER_SECONDS = 120.0
"""An endpoint that asks for a longer wait is a failure: a quota is used up."""

_CONTEXT = re.compile(r"context (length|window|size)|max_model_len|too many tokens|prompt is too long", re.IGNORECASE)
_UNSUPPORTED = re.compile(r"unsupported parameter: '(max_tokens|stop)'", re.IGNORECASE)

log = logging.getLogger(__name__)


class _ReplyMessage(BaseModel):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(BaseModel):
    message: _ReplyMessage
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM: the stop string that was met."""


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Reply(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass
class _Client:
    http: httpx.AsyncClient
    free: asyncio.Semaphore
    users: int = 0


class OpenAIPolicy:
    """A model behind `<base_url>/chat/completions`.

    Args:
        base_url: As in `http://127.0.0.1:8000/v1`.
        model: Name of the model at the endpoint.
        api_key: Sent as a bearer token; None sends none.
        timeout: Seconds to wait for one reply.
        max_retries: Further tries after a failure that may pass.
        max_concurrency: Requests in flight at a time.
        backoff: Seconds before the first retry; doubled for each further one.
        transport: Another httpx transport, to call an app in the same process or to record.
        limiter: Holds requests back, further tries among them; None holds none.

    Raises:
        ConfigError: `base_url` is no http or https address.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None = None,
        timeout: float = 300.0,
        max_retries: int = 5,
        max_concurrency: int = 32,
        backoff: float = 0.5,
        transport: httpx.AsyncBaseTransport | None = None,
        limiter: AsyncLimiter | None = None,
    ):
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL:
            url = httpx.URL()
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigError(
                f"{without_login(base_url)!r} is no address of an endpoint", "write it as http://127.0.0.1:8000/v1"
            )
        self.name = model
        # A name and a password in the address are sent, and never shown: the address is told in errors.
        self._login = (url.username, url.password) if url.userinfo else None
        self.url = without_login(base_url).rstrip("/") + "/chat/completions"
        self._api_key = api_key
        self._timeout = timeout
        self._max_retries = max_retries
        self._max_concurrency = max_concurrency
        self._backoff = backoff
        self._transport = transport
        self._limiter = limiter
        self._clients: dict[asyncio.AbstractEventLoop, _Client] = {}
        self._unsupported: set[str] = set()

    def open(self, images: ImageStore, sampling: Sampling) -> "OpenAIConversation":
        """Start a conversation. Nothing is sent before its first turn."""
        options: dict[str, Any] = {"temperature": sampling.temperature}
        if sampling.top_p < 1:
            options["top_p"] = sampling.top_p
        if sampling.temperature > 0:
            options["seed"] = sampling.seed
        return OpenAIConversation(self, images, options)

    def hold(self) -> _Client:
        """The HTTP client of the running event loop, kept open until `release`."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
            http = httpx.AsyncClient(
                headers=headers,
                auth=self._login,
                timeout=httpx.Timeout(self._timeout, connect=min(self._timeout, 20.0)),
                limits=httpx.Limits(max_connections=self._max_concurrency),
                transport=self._transport,
            )
            self._clients[loop] = _Client(http, asyncio.Semaphore(self._max_concurrency))
        client = self._clients[loop]
        client.users += 1
        return client

    async def release(self, client: _Client) -> None:
        """Give a client back; the last one to do so closes it."""
        client.users -= 1
        if client.users == 0:
            del self._clients[asyncio.get_running_loop()]
            await client.http.aclose()

    async def complete(
        self,
        client: _Client,
        messages: Sequence[dict[str, Any]],
        options: dict[str, Any],
        max_tokens: int,
        stop: Sequence[str],
    ) -> _Reply:
        """One chat completion, retried while there is hope. Every try takes a slot of the limiter.

        Raises:
            PolicyError: It failed for good.
        """
        attempt = 0
        while True:
            body = {"model": self.name, "messages": messages, **options}
            body["max_completion_tokens" if "max_tokens" in self._unsupported else "max_tokens"] = max_tokens
            if stop and "stop" not in self._unsupported:
                body["stop"] = list(stop)
            wait = None
            try:
                # The slot last: who had one and then waited for a free connection would post together with others.
                async with client.free, self._limiter or contextlib.nullcontext(), asyncio.timeout(self._timeout):
                    response = await client.http.post(self.url, json=body)  # the client's time-out is one of each read
            except (httpx.RequestError, TimeoutError) as error:
                failure = f"{type(error).__name__} {error}".strip()
            else:
                if response.status_code == 200:
                    try:
                        return _Reply.model_validate(response.json())
                    except ValueError:  # no JSON, or another one: pydantic's ValidationError is a ValueError
                        wait = retry_after(response)
                        failure = f"HTTP 200 without a completion: {self._message(response)}"
                elif field := self._unsupported_field(response, body):
                    self._unsupported.add(field)
                    continue
                elif _may_pass(response):
                    wait = retry_after(response)
                    failure = f"HTTP {response.status_code} {self._message(response)}"
                else:
                    self._refuse(response)
            attempt += 1
            if attempt > self._max_retries or (wait or 0) > MAX_RETRY_AFTER_SECONDS:
                later = f" and asks to wait {wait:.0f} s" if wait else ""
                raise PolicyError(
                    f"{self.url} failed {attempt} times{later}; last: {failure}",
                    "check that the base URL is that of a chat endpoint, that it is up and reachable, and its quota",
                )
            if not wait:  # "at once", or a date that has passed by this clock, is no reason to hammer
                wait = min(self._backoff * 2 ** (attempt - 1), MAX_BACKOFF_SECONDS) * random.uniform(0.5, 1.5)
            log.warning("%s: %s; trying again in %.1f s", self.url, failure, wait)
            await asyncio.sleep(wait)

    def _unsupported_field(self, response: httpx.Response, body: dict[str, Any]) -> str | None:
        """Newer OpenAI models refuse `max_tokens` and `stop`; both can be said or done in another way.

        What this request sent counts, not what is known by now: others under way may have been refused before.
        """
        if response.status_code != 400 or not (match := _UNSUPPORTED.search(self._message(response))):
            return None
        field = match[1].lower()
        return field if field in body else None

    def _refuse(self, response: httpx.Response) -> NoReturn:
        """Raise the error of a reply that will not get better."""
        status, message = response.status_code, self._message(response)
        if status in (401, 403):
            fix = "give the right API key" if self._api_key else "the endpoint wants an API key, and none was given"
        elif status == 404 and "model" in message.lower():
            fix = f"name a model that the endpoint serves: curl {self.url.removesuffix('/chat/completions')}/models"
        elif status == 404:
            fix = "check the base URL (most end in /v1) and the model name"
        elif _CONTEXT.search(message):
            fix = "lower the limits max_context and max_turn_tokens, or serve the model with a longer context"
        elif status == 429:
            fix = "the quota of this key is used up: raise it, or use another endpoint"
        elif status == 413:
            fix = "lower the limit max_image_pixels: the pictures make the request too large"
        else:
            fix = "check the model and the settings of the request against what the endpoint accepts"
        raise PolicyError(f"{self.url} answered HTTP {status} for model {self.name}: {message}", fix)

    def _message(self, response: httpx.Response) -> str:
        """What the endpoint says, in its own words, without the key."""
        try:
            value = response.json()
        except ValueError:
            value = None
        error = value.get("error", value) if isinstance(value, dict) else value
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail")
        text = error if isinstance(error, str) else response.text
        if self._api_key:
            text = text.replace(self._api_key, "***")
        return " ".join(text.split())[:500] or "(empty reply)"


def without_login(text: str) -> str:
    """Text as it may be shown: addresses in it without the name and the password that they may hold.

    An address that cannot be parsed is left out: nobody can tell where in it a password ends.
    """
    return _ADDRESS.sub(lambda found: _host_and_path(found[0]), text)


def _host_and_path(rest: str) -> str:
    try:
        url = httpx.URL(f"http://{rest}")
    except httpx.InvalidURL:
        return "…"
    return re.sub(r"^[^/?#]*@", "", rest) if url.userinfo else rest


class OpenAIConversation:
    """One trajectory's messages. Made by `OpenAIPolicy.open`."""

    def __init__(self, policy: OpenAIPolicy, images: ImageStore, options: dict[str, Any]):
        self._policy = policy
        self._images = images
        self._options = options
        self._messages: list[dict[str, Any]] = []
        self._client: _Client | None = None

    @property
    def num_tokens(self) -> int | None:
        """None: the endpoint counts afterwards only."""
        return None

    def cost(self, message: Message) -> int | None:
        """None: the endpoint counts afterwards only."""
        return None

    async def append(self, message: Message) -> None:
        """Add a message; its pictures are encoded once, here."""
        if not message.images:
            self._messages.append({"role": message.role, "content": message.text})
            return
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                url = await asyncio.to_thread(self._url, part.image)
                content.append({"type": "image_url", "image_url": {"url": url}})
            else:
                content.append({"type": "text", "text": part.text})
        self._messages.append({"role": message.role, "content": content})

    def _url(self, ref: ImageRef) -> str:
        return data_url(self._images.get(ref))

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        """The next turn, closing tag included.

        Raises:
            PolicyError: The endpoint failed for good.
        """
        if self._client is None:
            self._client = self._policy.hold()
        reply = await self._policy.complete(self._client, self._messages, self._options, max_tokens, stop)
        choice, usage = reply.choices[0], reply.usage or _Usage()
        text, said = choice.message.content or "", choice.message.reasoning_content or choice.message.reasoning
        cut = choice.finish_reason == "length"
        text = with_stop(text, stop, cut, choice.stop_reason)
        if said:  # a stop string that the thinking only mentions ended nothing
            text = f"<think>{said.strip()}</think>\n{text}"
        text = text.encode(errors="replace").decode()
        self._messages.append({"role": "assistant", "content": text})
        finish: Literal["stop", "length"] = "length" if cut and not text.endswith(tuple(stop)) else "stop"
        return Generation(text, finish, usage.prompt_tokens, usage.completion_tokens)

    def tokens(self) -> Tokens | None:
        """None: chat endpoints do not take token ids."""
        return None

    async def close(self) -> None:
        """Let go of the HTTP client. Safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await self._policy.release(client)


def with_stop(text: str, stop: Sequence[str], cut: bool, met: str | int | None = None) -> str:
    """The text up to and including the first stop string, put back if the endpoint took it away.

    Args:
        text: As the endpoint returned it.
        stop: The stop strings of the request.
        cut: Whether the endpoint stopped at the token limit.
        met: The stop string that the endpoint says it met, if it says so.
    """
    if cut or any(string in text for string in stop):
        return up_to_stop(text, stop)
    if isinstance(met, str) and met in stop:
        return text + met
    # Which tag is still open? One that was only mentioned in the thinking is not.
    opened = {text.rfind(string.replace("</", "<")): string for string in stop if string.startswith("</")}
    last = max(opened, default=-1)
    return text + opened[last] if last > text.rfind("</think>") else text


def data_url(image: Image.Image) -> str:
    """The picture as a data URL: PNG, or JPEG of quality 95 above `MAX_PNG_PIXELS`."""
    buffer = io.BytesIO()
    if image.width * image.height <= MAX_PNG_PIXELS:
        image.save(buffer, "PNG", compress_level=1)
        kind = "png"
    else:
        image.save(buffer, "JPEG", quality=95)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _may_pass(response: httpx.Response) -> bool:
    if response.status_code == 429:
        return "insufficient_quota" not in response.text
    return response.status_code in (408, 425) or response.status_code >= 500
