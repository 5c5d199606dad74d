"""Reinforcement learning: DAPO on rollouts of the one agent.

    run/settings.json        the settings, resolved; beside it inputs.json (`train.rl_folder`)
    run/metrics.jsonl        one line a step
    run/rollouts/step-N/     trajectories of some groups of the step: a run folder
    run/checkpoints/step-N/  weights, optimizer, how far it came; the last two
    run/model/               the result: a checkpoint folder that `TransformersPolicy` loads
    run/result.json          steps, why it stopped early, seconds

Everything that is random follows from the seed and from counted numbers, and metrics and rollouts behind the last
checkpoint are dropped on resume: a run that was killed goes on as if it had not been.
"""

import asyncio
import contextlib
import copy
import dataclasses
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list, gather_object
from pydantic import JsonValue

from foveal.errors import ConfigError, FovealError, TrainingError
from foveal.files import alone
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import TransformersPolicy, load_model, no_progress_bars
from foveal.records import RunWriter
from foveal.reward.judge import FAILURES_IN_A_ROW, Judge, open_judge
from foveal.reward.score import NO_COUNT, NO_GOLD
from foveal.train import checkpoint
from foveal.train.batch import load, shares
from foveal.train.environment import Environment, open_environment
from foveal.train.learner import Learned, Learner
from foveal.train.metrics import MetricsLog, summarize
from foveal.train.monitors import Alarm, alarms
from foveal.train.pictures import encode
from foveal.train.rl_folder import JUDGE_MAY_CHANGE, check_run, keep_start
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Group, Rollouts
from foveal.train.run_folder import check_begun, write_json
from foveal.train.tracker import tracking
from foveal.trajectory import ImageStore

log = logging.getLogger(__name__)

PATIENCE = timedelta(hours=6)
"""For the rollouts of another process."""
STEPS_WITHOUT_JUDGE = 3
"""In a row, with answers that it left unscored: after the last the run ends, whatever rules could score."""
TellStep = Callable[[dict[str, JsonValue]], object]


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
    on_step: TellStep | None = None,
) -> RlResult:
    """Train, and save the result to `run/model`. The folder is this process's own until the end.

    Args:
        settings: What to train on what, and how.
        run: Folder of the run; made here.
        resume: Go on from the last checkpoint of a run that was interrupted or stopped.
        judge_key: Sent to the judge, if the reward has one.
        on_step: Called with every new line of metrics, in the main process.

    Raises:
        ConfigError: The folder holds a run (or none, to resume), the settings, files or processes are not those that it
            was begun with, the judge has no address, or the tracker refuses to begin.
        InputError: A question set, an index folder or the checkpoint folder cannot be used, or another process is
            training in the folder.
        RecordError: The metrics of the run are damaged.
        MissingDependency: The tracker, or what a rule of the reward needs, is not installed.
        PolicyError: The start checkpoint cannot be used.
        TrainingError: The gradient is no number any more, memory runs out in learning, the policy fails every time, or
            the judge scores nothing.
        IsolationError: The tools have code, and this machine cannot isolate it.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",  # `dtype` says it, not a launcher, whose scaler would scale what `_step` clips
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if settings.prompts % accelerator.num_processes:
        raise ConfigError(
            f"{settings.prompts} prompts cannot be shared by {accelerator.num_processes} processes",
            "set prompts to a multiple",
        )
    return asyncio.run(_run(settings, run, resume, judge_key, on_step, accelerator))


async def _run(
    settings: RlSettings,
    run: Path,
    resume: bool,
    judge_key: str | None,
    on_step: TellStep | None,
    accelerator: Accelerator,
) -> RlResult:
    environment = open_environment(settings)
    try:
        if environment.sandbox is not None:
            await environment.sandbox.probe()  # rather now than at the first call of a model
        with contextlib.ExitStack() as held, no_progress_bars():
            tell = _take(settings, run, resume, accelerator, held)
            judge = open_judge(settings.reward.judge, judge_key, run) if settings.reward.judge else None
            trainer = _Trainer(settings, run, accelerator, environment, judge)
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:  # not before all is opened: a run that cannot begin is none to resume
                keep_start(settings, run, accelerator.num_processes)
            return await trainer.run([one for one in (on_step, tell) if one is not None])
    finally:
        if environment.sandbox is not None:
            await environment.sandbox.aclose()


def _take(
    settings: RlSettings, run: Path, resume: bool, accelerator: Accelerator, held: contextlib.ExitStack
) -> TellStep | None:
    """Take the folder for this run, and open its tracker; in the main process, whose error is raised in all."""
    tell, refused = None, None
    if accelerator.is_main_process:
        try:
            check_begun(run, resume)
            held.enter_context(alone(run))
            check_run(settings, run, resume, accelerator.num_processes)
            if settings.tracker is not None:
                tell = held.enter_context(tracking(settings.tracker, run, settings.model_dump(mode="json")))
        except FovealError as error:
            refused = error
    (refused,) = broadcast_object_list([refused])
    if refused is not None:
        raise refused
    return tell


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
        self.saved = self.step
        """Of the last checkpoint."""
        self.without_judge = 0
        """Steps in a row at whose end the judge was down."""
        self.metrics = MetricsLog(run / "metrics.jsonl", self.step)
        mixed = settings.dtype == "bfloat16"
        self.sampler = copy.deepcopy(self.model).to(torch.bfloat16) if mixed else self.model
        self.policy = TransformersPolicy.from_model(self.sampler, self.encoder, "", settings.max_batch)
        # A model without tools has none to abandon.
        idle = {} if environment.tools.offered else {"call_rate_floor": 0.0}
        self.monitors = settings.monitors.model_copy(update=idle)
        place = accelerator.process_index, accelerator.num_processes
        self.rollouts = Rollouts(settings, environment, self.policy, judge, *place)

    async def run(self, listeners: Sequence[TellStep]) -> RlResult:
        """All steps that are left. The listeners get every line of metrics, in the main process."""
        began, first = time.monotonic(), self.step
        self._forget_what_comes_again()
        while self.step < self.settings.steps and self._stop() is None:
            line = await self._step()
            seconds = time.monotonic() - began
            line["seconds/left"] = round(seconds / (self.step - first) * (self.settings.steps - self.step), 1)
            self._write(line)
            for tell in listeners if self.accelerator.is_main_process else ():
                tell(line)
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
            write_json(self.folder / "result.json", asdict(result))
        return result

    async def _step(self) -> dict[str, JsonValue]:
        """Sample, score, learn; the figures of the step."""
        number, images, began = self.step + 1, ImageStore(), time.monotonic()
        self._refresh_sampler()
        self.policy.name = f"{self.settings.model} after {self.step} steps"
        groups = await self.rollouts.sample(number, self.draws, images)
        self.policy.clear()  # learning needs the memory
        sampled = time.monotonic()
        everyone = self._everyone(groups)
        self._check_judged(number, everyone)
        learned = self._learn(groups, images)
        done = time.monotonic()
        if self.accelerator.is_main_process:
            self._keep(number, groups, images)
        self.step, self.draws = number, self.draws + self._most(len(groups)) * self.accelerator.num_processes
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

    def _check_judged(self, number: int, groups: list[Group]) -> None:
        """Tell what the judge left unscored; end the run if that is every answer. No draw of the step is counted then.

        A judge that is down for some steps ends it, too: what rules alone can score are hardly ever wrong answers. One
        that replies, but without a verdict, never does: it would do so again after a resume.
        """
        sampled = [trajectory for group in groups for trajectory in group.trajectories]
        unjudged = [one.unscored for one in sampled if one.unscored not in (None, NO_GOLD, NO_COUNT)]
        failures = self._most(self.rollouts.judge.failures if self.rollouts.judge is not None else 0)
        self.without_judge = self.without_judge + 1 if unjudged and failures >= FAILURES_IN_A_ROW else 0
        if not unjudged:
            return
        what = f"step {number}: {len(unjudged)} of {len(sampled)} trajectories are unscored, the first: {unjudged[0]}"
        if failures and not any("total" in one.reward and one.answer for one in sampled):
            why = "no answer has a score"
        elif self.without_judge == STEPS_WITHOUT_JUDGE:
            why = f"the judge has been down for {STEPS_WITHOUT_JUDGE} steps"
        else:
            log.warning(what)
            return
        if self.step > self.saved:
            self._save()
        raise TrainingError(
            f"{what}; {why}",
            f"bring the judge back (address, model, key), then go on behind step {self.step} with --resume; of "
            f"reward.judge {', '.join(JUDGE_MAY_CHANGE)} may be others",
        )

    def _learn(self, groups: list[Group], images: ImageStore) -> Learned:
        parts = shares(groups, self.encoder, self.settings)
        shown = {ref.sha256: ref for part in parts for one in part for ref in one.plan.refs}
        try:
            if self.settings.freeze_vision:
                pictures = encode(self.model, self.encoder, ((ref, images) for ref in shown.values()))
            else:
                pictures = {name: self.encoder.patches(ref, images) for name, ref in shown.items()}
            return self.learner.learn([[load(one, self.encoder, pictures) for one in part] for part in parts])
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"step {self.step + 1}: memory ran out in learning: {str(error).partition('. ')[0]}",
                f"go on with --resume and a lower micro_tokens (it is {self.settings.micro_tokens}), or with "
                "gradient_checkpointing = true",
            ) from error

    def _most(self, count: int) -> int:
        """The largest of the counts of all processes."""
        return int(self.accelerator.gather(torch.tensor([int(count)], device=self.accelerator.device)).max())

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
            checkpoint.remove_parts(self.folder / "checkpoints")
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
        self.saved = self.step

    def _export(self) -> None:
        if self.accelerator.is_main_process:
            part = self.folder / "model.part"
            shutil.rmtree(part, ignore_errors=True)
            self.model.to(getattr(torch, self.settings.save_dtype)).save_pretrained(part)
            checkpoint.publish(part, self.settings.model, self.folder / "model")
        self.accelerator.wait_for_everyone()


def _said(line: dict[str, Any]) -> str:
    """A line of metrics for people."""
    unscored = f"unscored {line['rollouts/unscored']} of {line['rollouts/sampled']}  "
    return (
        f"step {line['step']}/{line['steps']}  reward {line.get('reward/total', float('nan')):.3f}  "
        f"accuracy {line.get('reward/accuracy', float('nan')):.3f}  calls {line.get('calls/mean', 0.0):.2f}  "
        f"groups {line['groups/informative']} of {line['groups/drawn']}  "
        f"{unscored if line['rollouts/unscored'] else ''}"
        f"{line['seconds/rollouts']:.1f} + {line['seconds/learning']:.1f} s, {line['seconds/left']:.0f} s to go"
    )
