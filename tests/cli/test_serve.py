import base64
import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from foveal.micro import scenes
from foveal.micro.facts import countries
from foveal.records import read_run

SOURCE = Path(__file__).parents[2] / "src"
BOX = (130, 60, 360, 330)
CROP = f"""<think>I look at the face more closely.</think>
<code>
```python
face = image_1.crop({BOX})
face
```
</code>"""
ANSWER = "<think>A person in uniform.</think>\n<answer>a naval officer</answer>"


class Server:
    """`foveal serve` in a process of its own, in which a warning is an error."""

    def __init__(self, folder, *words, env=None):
        clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        self.errors = folder / "errors.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", "from foveal.cli import main; main()", "serve", *map(str, words)],
                cwd=folder,
                env={**clean, "PYTHONPATH": str(SOURCE), "COLUMNS": "200", "NO_COLOR": "1", **(env or {})},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"http://127\.0\.0\.1:\d+/v1", line):
                self.url = found[0]
                return
        self.end()
        raise AssertionError(self.said + self.errors.read_text())

    def end(self, number=signal.SIGTERM):
        """The exit code."""
        self.process.send_signal(number)
        self.said += self.process.communicate(timeout=120)[0]
        return self.process.returncode


@pytest.fixture
def serving(tmp_path):
    started = []

    def start(*words, **settings):
        started.append(Server(tmp_path, *words, **settings))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


def asked(picture, question, model):
    url = f"data:image/jpeg;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question}]
    return {"model": model, "messages": [{"role": "user", "content": content}]}


def test_model_and_sandbox_answer_as_one_and_every_step_is_saved(serving, foveal, endpoint, photo, tmp_path):
    upstream = endpoint([CROP, ANSWER], key="up")
    keys = {"FOVEAL_API_KEY": "up", "MINE_KEY": "s3cret"}
    options = ("--port", 0, "--run", "run", "--api-key-env", "MINE_KEY")
    server = serving("--policy", upstream.url, *options, env=keys)
    assert "tiny-vlm at http://127.0.0.1:" in server.said and "with code (isolation: ns)" in server.said
    body = asked(photo, "Who is this?", "tiny-vlm")
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
        assert client.post("/chat/completions", json=body).status_code == 401
        client.headers["Authorization"] = "Bearer s3cret"
        reply = client.post("/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["choices"][0]["message"]["content"] == "a naval officer"
    assert reply.json()["usage"] == {"prompt_tokens": 1000, "completion_tokens": 80, "total_tokens": 1080}
    assert set(upstream.keys) == {"Bearer up"}

    assert server.end() == 0
    assert "foveal view run" in server.said
    assert "Traceback" not in server.errors.read_text()
    [trajectory] = read_run(tmp_path / "run").trajectories
    assert trajectory.turns[0].observation.cell.images[0].width == BOX[2] - BOX[0]
    assert foveal("view", "run").returncode == 0
    page = Path(reply.json()["foveal"]["page"])
    assert "a naval officer" in page.read_text()
    assert "s3cret" not in page.read_text() + server.said + server.errors.read_text()


def test_ctrl_c_ends_it_while_the_model_is_at_work(serving, endpoint, photo):
    upstream = endpoint([600.0])
    server = serving("--policy", upstream.url, "--port", 0, "--name", "mine")
    body = {**asked(photo, "Who?", "mine"), "stream": True}
    with (
        httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client,
        client.stream("POST", "/chat/completions", json=body) as reply,
    ):
        lines = reply.iter_lines()
        assert '"role": "assistant"' in next(lines)
        assert server.end(signal.SIGINT) == 0
        assert "the server is stopping" in "".join(lines)
    assert "Traceback" not in server.errors.read_text()


def test_the_shipped_model_answers_only_about_its_world(serving, photo, tmp_path):
    codes = [country.code for country in countries()]
    scenes.generate(random.Random(0), codes, 2, 1).image.save(tmp_path / "scene.png")
    server = serving("--port", 0)
    with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:

        def post(*words):
            return client.post("/chat/completions", json=asked(*words, "foveal-micro-rl"))

        good = post(tmp_path / "scene.png", "What colour is the ball?")
        assert good.status_code == 200
        assert good.json()["choices"][0]["message"]["content"] in scenes.COLOURS
        assert good.json()["usage"]["completion_tokens"] > 0
        assert "knows only its own world" in post(photo, "What colour is the ball?").json()["error"]["message"]
        assert "has not learned" in post(tmp_path / "scene.png", "Is this art?").json()["error"]["message"]
        body = asked(tmp_path / "scene.png", "What colour is the ball?", "foveal-micro-rl")
        body["messages"].insert(0, {"role": "system", "content": "Be brief."})
        assert "its own system prompt" in client.post("/chat/completions", json=body).json()["error"]["message"]
    assert server.end() == 0


def test_what_cannot_be_served_is_told_before_anything_is_opened(foveal, endpoint, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = foveal("serve", "--port", port)
        assert done.returncode == 2 and f"port {port} cannot be used" in done.stderr
    done = foveal("serve", "--port", 0, "--api-key-env", "NO_SUCH_KEY")
    assert done.returncode == 2 and "NO_SUCH_KEY is not set" in done.stderr
    done = foveal("serve", "--port", 0, "--profile", "deepeyes-v2")
    assert done.returncode == 2 and "comes with its own prompt" in done.stderr
    done = foveal("serve", "--port", 0, "--policy", tmp_path / "nothing")
    assert done.returncode == 2 and "there is no folder" in done.stderr
