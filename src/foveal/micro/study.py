"""The paper's central experiment (DeepEyesV2, sections 3.2 and 4.3) at micro scale: does RL need a cold start?

    run/world/                   training questions of reinforcement learning
    run/cold-start/seed-N/sft/   the cold start that four arms begin with (`micro.coldstart`)
    run/<arm>/seed-N/rl/         the run of `train.rl`
    run/<arm>/seed-N/held_out/   greedy answers to the held-out questions: a run folder
    run/<arm>/seed-N/sampled/    answers to them at temperature 1
    run/<arm>/seed-N/done.json   figures of the arm and seed

All arms start from the same base model and differ in what the table `ARMS` says. What is done is not done again, so an
interrupted study goes on where it was, and what another machine has done (`take_over`) need not be done here.
"""

import asyncio
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue

from foveal.bench.header import code_version
from foveal.bench.operations import carried_out
from foveal.config import Sampling
from foveal.errors import ConfigError, InputError
from foveal.micro import world
from foveal.micro.bench import ask_all, figures
from foveal.micro.coldstart import cold_start
from foveal.micro.questions import FAMILIES, facts_of, sample
from foveal.micro.questionset import INDEX, QUESTIONS, write_world
from foveal.micro.settings import ColdStartSettings, StudySettings
from foveal.policy.transformers import TransformersPolicy
from foveal.records import RunWriter
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.search.folder import open_index
from foveal.train.rl import run_rl
from foveal.train.rl_settings import RlSettings
from foveal.train.run_folder import write_json
from foveal.trajectory import Trajectory

log = logging.getLogger(__name__)

WORLD, DONE = "world", "done.json"
SEED_OF_QUESTIONS = 2
TOOLS = ("code", "search", "image_search")
_MORE = {"seeds", "arms"}
"""Settings that say how much of one study is done."""


class Arm(NamedTuple):
    """One way to train."""

    title: str
    cold_start: bool
    """Whether it begins with the cold start, or with the base model."""
    rl: Mapping[str, Any] | None
    """What it changes about `rl_settings`; None for no reinforcement learning."""


ARMS: Mapping[str, Arm] = {
    "base": Arm("the base model as it is", False, None),
    "direct": Arm("direct RL, outcome and format reward", False, {}),
    "direct-bonus": Arm("direct RL with a bonus for tool use", False, {"reward": {"preset": "deepeyes"}}),
    "cold-start": Arm("cold start only", True, None),
    "cold-start-rl": Arm("cold start, then RL", True, {}),
    "no-dynamic-sampling": Arm("cold start, then RL without dynamic sampling", True, {"dynamic_sampling": False}),
    "clip-0.2": Arm("cold start, then RL with clip 0.2 / 0.2", True, {"loss": {"clip_high": 0.2}}),
}
CURVES = (
    "reward/accuracy",
    "calls/mean",
    "length/tokens",
    "policy/entropy",
    "code/crashing",
    "code/placeholder",
    "family/direct/calls",
)
"""Metrics of training that are kept step by step."""


def rl_settings(settings: StudySettings, arm: Arm, folder: Path, start: Path, seed: int) -> RlSettings:
    """Settings of `foveal rl` for an arm: those of recipes/micro/rl.toml, and what the arm changes."""
    values = {
        "model": start,
        "questions": folder / QUESTIONS,
        "system_prompt": folder / "system.txt",
        "user_suffix": folder / "suffix.txt",
        "thumbnails": False,
        "steps": settings.steps,
        "prompts": settings.prompts,
        "rollouts": settings.rollouts,
        "sampling_budget": 3,
        "updates": settings.updates,
        "learning_rate": settings.learning_rate,
        "concurrency": 128,
        "max_batch": 128,
        "micro_tokens": 2048,
        "save_steps": 10,
        "saved_groups": 2,
        "save_dtype": "float16",
        "seed": seed,
        "tools": {"code": True, "search": folder / INDEX, "hits": world.NUM_HITS},
        "limits": world.LIMITS.model_dump(),
    }
    return RlSettings.model_validate({**values, **(arm.rl or {})})


def run_study(settings: StudySettings, base: Path, run: Path, jobs: int) -> dict[str, JsonValue]:
    """Do what of the study is not done yet, and return its figures.

    Args:
        settings: How large it is.
        base: Checkpoint that every arm starts from.
        run: Folder of the study.
        jobs: Arms under way at once, each in a process with its share of the cores.

    Returns:
        `arms`, `base_sha256` (of the base model's weights), `settings.<name>`; for every arm `<arm>.seeds`, those that
        are done, and for each of them
        `<arm>.<seed>.` with the figures of
        `micro.bench.figures` on the held-out questions (accuracy, call_rate, family.<name>.accuracy, ...) and
        `family.<name>.<tool>` (calls of a tool a question), greedy, and behind `sampled.` the same at temperature 1;
        `code`, the version that asked;
        and where there was reinforcement learning `alarms` (name
        to the first step at which it stood), `trajectories` (sampled in training), `curve.<metric>` (one value a step,
        null where it could not be measured).

    Raises:
        ConfigError: The folder holds a study with other settings, or one that this foveal cannot go on with.
        SandboxError: Code cannot be run here.
    """
    _begin(settings, base, run)
    if not (run / WORLD / QUESTIONS).exists():
        shutil.rmtree(run / WORLD, ignore_errors=True)  # a part of one from an interrupted session
        write_world(run / WORLD, "train", settings.questions, SEED_OF_QUESTIONS)
    _do(settings, base, run, jobs)
    out: dict[str, JsonValue] = {"arms": list(ARMS), **_identity(settings, base)}
    for name in ARMS:
        done = [seed for seed in range(settings.seeds) if (_folder(run, name, seed) / DONE).exists()]
        out[f"{name}.seeds"] = list(done)
        for seed in done:
            found = json.loads((_folder(run, name, seed) / DONE).read_text(encoding="utf-8"))
            out |= {f"{name}.{seed}.{key}": value for key, value in found.items()}
    return out


def _folder(run: Path, arm: str, seed: int) -> Path:
    return run / arm / f"seed-{seed}"


def _do(settings: StudySettings, base: Path, run: Path, jobs: int) -> None:
    """Run what is left; arms that begin with a cold start wait for that of their seed."""
    left = [(name, seed) for seed in range(settings.seeds) for name in settings.arms]
    left = [(name, seed) for name, seed in left if not (_folder(run, name, seed) / DONE).exists()]
    if not left:
        return
    try:
        open_index(run / WORLD / INDEX)
    except InputError as error:  # a new index under an old study would mix two experiments
        raise ConfigError(
            f"the study in {run} cannot go on: {error.what}",
            "go on with the foveal that began it, or name another folder",
        ) from error
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, spawn, _prepare, (threads,))
    try:
        starts: dict[int, Future[Path]] = {}
        arms: list[Future[None]] = []
        for name, seed in left:
            if not ARMS[name].cold_start:
                arms.append(pool.submit(_run_arm, settings, name, base, run, seed))
            elif seed not in starts:
                starts[seed] = pool.submit(_cold_start, settings, base, run, seed)
        for name, seed in left:
            if ARMS[name].cold_start:
                arms.append(pool.submit(_run_arm, settings, name, starts[seed].result(), run, seed))
        for arm in as_completed(arms):
            arm.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(threads: int) -> None:
    """Set up a process of the pool."""
    torch.set_num_threads(threads)
    logging.basicConfig(format="%(asctime)s %(processName)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("foveal").setLevel(logging.INFO)


def take_over(settings: StudySettings, base: Path, run: Path, data: Path) -> list[str]:
    """Enter into a study what another run of it has done.

    Args:
        settings: Of the study.
        base: Its base model.
        run: Its folder; may be new.
        data: The figures of the other run, as `run_study` returns them or as they lie beside a page.

    Returns:
        The arms and seeds that were taken over, as `<arm>:<seed>`.

    Raises:
        ConfigError: The file tells of a study with other settings, or from another base model.
        InputError: It cannot be read.
    """
    try:
        figures = json.loads(data.read_text(encoding="utf-8"))
        there = {(arm, seed): f"{arm}.{seed}." for arm in ARMS for seed in figures[f"{arm}.seeds"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{data} holds no figures of a study: {error}", "name the .json beside its page") from error
    ours = _identity(settings, base)
    if changed := [key for key in ours if figures.get(key) != ours[key]]:
        told = ", ".join(f"{key} is {figures.get(key)} there and {ours[key]} here" for key in changed)
        raise ConfigError(f"{data} tells of another study: {told}", "leave it out, or take its settings and base model")
    _begin(settings, base, run)
    taken = []
    for (arm, seed), prefix in there.items():
        folder = _folder(run, arm, seed)
        if not (folder / DONE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            found = {key.removeprefix(prefix): figures[key] for key in figures if key.startswith(prefix)}
            write_json(folder / DONE, found)
            taken.append(f"{arm}:{seed}")
    return taken


def _identity(settings: StudySettings, base: Path) -> dict[str, JsonValue]:
    """What makes two runs parts of one study."""
    try:
        digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"the base model in {base} cannot be read: {error}", "name a checkpoint folder") from error
    chosen = settings.model_dump(mode="json", exclude=_MORE)
    return {"base_sha256": digest, **{f"settings.{key}": value for key, value in chosen.items()}}


def _begin(settings: StudySettings, base: Path, run: Path) -> None:
    saved, now = run / "study.json", _identity(settings, base)
    if saved.exists():
        before = json.loads(saved.read_text(encoding="utf-8"))
        if changed := [key for key in now if now[key] != before.get(key)]:
            was = ", ".join(f"{key.removeprefix('settings.')} was {before.get(key)}" for key in changed)
            raise ConfigError(f"{run} holds a study with other settings: {was}", "name another folder")
    run.mkdir(parents=True, exist_ok=True)
    saved.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")


def _run_arm(settings: StudySettings, name: str, start: Path, run: Path, seed: int) -> None:
    log.info("seed %d: %s", seed, ARMS[name].title)
    arm, folder, result = ARMS[name], _folder(run, name, seed), start
    found: dict[str, JsonValue] = {}
    if arm.rl is not None:
        chosen = rl_settings(settings, arm, run / WORLD, start, seed)
        result = Path(run_rl(chosen, folder / "rl", resume=(folder / "rl" / "settings.json").exists()).model)
        found = training_figures((folder / "rl" / "metrics.jsonl").read_text(encoding="utf-8"))
    found |= asyncio.run(_ask(settings, result, folder, seed))
    code = code_version()
    found["code"] = code.foveal if code.commit is None else f"{code.foveal}, commit {code.commit[:12]}"
    write_json(folder / DONE, found)


def _cold_start(settings: StudySettings, base: Path, run: Path, seed: int) -> Path:
    folder = _folder(run, "cold-start", seed) / "sft"
    chosen = ColdStartSettings(
        seed=1 + seed,
        questions=settings.taught,
        worlds=settings.worlds,
        teachers=settings.teachers,
        epochs=settings.epochs,
    )
    return cold_start(chosen, base, folder, True, log.info)  # begun or not


async def _ask(settings: StudySettings, checkpoint: Path, folder: Path, seed: int) -> dict[str, float]:
    """Ask the held-out questions of a seed, which are the same for every arm: greedily, and by sampling.

    Greedy answers show the most probable habit alone; what a policy does how often shows when it is sampled.
    """
    shutil.rmtree(folder / "index", ignore_errors=True)
    world.build(folder / "index", facts_of("test"))
    items = [(f"test-{seed}-{index}", item) for index, item in enumerate(sample("test", settings.held_out, seed))]
    policy = TransformersPolicy(checkpoint)
    found: dict[str, float] = {}
    async with LocalSandbox() as sandbox:
        tools = world.tools(folder / "index", sandbox)
        for name, temperature in (("held_out", 0.0), ("sampled", 1.0)):
            shutil.rmtree(folder / name, ignore_errors=True)
            with RunWriter(folder / name) as writer:
                answered = await ask_all(policy, items, tools, writer, Sampling(temperature=temperature, seed=seed))
            prefix = "sampled." if temperature else ""
            found |= {prefix + key: value for key, value in (figures(answered) | _tool_use(answered)).items()}
    shutil.rmtree(folder / "index")
    return found


def _tool_use(answered: Sequence[Trajectory]) -> dict[str, float]:
    """Calls of each tool a question, by family."""
    tools: dict[str, float] = {}
    for family in FAMILIES:
        of_it = [trajectory for trajectory in answered if trajectory.question.family == family]
        used = [call.tool for one in of_it for call in carried_out(one)]
        tools |= {f"family.{family}.{tool}": used.count(tool) / max(len(of_it), 1) for tool in TOOLS}
    return tools


def training_figures(metrics: str) -> dict[str, JsonValue]:
    """Alarms with their first step, trajectories and curves, from the text of a `metrics.jsonl`."""
    lines = [json.loads(line) for line in metrics.splitlines()]
    alarms: dict[str, JsonValue] = {}
    for line in lines:
        for name in line["alarms"]:
            alarms.setdefault(name, line["step"])
    curves: dict[str, JsonValue] = {f"curve.{name}": [line.get(name) for line in lines] for name in CURVES}
    sampled = sum(int(line["rollouts/sampled"]) for line in lines)
    return {"alarms": alarms, "trajectories": sampled, **curves}
