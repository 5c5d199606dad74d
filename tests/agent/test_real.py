"""The agent with the real sandbox and real indexes."""

import asyncio

import pytest
from PIL import Image

from foveal.agent import Agent
from foveal.config import Limits
from foveal.policy.scripted import ScriptedPolicy
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.text import Document, TextIndex
from foveal.tools.session import Tools
from foveal.trajectory import (
    ImageStore,
    Question,
    StopReason,
    Trajectory,
)

ANSWER = "<think>t</think><answer>42</answer>"
FLAG = Image.new("RGB", (120, 80), "white")
FLAG.paste("red", (0, 0, 60, 80))


def photo() -> Image.Image:
    """Grain and soft light, as in a photograph, with a flag of 12 x 8 pixels in it."""
    grain = Image.effect_noise((640, 480), 40).convert("RGB")
    light = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    picture = Image.blend(grain, light, 0.5)
    picture.paste(FLAG.resize((12, 8), Image.Resampling.NEAREST), (401, 222))
    return picture


def test_crop_search_and_compute_for_real(code, tmp_path):
    pictures, texts = ImageIndex.create(tmp_path), TextIndex.create(tmp_path)
    others = [Picture(name, Image.new("RGB", (120, 80), name)) for name in ("green", "blue", "black")]
    pictures.add([Picture("Flag of Ruritania", FLAG), *others])
    texts.add([Document("Ruritania", "Ruritania has 7 provinces and 84 towns."), Document("Elbonia", "Mud.")])
    turns = [
        code("import math\ncrop = image_1.crop((401, 222, 413, 230)).resize((120, 80), 0)\nprint(image_1.size)\ncrop"),
        '<think>t</think><tool_call>{"name": "image_search", "arguments": {"image": "crop"}}</tool_call>',
        '<think>t</think><tool_call>{"name": "search", "arguments": {"query": "towns of Ruritania"}}</tool_call>',
        code("math.gcd(84, 7) * 6"),
        code("1 / 0"),
        ANSWER,
    ]

    async def run() -> Trajectory:
        async with LocalSandbox() as sandbox:
            agent = Agent(ScriptedPolicy(turns), Tools(code=sandbox, text=texts, image=pictures, k=2))
            return await agent.run(Question(id="q", text="How many?", images=(store.put(photo()),)), store)

    store = ImageStore()
    found = asyncio.run(run())
    assert (found.stop_reason, found.answer) == (StopReason.ANSWERED, "42")
    crop, flags, facts, number, failed = (turn.observation for turn in found.turns[:5])
    assert crop.cell.stdout == "(640, 480)\n"
    assert store.get(crop.cell.images[0]).tobytes() == FLAG.tobytes()  # the crop came back, to the pixel
    assert flags.image == crop.cell.images[0]
    assert flags.hits[0].title == "Flag of Ruritania" and flags.hits[0].thumbnail in found.images
    assert "84 towns" in facts.hits[0].snippet
    assert number.cell.result == "42"  # names and imports of the first cell are still there
    assert failed.cell.status == "error" and "ZeroDivisionError" in failed.cell.stderr


def test_a_cell_that_never_ends_and_a_cancelled_question_leave_no_session(code):
    async def run() -> None:
        async with LocalSandbox(max_sessions=1) as sandbox:
            agent = Agent(
                ScriptedPolicy([code("while True: pass")] * 9), Tools(code=sandbox), limits=Limits(cell_seconds=0.3)
            )
            started = asyncio.Event()
            task = asyncio.create_task(agent.run(QUESTION, ImageStore(), on_turn=lambda turn: started.set()))
            await asyncio.wait_for(started.wait(), 30)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # The only slot is free again, so the session is gone.
            session = await asyncio.wait_for(sandbox.open([]), 10)
            assert (await session.run("1 + 1", 5)).result == "2"

    QUESTION = Question(id="q", text="?")
    asyncio.run(run())
