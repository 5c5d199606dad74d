"""A pipeline over a loopback endpoint whose answers follow from what it is asked alone."""

import hashlib
import json
import random
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from foveal.cli import main

COUNT = 12
LOOK = "<think>I look.</think>\n<code>\n```python\nprint(6 * 7)\n```\n</code>"


def said(number):
    return f"<think>It is 42 or not.</think><answer>{number}</answer>"


class World:
    """An endpoint with a student and two teachers. Questions are `What is N?`.

    The student answers N without tools if N < 3, with tools if N < 6 and the seed is even. alice is right where N is
    even; bob always, but on every fourth question he never looks.

    Args:
        trouble: Given a random number from 0 to 1 and the handler, may spoil the reply and return True.
    """

    def __init__(self, trouble=lambda dice, handler: False):
        self.replies, rng, world = Counter(), random.Random(1), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if trouble(rng.random(), self):
                    return
                world.replies[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
                text = world.reply(body)
                for stop in body.get("stop") or ():
                    text = text.partition(stop)[0]
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 500, "completion_tokens": 40}
                self.say(200, json.dumps({"choices": [choice], "usage": usage}).encode())

            def say(self, status, content, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(content), **headers}.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """A client that was killed hangs up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def reply(self, body):
        user = body["messages"][1]["content"]
        text = user if isinstance(user, str) else " ".join(part.get("text", "") for part in user)
        number, looked = int(re.search(r"What is (\d+)\?", text)[1]), len(body["messages"]) > 2
        tools = "<code>" in json.dumps(body["messages"][0])
        match body["model"]:
            case "student" if not tools:
                return said(number if number < 3 else "?")
            case "student":
                return (said(number if number < 6 and body["seed"] % 2 == 0 else "?")) if looked else LOOK
            case "alice":
                return (said(number if number % 2 == 0 else "?")) if looked else LOOK
            case _:
                return said(number) if looked or number % 4 == 0 else LOOK


@pytest.fixture
def world():
    started = []

    def make(**options):
        started.append(World(**options))
        return started[-1]

    yield make
    for one in started:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def config(tmp_path):
    """Raw rows with pictures, and the settings of a pipeline over an endpoint."""

    def make(url: str) -> Path:
        raw = tmp_path / "raw"
        raw.mkdir(exist_ok=True)
        rows = []
        for number in range(COUNT):
            Image.new("RGB", (64, 64), (20 * number, 0, 99)).save(raw / f"{number}.png")
            rows.append({"q": f"What is {number}?", "pic": f"{number}.png", "a": number, "kind": "xy"[number % 2]})
        rows.append({"q": "", "pic": "0.png", "a": 1})
        rows.append({"q": "What is 99?", "pic": "none.png", "a": 1})
        (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (raw / "cot.jsonl").write_text(
            "".join(json.dumps({"q": f"{n} + {n}?", "s": f"Twice {n}.", "a": 2 * n}) + "\n" for n in range(9))
        )
        file = tmp_path / "curate.toml"
        who = f'policy = "{url}"\ntimeout = 1.0\nconcurrency = 4\nprice = {{ prompt = 1.0, completion = 10.0 }}'
        file.write_text(f"""
seed = 3
[[sources]]
name = "raw"
path = "{raw / "rows.jsonl"}"
licence = "CC0-1.0"
columns = {{ question = "q", images = "pic", answer = "a", family = "kind" }}
[student]
model = "student"
{who}
[[teachers]]
name = "alice"
model = "alice"
{who}
[[teachers]]
name = "bob"
model = "bob"
{who}
[tools]
code = true
[limits]
max_turns = 4
[difficulty]
samples = 4
[benefit]
samples = 4
[verify]
per_question = 2
[long_cot]
share = 0.5
[[long_cot.sources]]
name = "cot"
path = "{raw / "cot.jsonl"}"
columns = {{ question = "q", reasoning = "s", answer = "a" }}
""")
        return file

    return make


@pytest.fixture
def curate():
    """Runs a step: its exit code and figures."""

    def run(step, config, folder, *words):
        out = folder.parent / "figures.json"
        out.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as end:
            main(["curate", step, "--config", str(config), "--folder", str(folder), "--json", str(out), *words])
        return end.value.code, json.loads(out.read_text()) if out.exists() else {}

    return run
