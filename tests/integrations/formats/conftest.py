"""A run of the micro world's teacher with the real tools, a small run and a small question set made by hand."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.curate.questions import QuestionRow
from foveal.micro import facts, synthesize, world
from foveal.micro.questions import sample
from foveal.records import RunWriter
from foveal.tools.sandbox import LocalSandbox
from foveal.trajectory import (
    ImagePart,
    ImageRef,
    Message,
    Question,
    StopReason,
    TextPart,
    ToolCall,
    Trajectory,
    Turn,
)


@pytest.fixture(scope="session")
def micro_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten trajectories with crops, code and searches."""
    folder = tmp_path_factory.mktemp("micro")
    world.build(folder / "index", facts.countries())
    sandbox = LocalSandbox()
    items = ((f"q{number}", item) for number, item in enumerate(sample("train", 10, 5)))
    with RunWriter(folder / "run") as writer:

        async def work() -> None:
            await synthesize.synthesize(items, world.tools(folder / "index", sandbox), writer)
            await sandbox.aclose()

        asyncio.run(work())
    return folder / "run"


@pytest.fixture
def run(tmp_path: Path, trajectory: Callable[..., Trajectory]) -> Path:
    """A run folder with one trajectory of two pictures."""
    with RunWriter(tmp_path / "run") as writer:
        writer.write(trajectory(writer, "t1"))
    return tmp_path / "run"


@pytest.fixture
def trajectory() -> Callable[..., Trajectory]:
    """Makes a trajectory: one picture in the prompt, a crop of it in the observation, an answer."""

    def make(writer: RunWriter, name: str, said: str = "I look.") -> Trajectory:
        whole, crop = (writer.images.put(noise(64, 56, seed)) for seed in (1, 2))
        code = f"<think>{said}</think>\n<code>\n```python\nimage_1.crop((0, 0, 32, 28))\n```\n</code>"
        return Trajectory(
            id=name,
            question=Question(
                id=f"q-{name}", text="What is it?", images=(whole,), gold=("noise",), family="perception"
            ),
            policy="teacher",
            profile="foveal",
            prompt=(
                Message(role="system", parts=(TextPart(text="You look."),)),
                Message(role="user", parts=(ImagePart(image=whole), TextPart(text="What is it?"))),
            ),
            turns=(
                Turn(
                    text=code,
                    call=ToolCall(tool="code", arguments={"code": "image_1.crop((0, 0, 32, 28))"}),
                    observation_parts=(TextPart(text="Code execution result:\nImages:\n"), ImagePart(image=crop)),
                ),
                Turn(text="<think>It is noise.</think>\n<answer>noise</answer>"),
            ),
            answer="noise",
            stop_reason=StopReason.ANSWERED,
            reward={"accuracy": 1.0, "total": 1.0},
        )

    return make


@pytest.fixture
def question_set(tmp_path: Path) -> Path:
    """Three questions: of one picture, of two (a JPEG and a PNG with transparency), of none."""
    folder = tmp_path / "set"
    (folder / "pictures").mkdir(parents=True)
    noise(40, 32, 1).save(folder / "pictures" / "a.png")
    noise(32, 32, 2).save(folder / "pictures" / "b.jpg")
    Image.new("RGBA", (30, 30), (255, 0, 0, 128)).save(folder / "pictures" / "c.png")
    rows = [
        QuestionRow(id="q1", text="Which?", images=("pictures/a.png",), gold=("B",), meta={"options": ["x", "y"]}),
        QuestionRow(id="q2", text="Größer? 大", images=("pictures/b.jpg", "pictures/c.png"), gold=("ja", "yes")),
        QuestionRow(id="q3", text="7 × 6 =", gold=("42",), family="reasoning", meta={"hops": 1, "boxes": [[1, 2.5]]}),
    ]
    (folder / "questions.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    return folder / "questions.jsonl"


@pytest.fixture
def noise_ref() -> Callable[[RunWriter, int], ImageRef]:
    """Puts a noise picture into a run."""
    return lambda writer, seed: writer.images.put(noise(28, 28, seed))


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
