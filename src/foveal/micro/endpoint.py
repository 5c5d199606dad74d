"""The teachers behind an OpenAI-compatible endpoint on this machine: to try curation without a key or a bill.

    POST /v1/chat/completions   the models are `near` and `far` (`micro.teacher`)
    GET  /v1/models

A teacher knows the truth about the scenes of one question set, and finds its question by text and picture.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args

from PIL import Image

from foveal.errors import InputError
from foveal.micro.questions import Item, sample, sampled
from foveal.micro.settings import Teacher
from foveal.micro.teacher import turn
from foveal.policy.base import up_to_stop
from foveal.trajectory import Message, TextPart, image_ref

TEACHERS: tuple[Teacher, ...] = get_args(Teacher)
CHARACTERS_PER_TOKEN = 4
"""For the counts of the reply: the teachers have no tokens."""
MAX_REQUEST = 64 * 2**20
"""Bytes."""


class TeacherServer(ThreadingHTTPServer):
    """Serves the teachers until it is shut down.

    Args:
        split: Whose countries the questions are about.
        count: Questions that they know: those of `micro.questions.sample`.
        seed: Of the questions.
        port: On 127.0.0.1; 0 takes a free one.

    Raises:
        InputError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, split: str, count: int, seed: int, port: int = 0):
        self._made = split, seed
        self._places: dict[str, list[int]] = {}
        for place, item in enumerate(sample(split, count, seed)):  # scenes are drawn again when they are asked for
            self._places.setdefault(image_ref(item.scene.image).sha256, []).append(place)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror}", "name another one: --port") from error

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a chat request.

        Raises:
            LookupError: There is no such model or no such question; the request is not as it should be.
        """
        if body["model"] not in TEACHERS:
            raise LookupError(f"there is no model {body['model']!r}; there are {', '.join(TEACHERS)}")
        messages = [_message(message) for message in body["messages"]]
        text = turn(self._item(body["messages"]), messages, body["model"])
        # As plain endpoints do, without the stop string.
        stop = next((one for one in body.get("stop") or () if one in text), "")
        text = up_to_stop(text, (stop,)).removesuffix(stop) if stop else text
        usage = {
            "prompt_tokens": sum(len(message.text) for message in messages) // CHARACTERS_PER_TOKEN,
            "completion_tokens": len(text) // CHARACTERS_PER_TOKEN,
        }
        message = {"role": "assistant", "content": text}
        return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}

    def _item(self, messages: Sequence[Mapping[str, Any]]) -> Item:
        first = next(message for message in messages if message["role"] == "user")
        asked, picture = _message(first).text, _first_picture(first["content"])
        for place in self._places.get(picture or "", ()):
            item = sampled(*self._made, place)
            if asked.startswith(item.text):
                return item
        raise LookupError("the teachers know no such question about such a picture")


class _Handler(BaseHTTPRequestHandler):
    server: TeacherServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._say(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in TEACHERS]})
        else:
            self._fail(404, f"there is nothing at {self.path}")

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > MAX_REQUEST:
            self.close_connection = True
            return self._fail(413, "the request is too large")
        content = self.rfile.read(length)
        if self.path != "/v1/chat/completions":
            return self._fail(404, f"there is nothing at {self.path}")
        try:
            self._say(200, self.server.reply(json.loads(content)))
        except (LookupError, StopIteration, TypeError, ValueError, OSError) as error:
            self._fail(400, str(error) or "this is no chat request")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: there is a request for every turn."""

    def _fail(self, status: int, message: str) -> None:
        self._say(status, {"error": {"message": message}})

    def _say(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _message(message: Mapping[str, Any]) -> Message:
    """A chat message without its pictures."""
    content = message["content"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    return Message(role=message["role"], parts=tuple(TextPart(text=text) for text in texts))


def _first_picture(content: Any) -> str | None:
    """Hash of the pixels of the first picture of a message."""
    if isinstance(content, str):
        return None
    for part in content:
        if part["type"] == "image_url":
            data = part["image_url"]["url"].partition("base64,")[2]
            with Image.open(io.BytesIO(base64.b64decode(data))) as image:
                return image_ref(image.convert("RGB")).sha256
    return None
