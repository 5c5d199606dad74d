"""Reinforcement learning: DAPO on rollouts of the one agent.

    run/settings.json        the settings, resolved
    run/metrics.jsonl        one line a step
    run/rollouts/step-N/     trajectories of some groups of the step: a run folder
    run/checkpoints/step-N/  weights, optimizer, how far it came; the last two
    run/model/               the result: a checkpoint folder that `TransformersPolicy` loads
    run/result.json          steps, why it stopped early, seconds

Everything that is random follows from the seed and from counted numbers, and metrics and rollouts behind the last
checkpoint are dropped on resume: a run that was killed goes on as if it had not been.
"""

import asyncio
import copy
import dataclasses
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object
from pydantic import JsonValue

from foveal.errors import ConfigError
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import TransformersPolicy, load_model, no_progress_bars
from foveal.records import RunWriter
from foveal.reward.judge import Judge, open_judge
from foveal.train import checkpoint
from foveal.train.batch import load, shares
from foveal.train.environment import Environment, open_environment
from foveal.train.learner import Learned, Learner
from foveal.train.metrics import MetricsLog, summarize
from foveal.train.monitors import Alarm, alarms
from foveal.train.pictures import encode
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Group, Rollouts
from foveal.trajectory import ImageStore

log = logging.getLogger(__name__)

MAY_CHANGE = ("steps", "stop_on", "save_steps", "saved_groups", "tracker")
"""Settings that a resumed run may have other values of: they change no step."""
PATIENCE = timedelta(hours=6)
"""For the rollouts of another process."""


@dataclass(frozen=True)
class RlResult:
    """What a run came to."""

    model: str
    """The checkpoint folder."""
    steps: int
    stopped: str | None
    """The alarm that ended the run early."""
    seconds: float
    """Of this session."""


def run_rl(
    settings: RlSettings,
    run: Path,
    resume: bool = False,
    judge_key: str | None = None,
    on_step: Callable[[dict[str, JsonValue]], object] | None = None,
) -> RlResult:
    """Train, and save the result to `run/model`.

    Args:
        settings: What to train on what, and how.
        run: Folder of the run; made here.
        resume: Go on from the last checkpoint of a run that was interrupted or stopped.
        judge_key: Sent to the judge, if the reward has one.
        on_step: Called with every new line of metrics, in the main process: for a tracker.

    Raises:
        ConfigError: The folder holds a run (or none, to resume), or the settings do not fit it or the processes.
        InputError: A question set, an index folder or the checkpoint folder cannot be used.
        PolicyError: The start checkpoint cannot be used.
        TrainingError: The gradient is no number any more, or the policy fails every time.
        IsolationError: The tools have code, and this machine cannot isolate it.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]
    )
    if settings.prompts % accelerator.num_processes:
        raise ConfigError(
            f"{settings.prompts} prompts cannot be shared by {accelerator.num_processes} processes",
            "set prompts to a multiple",
        )
    _check_run(settings, run, resume)
    return asyncio.run(_run(settings, run, judge_key, on_step, accelerator))


async def _run(
    settings: RlSettings,
    run: Path,
    judge_key: str | None,
    on_step: Callable[[dict[str, JsonValue]], object] | None,
    accelerator: Accelerator,
) -> RlResult:
    environment = open_environment(settings)
    try:
        if environment.sandbox is not None:
            await environment.sandbox.probe()  # rather now than at the first call of a model
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            run.mkdir(parents=True, exist_ok=True)
            part = run / "settings.json.part"
            part.write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")
            part.replace(run / "settings.json")
        accelerator.wait_for_everyone()
        judge = open_judge(settings.reward.judge, judge_key, run) if settings.reward.judge else None
        with no_progress_bars():
            return await _Trainer(settings, run, accelerator, environment, judge).run(on_step)
    finally:
        if environment.sandbox is not None:
            await environment.sandbox.aclose()


def _check_run(settings: RlSettings, run: Path, resume: bool) -> None:
    saved = run / "settings.json"
    if not resume:
        if saved.exists():
            raise ConfigError(f"{run} already holds a run", "name another folder with --run, or add --resume")
        return
    if not saved.is_file():
        raise ConfigError(f"{run} holds no run to resume: there is no settings.json", "leave out --resume")
    before, now = json.loads(saved.read_text(encoding="utf-8")), settings.model_dump(mode="json")
    if changed := [key for key in now if now[key] != before.get(key) and key not in MAY_CHANGE]:
        was = ", ".join(f"{key} was {before.get(key)}" for key in changed)
        raise ConfigError(
            f"{run} was started with other settings: {was}",
            f"resume it with the same settings; only {', '.join(MAY_CHANGE)} may change",
        )


class _Trainer:
    """The state of a run: what a checkpoint holds, and what can be made again."""

    def __init__(
        self, settings: RlSettings, run: Path, accelerator: Accelerator, environment: Environment, judge: Judge | None
    ):
        self.settings, self.folder, self.accelerator = settings, run, accelerator
        self.encoder = ChatEncoder.load(settings.model)
        device = str(accelerator.device)
        reference = load_model(settings.model, device, "float32") if settings.loss.kl else None
        self.model = load_model(settings.model, device, "float32")
        self.learner = Learner(settings, accelerator, self.model, self.encoder, reference)
        self.step, self.draws = 0, 0
        if (last := checkpoint.last_checkpoint(run / "checkpoints")) is not None:
            checkpoint.load_checkpoint(last, self.learner.trained, self.learner.optimizer)
            progress = checkpoint.load_progress(last)
            self.step, self.draws, self.learner.updates = (progress[key] for key in ("step", "draws", "updates"))
        self.metrics = MetricsLog(run / "metrics.jsonl", self.step)
        mixed = settings.dtype == "bfloat16"
        self.sampler = copy.deepcopy(self.model).to(torch.bfloat16) if mixed else self.model
        self.policy = TransformersPolicy.from_model(self.sampler, self.encoder, "", settings.max_batch)
        # A model without tools has none to abandon.
        idle = {} if environment.tools.offered else {"call_rate_floor": 0.0}
        self.monitors = settings.monitors.model_copy(update=idle)
        place = accelerator.process_index, accelerator.num_processes
        self.rollouts = Rollouts(settings, environment, self.policy, judge, *place)

    async def run(self, on_step: Callable[[dict[str, JsonValue]], object] | None) -> RlResult:
        """All steps that are left."""
        began, first = time.monotonic(), self.step
        self._forget_what_comes_again()
        while self.step < self.settings.steps and self._stop() is None:
            line = await self._step()
            seconds = time.monotonic() - began
            line["seconds/left"] = round(seconds / (self.step - first) * (self.settings.steps - self.step), 1)
            self._write(line)
            if on_step is not None and self.accelerator.is_main_process:
                on_step(line)
            if not self.step % self.settings.save_steps or self.step == self.settings.steps or self._stop():
                self._save()
        stop = self._stop() if self.step < self.settings.steps else None
        self._export()
        result = RlResult(
            model=str(self.folder / "model"),
            steps=self.step,
            stopped=None if stop is None else str(stop),
            seconds=round(time.monotonic() - began, 2),
        )
        if self.accelerator.is_main_process:
            (self.folder / "result.json").write_text(json.dumps(asdict(result), indent=2) + "\n", encoding="utf-8")
        return result

    async def _step(self) -> dict[str, JsonValue]:
        """Sample, score, learn; the figures of the step."""
        number, images, began = self.step + 1, ImageStore(), time.monotonic()
        self._refresh_sampler()
        self.policy.name = f"{self.settings.model} after {self.step} steps"
        groups = await self.rollouts.sample(number, self.draws, images)
        sampled = time.monotonic()
        learned = self._learn(groups, images)
        done = time.monotonic()
        if self.accelerator.is_main_process:
            self._keep(number, groups, images)
        everyone = self._everyone(groups)
        most = self.accelerator.gather(torch.tensor([len(groups)], device=self.accelerator.device)).max()
        self.step, self.draws = number, self.draws + int(most) * self.accelerator.num_processes
        figures = summarize(everyone, learned.figures.means(), self.settings)
        tokens = figures.get("length/tokens", 0.0) * figures["rollouts/sampled"]
        timing = {
            "seconds/rollouts": sampled - began,
            "seconds/learning": done - sampled,
            "seconds/step": time.monotonic() - began,
            "seconds/per_trajectory": (sampled - began) / figures["rollouts/sampled"],
            "seconds/per_1000_tokens": 1000 * (sampled - began) / tokens if tokens else 0.0,
        }
        return {
            "step": number,
            "steps": self.settings.steps,
            "draws": self.draws,
            "updates": learned.updates,
            "grad_norm": learned.grad_norm,
            "learning_rate": self.learner.optimizer.param_groups[0]["lr"],
            **figures,
            **{name: round(value, 4) for name, value in timing.items()},
        }

    def _learn(self, groups: list[Group], images: ImageStore) -> Learned:
        parts = shares(groups, self.encoder, self.settings)
        features = {}
        if self.settings.freeze_vision:
            shown = ((ref, images) for part in parts for one in part for ref in one.plan.refs)
            features = encode(self.model, self.encoder, shown)
        return self.learner.learn([[load(one, self.encoder, images, features) for one in part] for part in parts])

    def _refresh_sampler(self) -> None:
        if self.sampler is not self.model:
            with torch.no_grad():
                for mine, new in zip(self.sampler.parameters(), self.model.parameters(), strict=True):
                    mine.copy_(new)

    def _everyone(self, groups: list[Group]) -> list[Group]:
        """The groups of all processes, without token ids."""
        if self.accelerator.num_processes == 1:
            return groups
        light = [
            dataclasses.replace(
                group, trajectories=tuple(t.model_copy(update={"tokens": None}) for t in group.trajectories)
            )
            for group in groups
        ]
        gathered: list[Group] = gather_object(light)
        return gathered

    def _keep(self, number: int, groups: list[Group], images: ImageStore) -> None:
        """Write the trajectories of some groups as a run folder."""
        if self.settings.saved_groups:
            with RunWriter(self._kept_in(number)) as writer:
                for group in groups[: self.settings.saved_groups]:
                    for trajectory in group.trajectories:
                        writer.write(trajectory, images)

    def _kept_in(self, step: int) -> Path:
        return self.folder / "rollouts" / f"step-{step:06d}"

    def _write(self, line: dict[str, JsonValue]) -> None:
        before = self.metrics.lines[-1]["alarms"] if self.metrics.lines else []
        self.metrics.lines.append(line)
        standing = alarms(self.metrics.history, self.monitors)
        line["alarms"] = [alarm.name for alarm in standing]
        if self.accelerator.is_main_process:
            self.metrics.write_last()
        for alarm in standing:
            if isinstance(before, list) and alarm.name not in before:
                log.warning("step %d: alarm %s", self.step, alarm)
        if not line["updates"]:
            log.warning(
                "step %(step)d: nothing was learned: %(groups/informative)d of %(groups/drawn)d groups have something "
                "to compare, %(rollouts/trained)d of %(rollouts/sampled)d trajectories have a loss",
                line,
            )
        log.info(_said(line))

    def _stop(self) -> Alarm | None:
        """The alarm that ends the run."""
        standing = alarms(self.metrics.history, self.monitors)
        return next((alarm for alarm in standing if alarm.name in self.settings.stop_on), None)

    def _forget_what_comes_again(self) -> None:
        """Drop what was written about steps behind the last checkpoint."""
        if self.accelerator.is_main_process:
            self.metrics.truncate()
            for folder in sorted((self.folder / "rollouts").glob("step-*")):
                if int(folder.name.removeprefix("step-")) > self.step:
                    shutil.rmtree(folder)
        self.accelerator.wait_for_everyone()

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            progress = {"step": self.step, "draws": self.draws, "updates": self.learner.updates}
            state = self.learner.optimizer.state_dict()
            checkpoint.save_checkpoint(self.folder / "checkpoints", progress, self.learner.trained, state)
        self.accelerator.wait_for_everyone()

    def _export(self) -> None:
        if self.accelerator.is_main_process:
            part = self.folder / "model.part"
            shutil.rmtree(part, ignore_errors=True)
            self.model.to(getattr(torch, self.settings.save_dtype)).save_pretrained(part)
            checkpoint.publish(part, self.settings.model, self.folder / "model")
        self.accelerator.wait_for_everyone()


def _said(line: dict[str, Any]) -> str:
    """A line of metrics for people."""
    return (
        f"step {line['step']}/{line['steps']}  reward {line.get('reward/total', float('nan')):.3f}  "
        f"accuracy {line.get('reward/accuracy', float('nan')):.3f}  calls {line.get('calls/mean', 0.0):.2f}  "
        f"groups {line['groups/informative']} of {line['groups/drawn']}  "
        f"{line['seconds/rollouts']:.1f} + {line['seconds/learning']:.1f} s, {line['seconds/left']:.0f} s to go"
    )
