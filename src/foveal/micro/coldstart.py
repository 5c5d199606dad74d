"""Cold start of the micro model: the teachers' trajectories, then `train.sft` on them.

Vision tower and projector stay frozen, as in the official recipe.
"""

import asyncio
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from foveal.errors import ConfigError
from foveal.files import alone
from foveal.micro import corpus, facts, world
from foveal.micro.model import save
from foveal.micro.questions import FAMILIES, about
from foveal.micro.settings import ColdStartSettings
from foveal.micro.synthesize import synthesize
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import load_model
from foveal.records import RunWriter
from foveal.tools.sandbox import LocalSandbox
from foveal.train.run_folder import SETTINGS, write_json
from foveal.train.settings import SftSettings
from foveal.train.sft import run_sft

TEACHER, TRAINING, CHECKPOINT = "teacher", "training", "sft"
"""Folders of a run: the trajectories, the trainer's run, the small checkpoint that comes out."""


def cold_start(settings: ColdStartSettings, base: Path, run: Path, resume: bool, report: Callable[[str], None]) -> Path:
    """Make the data if they are not there, train, and return the checkpoint folder.

    Raises:
        ConfigError: The folder holds another run, one of other settings, or none to resume.
        InputError: Another process is at work in the folder.
        TrainingError: The data cannot be used.
        SandboxError: The teacher's code cannot be run here.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    with alone(run):
        kept = _taught(settings, run / TEACHER, report)
        report(f"teacher: {kept} of {settings.questions} trajectories kept")
        resume = resume and (run / TRAINING / SETTINGS).exists()  # it may have been stopped before it trained
        result = run_sft(sft_settings(settings, base, run), run / TRAINING, resume)
        encoder = ChatEncoder.load(Path(result.model))
        save(load_model(Path(result.model), "cpu", "float32"), encoder, run / CHECKPOINT)
    return run / CHECKPOINT


def sft_settings(settings: ColdStartSettings, base: Path, run: Path) -> SftSettings:
    """The settings of `foveal sft` that a cold start of the micro model comes down to."""
    return SftSettings(
        model=base,
        data=(run / TEACHER,),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        micro_batch=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_ratio=0.05,
        weight_decay=0.01,
        max_length=world.LIMITS.max_context,
        freeze_vision=True,
        cache_vision=True,
        seed=settings.seed,
    )


def _taught(settings: ColdStartSettings, folder: Path, report: Callable[[str], None]) -> int:
    """Have the teachers answer, unless they have; how many of their trajectories were kept."""
    done = folder / "done.json"
    asked = settings.model_dump(mode="json", include={"questions", "worlds", "seed", "teachers"})
    if not done.exists():
        write_json(done, {**asked, "kept": asyncio.run(_teach(settings, folder, report))})
    taught = json.loads(done.read_text(encoding="utf-8"))
    if {name: taught.get(name) for name in asked} != asked:
        raise ConfigError(
            f"the teacher of {folder.parent} answered {taught['questions']} questions of seed {taught['seed']} "
            f"in {taught['worlds']} worlds ({', '.join(taught.get('teachers', []))})",
            "use the same settings again, or name another folder",
        )
    return int(taught["kept"])


async def _teach(settings: ColdStartSettings, folder: Path, report: Callable[[str], None]) -> int:
    """The teacher's run, begun anew: a part of one from an interrupted session is thrown away.

    Real names alone would be learned by heart: there are a hundred. So all worlds but the first have invented ones.
    """
    for leftover in folder.glob("trajectories.jsonl"):
        leftover.unlink()
    finished = 0

    def on_done(kept: bool) -> None:
        nonlocal finished
        finished += 1
        if finished % 250 == 0:
            report(f"teacher: {finished} of {settings.questions} questions")

    kept, codes = 0, {country.code for country in facts.split("train")}
    worlds = max(1, min(settings.worlds, settings.questions // len(FAMILIES)))  # every family in each
    async with LocalSandbox() as sandbox:
        with RunWriter(folder) as writer:
            for number in range(worlds):
                told = facts.countries() if number == 0 else corpus.invented(f"{settings.seed}-{number}")
                known = [country for country in told if country.code in codes]
                name = f"train-{settings.seed}-{number}"
                count = len(range(number, settings.questions, worlds))
                items = ((f"{name}-{index}", item) for index, item in enumerate(about(known, count, name)))
                with tempfile.TemporaryDirectory(prefix="foveal-world-") as index_folder:
                    world.build(Path(index_folder), told)
                    kept += await synthesize(
                        items, world.tools(Path(index_folder), sandbox), writer, settings.teachers, on_done
                    )
    return kept
