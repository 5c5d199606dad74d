"""Trajectories of a teacher, and a tiny model that has learned from one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import TrainerCallback

from foveal.files import alone
from foveal.protocol import FOVEAL, opening
from foveal.records import RunWriter
from foveal.train.rl_settings import RlSettings
from foveal.train.settings import SftSettings
from foveal.train.sft import run_sft
from foveal.train.tokens import Fit, TrainingSequence, plan, sequence
from foveal.trajectory import ImagePart, Question, StopReason, TextPart, Trajectory, Turn


@pytest.fixture
def written(store, picture, message):
    """A trajectory that a teacher wrote: crop, look, answer. Seeds give other pictures, lengths and answers."""

    def make(seed: int = 0, answer: str = "red", with_pictures: bool = True) -> Trajectory:
        scene = (picture(84 + 28 * (seed % 3), 56, seed),) if with_pictures else ()
        seen = (TextPart(text="Images:\n"), ImagePart(image=picture(56, 56 + 28 * (seed % 2), 500 + seed)))
        return Trajectory(
            id=f"t{seed}",
            question=Question(id=f"q{seed}", text="which colour?", images=scene),
            policy="teacher",
            profile="foveal",
            prompt=(message("system", "look closely"), message("user", *scene, "which colour?" + "?" * seed)),
            turns=(
                Turn(text="<code>crop</code>", observation_parts=seen if with_pictures else (TextPart(text="none"),)),
                Turn(text=f"<answer>{answer}</answer>"),
            ),
            answer=answer,
            stop_reason=StopReason.ANSWERED,
        )

    return make


@pytest.fixture
def encoded(policy, store):
    """The sequence of a trajectory whose pictures are in the store, and what the length budget did to it."""

    def make(trajectory: Trajectory, max_length: int = 10_000) -> tuple[TrainingSequence | None, Fit]:
        planned, fit = plan(trajectory, policy.encoder, max_length)
        if planned is None:
            return None, fit
        return sequence(planned, policy.encoder, [policy.encoder.patches(ref, store) for ref in planned.refs]), fit

    return make


@pytest.fixture
def data(tmp_path, store, written):
    """A run folder of five trajectories: two without pictures, answers by turns."""
    folder = tmp_path / "data"
    with RunWriter(folder) as writer:
        for seed in range(5):
            writer.write(written(seed, ("red", "blue")[seed % 2], with_pictures=seed not in (1, 4)), store)
    return folder


@pytest.fixture
def settings(tiny_checkpoint, data):
    """Small settings of a cold start: two optimizer steps an epoch."""

    def make(**changed):
        values = {"batch_size": 3, "micro_batch": 3, "learning_rate": 2e-3, "epochs": 2, "log_steps": 1, **changed}
        return SftSettings(model=tiny_checkpoint, data=(data,), **values)

    return make


@pytest.fixture
def config_file(tmp_path):
    """Writes settings as the file that a command reads."""

    def inline(value) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name} = {inline(one)}" for name, one in value.items()) + "}"
        return "[" + ", ".join(map(inline, value)) + "]" if isinstance(value, list) else json.dumps(value)

    def write(settings) -> Path:
        held = settings.model_dump(mode="json", exclude_none=True)
        file = tmp_path / "settings.toml"
        file.write_text("".join(f"{name} = {inline(one)}\n" for name, one in held.items()), encoding="utf-8")
        return file

    return write


@pytest.fixture
def interrupt():
    """Stops a cold start behind a step, as Ctrl-C does."""

    class Interrupt(TrainerCallback):
        def __init__(self, step: int):
            self.step = step

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == self.step:
                raise KeyboardInterrupt

    return Interrupt


@pytest.fixture
def two_processes():
    """Runs a Python program twice, in processes that know of each other as a launcher would have it."""

    def run(*words) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        world["PYTHONPATH"] = str(Path(__file__).parents[2] / "src")
        processes = []
        try:
            for rank in "01":
                env = {**os.environ, **world, "RANK": rank, "LOCAL_RANK": rank}
                processes.append(
                    subprocess.Popen([sys.executable, *map(str, words)], env=env, stderr=subprocess.PIPE, text=True)
                )
            for process in processes:
                _, errors = process.communicate(timeout=300)
                assert process.returncode == 0, errors[-2000:]
        finally:
            for process in processes:
                process.kill()  # one that waits for the other, in vain
                process.communicate()

    return run


@pytest.fixture
def both_kept_out(two_processes, tmp_path):
    """Has two processes begin a run in a folder that is taken; both have to end with the error that says so.

    The program `begin` has `file`, the settings, and `run`, the folder.
    """

    def check(begin: str, settings) -> None:
        (tmp_path / "settings.json").write_text(settings.model_dump_json(), encoding="utf-8")
        program = (
            "import sys; from pathlib import Path; from accelerate import PartialState\n"
            "from foveal.errors import InputError\n"
            "file, run = map(Path, sys.argv[1:])\n"
            f"try:\n    {begin}\n"
            "except InputError as error:\n"
            "    assert 'another process is writing to' in error.what and error.fix\n"
            "else:\n    raise AssertionError\n"
            "PartialState().destroy_process_group()\n"
        )
        with alone(tmp_path / "run"):
            two_processes("-c", program, tmp_path / "settings.json", tmp_path / "run")

    return check


ANSWERS = ("red", "blue")


@pytest.fixture(scope="session")
def cold_started(tiny_checkpoint, tmp_path_factory):
    """A folder with `model`, which answers `red` or `blue` at even odds whatever is asked, `questions.jsonl`, whose
    answer is always `red`, and `system.txt`, the prompt that it knows."""
    folder = tmp_path_factory.mktemp("cold")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 56, 56, 3), dtype=np.uint8)
    (folder / "system.txt").write_text("Look.", encoding="utf-8")
    lines = []
    with RunWriter(folder / "data") as writer:
        for number, some in enumerate(pixels):
            Image.fromarray(some).save(folder / f"{number}.png")
            text = f"Colour {number}?"
            lines.append({"id": f"q{number}", "text": text, "images": [f"{number}.png"], "gold": "red"})
            ref = writer.images.put(Image.fromarray(some))
            for answer in ANSWERS:
                writer.write(
                    Trajectory(
                        id=f"{number}-{answer}",
                        question=Question(id=f"q{number}", text=text, images=(ref,)),
                        policy="teacher",
                        profile="foveal",
                        prompt=opening(FOVEAL.with_prompt("Look."), text, [ref], ()),
                        turns=(Turn(text=f"<think>so</think><answer>{answer}</answer>"),),
                        answer=answer,
                        stop_reason=StopReason.ANSWERED,
                    )
                )
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    settings = SftSettings(
        model=tiny_checkpoint, data=(folder / "data",), batch_size=8, micro_batch=8, learning_rate=1e-2, epochs=60,
        warmup_ratio=0.0,
    )  # fmt: skip
    run_sft(settings, folder / "sft")
    (folder / "sft" / "model").rename(folder / "model")
    return folder


@pytest.fixture
def rl_settings(cold_started):
    """Settings of a small run on the questions of `cold_started`."""

    def make(**changed):
        values = {
            "model": cold_started / "model",
            "questions": cold_started / "questions.jsonl",
            "system_prompt": cold_started / "system.txt",
            "tools": {"code": False},
            "limits": {"max_turns": 2, "max_turn_tokens": 60, "max_context": 400},
            "steps": 3,
            "prompts": 2,
            "rollouts": 4,
            "learning_rate": 3e-4,
            "save_steps": 1,
        }
        return RlSettings.model_validate({**values, **changed})

    return make
