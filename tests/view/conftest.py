"""A saved run with every kind of turn, and a real Chromium to look at its pages."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw

from foveal.records import RunWriter
from foveal.trajectory import (
    CellResult,
    ImagePart,
    Message,
    Observation,
    Question,
    SearchHit,
    StopReason,
    TextPart,
    ToolCall,
    ToolError,
    Trajectory,
    Turn,
)

HOSTILE = "</script></style><img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)> & {{7*7}}"


ALL_IMAGES = """
for (const image of document.images) image.loading = "eager";
return Promise.all([...document.images].map((i) => i.decode().catch(() => null)))
  .then(() => [...document.images].map((i) => [i.getAttribute("src"), i.naturalWidth]));
"""

TOO_WIDE = """
const wide = [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !e.closest("svg");
});
return wide.map((e) => `${e.tagName}.${e.className} ${e.getBoundingClientRect().right}`);
"""

LOW_CONTRAST = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const ground = (e) => {
  const color = getComputedStyle(e).backgroundColor;
  return color.startsWith("rgb(") ? numbers(color) : ground(e.parentElement);
};
const texts = [...document.querySelectorAll("p, pre, dt, dd span, small, summary, h1, h3, .code span")];
return texts.filter((e) => e.textContent.trim()).map((e) => {
  const [b, a] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => x - y);
  return [(a + 0.05) / (b + 0.05), e.className, e.textContent.slice(0, 30)];
}).filter(([contrast]) => contrast < 4.5);
"""


def picture(width: int, height: int, words: str) -> Image.Image:
    image = Image.new("RGB", (width, height), (186, 208, 224))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, height * 0.62, width, height), fill=(118, 132, 104))
    draw.rectangle((width * 0.55, height * 0.3, width * 0.8, height * 0.62), fill=(176, 84, 62))
    draw.text((width * 0.57, height * 0.4), words, fill="white", font_size=height / 22)
    return image


def add_trajectories(writer: RunWriter) -> None:
    scene = picture(1200, 900, "BAKERY 7")
    street = writer.images.put(scene)
    crop = writer.images.put(scene.crop((640, 250, 1000, 590)))
    thumb = writer.images.put(picture(96, 64, "x"))
    prompt = (
        Message(role="system", parts=(TextPart(text="Look closely.\n" * 3),)),
        Message(role="user", parts=(ImagePart(image=street), TextPart(text="What number is on the red house?"))),
    )
    code = "# zoom in\nbox = (640, 250, 1000, 590)\npiece = image_1.crop(box)\nprint(piece.size)\npiece"
    zoom = Turn(
        text=f"<think>The sign is too small to read, so I cut it out.</think>\n<code>\n```python\n{code}\n```\n</code>",
        call=ToolCall(tool="code", arguments={"code": code}),
        observation=Observation(
            tool="code", cell=CellResult(status="ok", stdout="(360, 340)\n", images=(crop,), seconds=0.03), seconds=0.03
        ),
        observation_parts=(TextPart(text="Code execution result:\nstdout:\n(360, 340)"), ImagePart(image=crop)),
        prompt_tokens=812,
        completion_tokens=64,
        seconds=2.1,
    )
    broken = Turn(
        text="<think>Now compute.</think>\n<code>\n```python\n1 / 0\n```\n</code>",
        call=ToolCall(tool="code", arguments={"code": "1 / 0"}),
        observation=Observation(
            tool="code", cell=CellResult(status="error", stderr="ZeroDivisionError: division by zero", seconds=0.01)
        ),
        seconds=1.0,
    )
    lookup = Turn(
        text="<think>Who runs it?</think>\n"
        '<tool_call>{"name": "search", "arguments": {"query": "bakery 7"}}</tool_call>',
        call=ToolCall(tool="search", arguments={"query": "bakery 7"}),
        observation=Observation(
            tool="search",
            query="bakery 7",
            hits=(
                SearchHit(
                    title="Bakery 7",
                    link="https://example.org/7",
                    snippet="Open since 1931.",
                    source="example.org",
                    date="2024-05-01",
                    score=3.2,
                ),
                SearchHit(title="A trap", link="javascript:alert(4)", snippet="Do not click."),
            ),
            seconds=0.2,
        ),
        seconds=1.4,
    )
    similar = Turn(
        text='<tool_call>{"name": "image_search", "arguments": {}}</tool_call>',
        call=ToolCall(tool="image_search"),
        observation=Observation(
            tool="image_search", image=crop, hits=(SearchHit(title="A red house", thumbnail=thumb),), seconds=0.1
        ),
    )
    answer = Turn(text="<think>It reads 7.</think>\n<answer>7</answer>", completion_tokens=12, seconds=0.6)
    question = Question(
        id="q1", text="What number is on the red house?", images=(street,), gold=("7", "seven"), family="perception"
    )
    writer.write(
        Trajectory(
            id="a-1",
            question=question,
            policy="scripted",
            profile="foveal",
            prompt=prompt,
            turns=(zoom, lookup, similar, answer),
            answer="7",
            stop_reason=StopReason.ANSWERED,
            reward={"accuracy": 1.0, "format": 1.0},
            settings={"max_turns": 9, "seed": 0},
            started="2026-11-21T06:00:00Z",
            seconds=5.2,
        )
    )
    flood = "\n".join(f"line {n} of a very long output" for n in range(600))
    loud = broken.model_copy(
        update={
            "text": "<think>Print all.</think>\n<code>\n```python\nfor n in range(600): print(n)\n```\n</code>",
            "call": ToolCall(tool="code", arguments={"code": "for n in range(600): print(n)"}),
            "observation": Observation(tool="code", cell=CellResult(status="ok", stdout=flood)),
        }
    )
    writer.write(
        Trajectory(
            id="a-2",
            question=question.model_copy(update={"id": "q2", "family": "reasoning", "text": "How many windows?"}),
            policy="scripted",
            profile="foveal",
            turns=(broken, loud, Turn(text="<answer>12</answer>")),
            answer="12",
            stop_reason=StopReason.ANSWERED,
            reward={"accuracy": 0.0, "format": 1.0},
            seconds=3.0,
        )
    )
    bad = Turn(
        text=f"<think>{HOSTILE}</think>\n{HOSTILE}",
        observation=Observation(tool="code", error=ToolError(kind="format", message=HOSTILE)),
        observation_parts=(TextPart(text=HOSTILE),),
    )
    trap = Turn(
        text=f"<code>\n```python\n{HOSTILE}\n```\n</code>",
        call=ToolCall(tool="code", arguments={"code": HOSTILE}),
        observation=Observation(
            tool="code", cell=CellResult(status="timeout", stdout=HOSTILE, stderr=HOSTILE, result=HOSTILE)
        ),
    )
    link = f'https://x/"{HOSTILE}'
    hit = SearchHit(title=HOSTILE, link=link, snippet=HOSTILE, source=HOSTILE, date=HOSTILE)
    found = Turn(
        text="<tool_call>{}</tool_call>",
        call=ToolCall(tool=HOSTILE, arguments={"query": HOSTILE}),
        observation=Observation(tool="search", query=HOSTILE, hits=(hit,)),
    )
    asked = {"id": HOSTILE, "text": HOSTILE, "gold": (HOSTILE,), "family": HOSTILE, "meta": {HOSTILE: HOSTILE}}
    writer.write(
        Trajectory(
            id=HOSTILE,
            question=Question(images=(thumb,), **asked),
            policy=HOSTILE,
            profile=HOSTILE,
            prompt=(Message(role="system", parts=(TextPart(text=HOSTILE),)),),
            turns=(bad, trap, found),
            answer=HOSTILE,
            error=HOSTILE,
            unscored=HOSTILE,
            stop_reason=StopReason.POLICY_ERROR,
            reward={HOSTILE: 1.0},
            settings={HOSTILE: HOSTILE},
            started=HOSTILE,
        )
    )
    writer.write(
        Trajectory(
            id="a-4",
            question=Question(id="q4", text="Two and two?", gold=("4",), family="direct"),
            policy="scripted",
            profile="foveal",
            turns=(Turn(text="<answer>5</answer>"),),
            answer="5",
            stop_reason=StopReason.ANSWERED,
            reward={"accuracy": 0.0},
        )
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of four trajectories: right with all tools; wrong with a tool error; hostile text; wrong without a tool."""
    folder = tmp_path / "street run"
    with RunWriter(folder) as writer:
        add_trajectories(writer)
    return folder


class Browser:
    """Chromium, driven over the WebDriver protocol."""

    def __init__(self, address: str, profile: Path):
        flags = (
            "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
            f"disable-component-update disable-sync disable-dev-shm-usage hide-scrollbars user-data-dir={profile}"
        )
        options = {"args": [f"--{flag}" for flag in flags.split()]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._http = httpx.Client(base_url=address, timeout=60)
        started = self._send("", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/{started['sessionId']}"

    def _send(self, path: str, body: dict[str, Any]) -> Any:
        reply = self._http.post(f"/session{path}", json=body).json()["value"]
        assert not (isinstance(reply, dict) and "error" in reply), reply
        return reply

    def open(self, page: Path, fragment: str = "", width: int = 1200, dark: bool = False) -> None:
        # Emulated, because a headless window cannot be made as narrow as a phone.
        self._devtools("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])
        self._send(f"{self._session}/url", {"url": "about:blank"})
        self.log()  # what earlier pages said
        self._send(f"{self._session}/url", {"url": page.as_uri() + fragment})

    def _devtools(self, command: str, **params: Any) -> Any:
        return self._send(f"{self._session}/goog/cdp/execute", {"cmd": command, "params": params})

    def js(self, script: str) -> Any:
        """Value of a JavaScript function body; a promise is awaited."""
        return self._send(f"{self._session}/execute/sync", {"script": script, "args": []})

    def click(self, selector: str) -> None:
        found = self._send(f"{self._session}/element", {"using": "css selector", "value": selector})
        self._send(f"{self._session}/element/{next(iter(found.values()))}/click", {})

    def keys(self, text: str) -> None:
        strokes = [{"type": kind, "value": letter} for letter in text for kind in ("keyDown", "keyUp")]
        self._send(f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": strokes}]})

    def images(self) -> list[tuple[str, int]]:
        """Address and width of every picture, all of them loaded; the width of a broken one is 0."""
        return self.js(ALL_IMAGES)

    def too_wide(self) -> list[str]:
        """Elements that stand out of the window on a side."""
        return self.js(TOO_WIDE)

    def low_contrast(self) -> list[list[Any]]:
        """Texts that do not stand out from their ground by 4.5 (WCAG AA), with their contrast."""
        return self.js(LOW_CONTRAST)

    def log(self) -> list[str]:
        """What the console said since the last call: errors, refused loads, warnings."""
        return [entry["message"] for entry in self._send(f"{self._session}/se/log", {"type": "browser"})]

    def close(self) -> None:
        self._http.delete(f"/session{self._session}")
        self._http.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.fail("the pages are tested in Chromium, which is not installed. fix: make chromium", pytrace=False)
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        started = next(line for line in process.stdout if "started successfully on port" in line)
        port = started.split()[-1].rstrip(".")
        window = Browser(f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("profile"))
        yield window
        window.close()
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
