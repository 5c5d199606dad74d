import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from foveal.bench.catalogue import BENCHMARKS
from foveal.bench.figures import draw
from foveal.bench.rows import Row
from foveal.bench.run import Who, plan, run
from foveal.bench.settings import BenchSettings
from foveal.errors import PolicyError, SandboxError, SearchError
from foveal.policy.scripted import ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.records import read_run
from foveal.tools.base import Cell
from foveal.tools.session import Tools
from foveal.trajectory import Question, SearchHit


@pytest.fixture
def png() -> Callable[..., bytes]:
    """The bytes of a PNG of one colour."""

    def make(colour: str = "red", size: tuple[int, int] = (8, 6), kind: str = "PNG") -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, kind)
        return buffer.getvalue()

    return make


@pytest.fixture
def base64_png(png) -> str:
    """A picture as a TSV has it: more than 255 characters of base64."""
    return base64.b64encode(png(size=(64, 64)) + b"\0" * 300).decode()


@pytest.fixture
def ask() -> Callable[..., Question]:
    def make(*gold: str, text: str = "?", family: str | None = None, **meta: Any) -> Question:
        return Question(id="q", text=text, gold=gold, family=family, meta=meta)

    return make


@pytest.fixture
def row() -> Callable[..., Row]:
    def make(values: dict[str, Any], folder: Path | None = None, number: int = 0) -> Row:
        return Row(values, number, folder)

    return make


CODE = "<think>I look.</think>\n<code>\n```python\nimage_1\n```\n</code>"
SEARCH = '<think>I ask.</think>\n<tool_call>{"name": "search", "arguments": {"query": "capital of %s"}}</tool_call>'
CITIES = {"Peru": "Lima", "Italy": "Rome", "Japan": "Tokyo", "Kenya": "Nairobi", "Chad": "N'Djamena", "Iraq": "Baghdad"}


class Model:
    """Looks, searches for the country, and answers what it found; where it finds nothing, it knows Peru and Italy.

    Attributes:
        asked: Turns that were asked for, by country.
        seeds: Of every conversation.
        fails: Countries at which it is down.
        hangs: Whether it never writes a turn.
    """

    name = "model"

    def __init__(self, fails=(), hangs=False):
        self.asked, self.seeds, self.fails, self.hangs = Counter(), [], set(fails), hangs

    def open(self, images, sampling):
        self.seeds.append(sampling.seed)
        conversation = ScriptedPolicy(self.turn).open(images, sampling)
        if self.hangs:
            conversation.generate = lambda *limits: asyncio.sleep(3600)
        return conversation

    def turn(self, messages):
        country = messages[1].text.split(" of ")[1].split("?")[0]
        self.asked[country] += 1
        if country in self.fails:
            raise PolicyError("nobody answers")
        known = CITIES[country] if country in ("Peru", "Italy") else "I do not know"
        if "no tools" in messages[0].text:
            return answer(known)
        step = sum(message.role == "assistant" for message in messages)
        if step == 0:
            return CODE
        if step == 1:
            return SEARCH % country
        return answer(next((city for city in CITIES.values() if city in messages[-1].text), known))


def answer(text):
    return f"<think>So.</think><answer>{text}</answer>"


class Shell:
    """Every cell shows a red crop and prints its colour.

    Attributes:
        broken: Whether no session can be opened.
    """

    def __init__(self):
        self.broken = False

    async def open(self, images):
        if self.broken:
            raise SandboxError("no room for a session")
        return self

    async def run(self, code, timeout):
        return Cell("ok", "it is red", "", "Image", (Image.new("RGB", (64, 40), "red"),), 0.1, False)

    async def image(self, name):
        return None

    async def close(self):
        pass


class Search:
    """Knows the capitals.

    Attributes:
        down: Countries for which it fails.
        refused: Countries that it takes no query about.
        hangs: Whether it never answers.
    """

    name = "capitals"

    def __init__(self):
        self.down, self.refused, self.hangs = set(), set(), False

    async def search(self, query, k):
        if self.hangs:
            await asyncio.sleep(3600)
        country = query.removeprefix("capital of ")
        if country in self.refused:
            raise SearchError("the query is too long", of_request=True)
        if country in self.down:
            raise SearchError("the host is down")
        return [SearchHit(title=country, snippet=f"Its capital is {CITIES[country]}.", link="http://x.test")]


@pytest.fixture
def data(tmp_path) -> Path:
    """Rows of RealX-Bench: the first two share a picture."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rows = []
    for number, country in enumerate(CITIES):
        picture = f"{max(number, 1)}.png"
        Image.new("RGB", (48, 40), (40 * max(number, 1), 0, 0)).save(folder / "images" / picture)
        hard = {"perception": 1, "search": number % 2, "reason": int(number == 5)}
        rows.append(
            {"query": f"What is the capital of {country}?", "answer": CITIES[country], "image": picture, **hard}
        )
    (folder / "realx.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def world(data, tmp_path):
    """Runs the benchmark: `world(model, judge=..., n=...)` gives progress and figures."""

    class World:
        model, cities = Model, CITIES
        shell, search, folder = Shell(), Search(), tmp_path / "run"
        searched: ClassVar = {"index": "1" * 64}
        benchmark = BENCHMARKS["realx"]

        def who(self, model, judge=None):
            tools = Tools(code=self.shell, text=self.search, searched=self.searched)
            return Who(model, tools, "a test", FOVEAL, FOVEAL, judge, None)

        def __call__(self, model, judge=None, **changes):
            settings = BenchSettings.model_validate({"policy": "p", "data": data, "concurrency": 2, **changes})
            questions = plan(self.benchmark, settings)
            made = asyncio.run(run(self.benchmark, settings, questions, self.who(model, judge), self.folder))
            return made, draw(self.folder).figures

        def saved(self, mode):
            found = read_run(self.folder / mode)
            assert not found.problems
            return {t.question.text.split(" of ")[1].split("?")[0]: t for t in found.trajectories}

    return World()
