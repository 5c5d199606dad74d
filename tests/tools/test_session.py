import asyncio
import time
from collections.abc import Sequence

import pytest
from PIL import Image

from foveal.errors import IsolationError, SandboxError, SearchError
from foveal.tools.base import Cell
from foveal.tools.session import Tools, fit_picture
from foveal.trajectory import ImageStore, Observation, SearchHit, ToolCall

RED = Image.new("RGB", (100, 50), "red")
BLUE = Image.new("RGB", (80, 60), "blue")


def cell(status="ok", stdout="", stderr="", result=None, images=(), truncated=False) -> Cell:
    return Cell(status, stdout, stderr, result, images, 0.1, truncated)


class FakeSession:
    """Plays cells in order; an exception in the list is raised."""

    def __init__(self, sandbox: "FakeSandbox"):
        self.sandbox = sandbox
        self.closed = 0

    async def run(self, code: str, timeout: float) -> Cell:
        self.sandbox.ran.append((code, timeout))
        outcome = self.sandbox.cells.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def image(self, name: str) -> Image.Image | None:
        return self.sandbox.variables.get(name)

    async def close(self) -> None:
        self.closed += 1


class FakeSandbox:
    def __init__(self, *cells: Cell | BaseException, variables: dict[str, Image.Image] | None = None):
        self.cells = list(cells)
        self.variables = variables or {}
        self.ran: list[tuple[str, float]] = []
        self.opened: list[FakeSession] = []
        self.images: Sequence[Image.Image] = ()

    async def open(self, images: Sequence[Image.Image]) -> FakeSession:
        self.images = images
        self.opened.append(FakeSession(self))
        return self.opened[-1]


class FakeText:
    name = "fake-text"

    def __init__(self, outcome: list[SearchHit] | Exception):
        self.outcome = outcome
        self.asked: list[tuple[str, int]] = []

    async def search(self, query: str, k: int) -> list[SearchHit]:
        self.asked.append((query, k))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class FakeImage:
    name = "fake-image"

    def __init__(self):
        self.sought: list[Image.Image] = []

    async def search(self, image: Image.Image, k: int, images: ImageStore) -> list[SearchHit]:
        self.sought.append(image)
        return [SearchHit(title=f"hit {number}", thumbnail=images.put(BLUE)) for number in range(k + 2)]


def play(tools: Tools, *calls: ToolCall, images=(RED,), store: ImageStore | None = None) -> list[Observation]:
    async def run() -> list[Observation]:
        session = await tools.open(images, store or ImageStore(), 7.0)
        try:
            return [await session.call(call) for call in calls]
        finally:
            await session.close()
            await session.close()

    return asyncio.run(run())


def code(text: str = "x") -> ToolCall:
    return ToolCall(tool="code", arguments={"code": text})


def image_search(**arguments) -> ToolCall:
    return ToolCall(tool="image_search", arguments=arguments)


def test_code_runs_in_one_lazily_started_session():
    sandbox = FakeSandbox(cell(stdout="1"), cell(result="2", images=[RED]))
    store = ImageStore()
    first, second = play(Tools(code=sandbox), code("a"), code("b"), images=(RED, BLUE), store=store)
    assert first.cell is not None and first.cell.stdout == "1"
    assert second.cell is not None and second.cell.result == "2"
    assert store.get(second.cell.images[0]).size == (100, 50)
    assert sandbox.ran == [("a", 7.0), ("b", 7.0)]
    assert sandbox.images == (RED, BLUE)
    assert [session.closed for session in sandbox.opened] == [1]
    assert first.seconds >= 0


def test_no_session_without_a_code_call():
    sandbox = FakeSandbox()
    play(Tools(code=sandbox, text=FakeText([])), ToolCall(tool="search", arguments={"query": "q"}))
    assert sandbox.opened == []


def test_session_survives_what_the_code_does():
    sandbox = FakeSandbox(cell("timeout", stderr="late"), cell("died", stderr="lost"), cell(stdout="back"))
    late, died, back = play(Tools(code=sandbox), code(), code(), code())
    assert late.cell is not None and (late.cell.status, late.cell.stderr) == ("timeout", "late")
    assert died.cell is not None and died.cell.status == "died"
    assert back.cell is not None and back.cell.stdout == "back"
    assert len(sandbox.opened) == 1


def test_sandbox_failure_is_an_observation_and_the_next_call_starts_anew():
    sandbox = FakeSandbox(SandboxError("the fork server is gone", "restart"), cell(stdout="ok"))
    failed, fine = play(Tools(code=sandbox), code(), code())
    assert failed.error is not None and failed.error.kind == "sandbox"
    assert "the fork server is gone" in failed.error.message
    assert fine.cell is not None and fine.cell.stdout == "ok"
    assert [session.closed for session in sandbox.opened] == [1, 1]


def test_a_machine_without_isolation_is_for_the_user_to_mend():
    with pytest.raises(IsolationError):
        play(Tools(code=FakeSandbox(IsolationError("no namespaces"))), code())


def test_outputs_are_cut_with_a_note():
    sandbox = FakeSandbox(
        cell(stdout="a" * 9000 + "end", stderr="b" * 5000, result="c" * 3000),
        cell(stdout="d" * 8000, result="e" * 2000),
    )
    long, fits = (found.cell for found in play(Tools(code=sandbox), code(), code()))
    assert long is not None and fits is not None
    assert len(long.stdout) <= 8000 and len(long.stderr) <= 4000 and len(long.result or "") <= 2000
    assert "1083 characters left out" in long.stdout
    assert long.stdout.endswith("end") and long.truncated
    assert fits.stdout == "d" * 8000 and fits.result == "e" * 2000 and not fits.truncated


def test_too_many_pictures_are_left_out_with_a_note():
    pictures = [Image.new("RGB", (40, 40), (number, 0, 0)) for number in range(13)]
    (found,) = play(Tools(code=FakeSandbox(cell(images=pictures))), code())
    assert found.cell is not None
    assert len(found.cell.images) == 10
    assert "3 more pictures were left out" in found.cell.stdout and found.cell.truncated


def test_broken_characters_do_not_break_the_record():
    (found,) = play(Tools(code=FakeSandbox(cell(stdout="a\udcffb"))), code())
    assert found.cell is not None and found.cell.stdout == "a?b"


def test_text_search():
    hits = [SearchHit(title=str(number)) for number in range(7)]
    text = FakeText(hits)
    (found,) = play(Tools(text=text, k=3), ToolCall(tool="search", arguments={"query": " q "}))
    assert found == Observation(tool="search", hits=tuple(hits[:3]), query="q", seconds=found.seconds)
    assert text.asked == [("q", 3)]


@pytest.mark.parametrize("error", [SearchError("quota used up"), ValueError("secret")])
def test_search_failure_is_an_observation(error):
    (found,) = play(Tools(text=FakeText(error)), ToolCall(tool="search", arguments={"query": "q"}))
    assert found.error is not None and found.error.kind == "search"
    assert ("quota used up" in found.error.message) == isinstance(error, SearchError)
    assert "secret" not in found.error.message


@pytest.mark.parametrize(
    "call",
    [
        ToolCall(tool="search", arguments={}),
        ToolCall(tool="search", arguments={"query": 3}),
        ToolCall(tool="search", arguments={"query": " "}),
        ToolCall(tool="search", arguments={"query": "q" * 1001}),
        ToolCall(tool="search", arguments={"query": "q", "k": 3}),
        ToolCall(tool="code", arguments={"code": None}),
        image_search(picture="image_1"),
        image_search(image="image_2"),
        image_search(image="image_1; import os"),
        image_search(image=1),
        image_search(image="crop"),
        image_search(box=[0, 0, 10]),
        image_search(box="0,0,10,10"),
        image_search(box=[10, 0, 10, 10]),
        image_search(box=[200, 200, 300, 300]),
        image_search(box=[0, 0, True, 10]),
        image_search(box=[0, 0, float("nan"), 10]),
    ],
)
def test_bad_arguments_are_told(call):
    image, text, sandbox = FakeImage(), FakeText([]), FakeSandbox()
    (found,) = play(Tools(code=sandbox, text=text, image=image), call)
    assert found.error is not None and found.error.kind == "arguments"
    assert image.sought == [] and text.asked == [] and sandbox.ran == []


@pytest.mark.parametrize(("said", "told"), [("quota used up.", "quota used up"), ("no file ../a...b", None)])
def test_the_words_of_a_failure_are_kept(said, told):
    (found,) = play(Tools(text=FakeText(SearchError(said))), ToolCall(tool="search", arguments={"query": "q"}))
    assert found.error is not None
    assert found.error.message == f"search failed: {told or said}. Try again, or go on without it."


def test_unknown_and_not_offered_tools_are_told():
    zoom, search = play(Tools(code=FakeSandbox()), ToolCall(tool="zoom"), ToolCall(tool="search"))
    for found in (zoom, search):
        assert found.error is not None and found.error.kind == "unknown_tool"
        assert "Tools: code." in found.error.message


def test_image_search_takes_the_first_picture_a_name_or_a_box():
    image, store = FakeImage(), ImageStore()
    found = play(
        Tools(image=image, k=2),
        image_search(),
        image_search(image="image_2"),
        image_search(box=[10, 10.4, 30, 900]),
        image_search(image="image_2", box=[0, 0, 1, 1]),
        images=(RED, BLUE),
        store=store,
    )
    assert [sought.size for sought in image.sought] == [(100, 50), (80, 60), (20, 40), (1, 1)]
    assert image.sought[1].getpixel((0, 0)) == (0, 0, 255)
    for observation, sought in zip(found, image.sought, strict=True):
        assert observation.hits is not None and len(observation.hits) == 2
        assert observation.image is not None
        assert store.get(observation.image).tobytes() == sought.tobytes()


def test_image_search_for_a_variable_of_the_code_session():
    image = FakeImage()
    sandbox = FakeSandbox(cell(), variables={"crop": BLUE, "image_1": BLUE})
    tools = Tools(code=sandbox, image=image)
    calls = image_search(image="crop"), code(), image_search(image="crop"), image_search(image="image_1")
    before, _, after, rebound = play(tools, *calls)
    assert before.error is not None and "crop is no picture" in before.error.message
    assert after.hits is not None and rebound.hits is not None
    assert [sought.size for sought in image.sought] == [(80, 60), (80, 60)]


def test_image_search_without_pictures():
    (found,) = play(Tools(image=FakeImage()), image_search(), images=())
    assert found.error is not None and found.error.kind == "arguments"


def test_image_searches_are_limited():
    image = FakeImage()
    bad, first, second = play(
        Tools(image=image, max_image_searches=1), image_search(image="nope"), image_search(), image_search()
    )
    assert bad.error is not None and bad.error.kind == "arguments"  # a refused call does not count
    assert first.hits is not None
    assert second.error is not None and second.error.kind == "limit"


def test_cancellation_goes_through():
    class Slow(FakeText):
        async def search(self, query: str, k: int) -> list[SearchHit]:
            await asyncio.sleep(60)
            return []

    async def run() -> None:
        session = await Tools(text=Slow([])).open((), ImageStore(), 1.0)
        async with asyncio.timeout(0.01):
            await session.call(ToolCall(tool="search", arguments={"query": "q"}))

    with pytest.raises(TimeoutError):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((100, 50), (100, 50)),
        ((1, 1), (32, 32)),
        ((64, 16), (128, 32)),
        ((20, 200), (32, 320)),
        ((1000, 2), (4800, 32)),
        ((40000, 40), (6000, 40)),
        ((40, 20000), (40, 6000)),
        ((4000, 4000), (3584, 3584)),
    ],
)
def test_fit_picture(size, fitted):
    assert fit_picture(Image.new("L", size)).size == fitted


def test_describe():
    tools = Tools(text=FakeText([]), image=FakeImage(), max_image_searches=1)
    assert tools.offered == ("search", "image_search")
    assert tools.describe() == {
        "offered": ["search", "image_search"],
        "search": "fake-text",
        "image_search": "fake-image",
        "k": 5,
        "max_image_searches": 1,
    }


@pytest.mark.parametrize("size", [(8_000_000, 1), (1, 8_000_000)])
def test_a_picture_that_is_one_long_line_costs_no_more_than_its_pixels(size):
    image = Image.new("RGB", size)
    start = time.thread_time()
    assert sorted(fit_picture(image).size) == [32, 4800]
    assert time.thread_time() - start < 1
