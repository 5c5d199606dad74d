"""The real command line in a process of its own, and a loopback endpoint that speaks the OpenAI protocol."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import matplotlib
import pytest

SOURCE = Path(__file__).parents[2] / "src"


class Endpoint:
    """An OpenAI-compatible server on this machine that answers with given turns, then with `status`.

    Attributes:
        url: Its base URL.
        requests: Bodies of the chat requests, in order.
        keys: The Authorization headers, in order.
    """

    def __init__(self, turns: Sequence[str], models: Sequence[str] = ("tiny-vlm",), key: str | None = None):
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        endpoint, left = self, list(turns)

        class Handler(BaseHTTPRequestHandler):
            def _reply(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _allowed(self) -> bool:
                endpoint.keys.append(self.headers["Authorization"])
                if key is None or self.headers["Authorization"] == f"Bearer {key}":
                    return True
                self._reply(401, {"error": {"message": "no such key"}})
                return False

            def do_GET(self) -> None:
                if self._allowed():
                    known = self.path == "/v1/models"
                    self._reply(200 if known else 404, {"data": [{"id": name} for name in models]} if known else {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self._allowed():
                    return
                endpoint.requests.append(body)
                if not left:
                    self._reply(400, {"error": {"message": "the script has ended"}})
                    return
                text = left.pop(0)
                for stop in body.get("stop") or ():  # plain endpoints cut the stop string off
                    text = text.partition(stop)[0]
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 500, "completion_tokens": 40}
                self._reply(200, {"choices": [choice], "usage": usage})

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    """Starts endpoints: `endpoint(turns, models=..., key=...)`."""
    started: list[Endpoint] = []

    def start(*args: Any, **settings: Any) -> Endpoint:
        started.append(Endpoint(*args, **settings))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def foveal(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in `tmp_path`: `foveal("ask", ..., env={...})`."""

    def run(*words: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", "from foveal.cli import main; main()", *map(str, words)],
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": str(SOURCE), "COLUMNS": "200", "NO_COLOR": "1", **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def photo() -> Path:
    """A photo that foveal did not make: Grace Hopper, 512 × 600, shipped with matplotlib."""
    return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
