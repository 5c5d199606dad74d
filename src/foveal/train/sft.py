"""Cold start: supervised training on saved trajectories, on `transformers.Trainer`.

    run/settings.json     the settings, resolved; beside it inputs.json (`train.run_folder`)
    run/metrics.jsonl     one line for every `log_steps` steps, for every checkpoint and for the last step
    run/checkpoints/      weights, optimizer, schedule and random numbers, to resume from
    run/model/            the result: a checkpoint folder that `TransformersPolicy` loads
    run/result.json       what became of the data, steps, loss, seconds

The loss of an optimizer step is the sum over its learned tokens, divided by how many a full step has on average: over
an epoch every token weighs the same, and it does not matter how a step is split into forward passes. Divided by the
tokens of the step itself, a token of a short sequence would weigh more, for sequences of similar length are trained
together: where two habits are taught side by side, the model would take the one that says less. What is logged and
reported is another figure: the mean loss of a learned token, over the steps since the last line of metrics.

The order of the data follows from seed and epoch alone, so a resumed run repeats the steps that an uninterrupted one
would take.
"""

import contextlib
import json
import logging
import math
import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from pydantic import JsonValue
from torch.nn.functional import cross_entropy
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from foveal.errors import FovealError, TrainingError
from foveal.files import alone
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import load_model, no_progress_bars
from foveal.train.checkpoint import publish
from foveal.train.data import LengthGrouped, SftData
from foveal.train.launch import trainer_arguments
from foveal.train.metrics import MetricsLog
from foveal.train.pictures import with_features
from foveal.train.run_folder import check_begun, write_json
from foveal.train.settings import SftSettings
from foveal.train.sft_folder import check_data, check_run, keep_start
from foveal.train.tokens import IGNORE, collate, learned_logits, num_tokens

log = logging.getLogger(__name__)

ADAPTED = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Layers that LoRA adapts: all linear layers of the language model, none of the vision tower."""


@dataclass(frozen=True)
class SftResult:
    """What a run of cold start came to."""

    model: str
    """The checkpoint folder."""
    steps: int
    loss: float
    """Of a learned token, the mean over the last logged steps."""
    seconds: float
    fits: dict[str, int]
    """Trajectories by what the length budget did to them (`tokens.Fit`)."""


class SftTrainer(Trainer):
    """`transformers.Trainer` with the loss and the data order above."""

    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, step_batch: int, step_tokens: float, cached_vision: bool, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = True  # so that nobody divides by the number of forward passes
        self.step_tokens, self.cached_vision = step_tokens, cached_vision
        self.order = LengthGrouped(kwargs["train_dataset"].lengths, step_batch, self.args.seed)
        self.add_callback(_Epoch(self.order))
        self.tokens = 0
        """Tokens that this process has trained on."""
        self.since_log = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        """Sum of the losses of this process since the last line of metrics, and of how many learned tokens."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # The trainer reads weights by the names in the file, which `save_pretrained` had renamed: it finds none of
        # them, and only warns. `_model` has loaded them already; adapters and shards have no such names.
        if self.is_fsdp_enabled or hasattr(self.model, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the losses of this forward pass over the learned tokens that a full step has on average."""
        self.tokens += num_tokens(inputs)
        if self.cached_vision:
            inputs = with_features(inputs)
        labels, _, logits = learned_logits(model, inputs)
        loss = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="sum")
        self.since_log += torch.stack([loss.detach(), (labels != IGNORE).sum()])
        return loss / self.step_tokens * self.accelerator.num_processes  # gradients are averaged over processes

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Put the mean loss of a learned token in the place of what was optimised."""
        if "loss" in logs:
            loss, learned = self.accelerator.reduce(self.since_log, "sum").tolist()
            self.since_log.zero_()
            logs |= {"loss": loss / learned, "tokens": self.tokens}
        super().log(logs, start_time)


class _Epoch(TrainerCallback):
    """Tells the order of the data its epoch: of several processes that resume, the trainer's own way ends before it."""

    def __init__(self, order: LengthGrouped):
        self.order = order

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.order.epoch = int(state.epoch)


class _Metrics(TrainerCallback):
    """Writes and logs a line for every `log_steps` steps, for every checkpoint and for the last step."""

    def __init__(self, kept: MetricsLog):
        self.kept = kept
        self.loss = kept.history[-1]["loss"] if kept.lines else math.nan

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.start, self.first = time.monotonic(), state.global_step
        if state.is_world_process_zero:
            self.kept.truncate()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A run shorter than log_steps would end without a loss. And a checkpoint does not hold the loss since the last
        # line: without one there, a resumed run would tell another.
        if state.global_step >= state.max_steps or state.global_step % args.save_steps == 0:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" not in logs:
            return
        self.loss, seconds = float(logs["loss"]), time.monotonic() - self.start
        if not math.isfinite(self.loss):
            raise TrainingError(
                f"the loss is {self.loss} at step {state.global_step}",
                "start anew: another --run folder, lower learning_rate (a resumed run keeps its rate)",
            )
        line: dict[str, JsonValue] = {
            "step": state.global_step,
            "steps": state.max_steps,
            "epoch": round(float(state.epoch), 4),
            "loss": self.loss,
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": round(logs["tokens"] * args.world_size / seconds, 1),
            "seconds": round(seconds, 2),
            "eta_seconds": round(seconds / (state.global_step - self.first) * (state.max_steps - state.global_step), 1),
        }
        if state.is_world_process_zero:
            self.kept.lines.append(line)
            self.kept.write_last()
            log.info(
                "step %(step)d/%(steps)d  loss %(loss).4f  rate %(learning_rate).2e  "
                "%(tokens_per_second).0f tokens/s  %(eta_seconds).0f s to go",
                line,
            )


def run_sft(
    settings: SftSettings, run: Path, resume: bool = False, callbacks: Sequence[TrainerCallback] = ()
) -> SftResult:
    """Train, and save the result to `run/model`.

    Args:
        settings: What to train on what, and how.
        run: Folder of the run; made here, and this process's own until the end.
        resume: Go on from the last checkpoint of a run that was interrupted; its settings must be the same.
        callbacks: Called by the trainer besides our own.

    Raises:
        ConfigError: The folder holds a run (or none, to resume), the settings, data or processes are not those that it
            was begun with, or the settings do not fit the devices or the launcher.
        InputError: Another process is training in the folder.
        RecordError: The metrics of the run are damaged.
        TrainingError: The data cannot be used, the loss is no number any more, or no weights were saved.
        PolicyError: The start checkpoint cannot be used.
    """
    arguments = trainer_arguments(settings, run)
    with contextlib.ExitStack() as held, no_progress_bars():
        _take(settings, run, resume, arguments, held)
        encoder = load_encoder(settings)
        data = SftData(settings, encoder, blank=arguments.world_size > 1 and not settings.cache_vision)
        checkpoint = _last_checkpoint(run) if resume else None
        metrics = _Metrics(MetricsLog(run / "metrics.jsonl", 0 if checkpoint is None else _step(checkpoint)))
        trainer = _trainer(settings, arguments, checkpoint, encoder, data, [metrics, *callbacks])
        if trainer.is_world_process_zero():  # not before all is opened: a run that cannot begin is none to resume
            keep_start(settings, run, arguments.world_size)
            counts = ", ".join(f"{count} {fit}" for fit, count in data.fits.items() if count)
            log.info("%d sequences (%s), %d tokens, %d learned", len(data), counts, sum(data.lengths), data.learned)
        started = time.monotonic()
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        _export(trainer, settings, run / "model")
        result = SftResult(
            model=str(run / "model"),
            steps=trainer.state.global_step,
            loss=metrics.loss,
            seconds=round(time.monotonic() - started, 2),
            fits=dict(data.fits),
        )
        if trainer.is_world_process_zero():
            write_json(run / "result.json", asdict(result))
    return result


def load_encoder(settings: SftSettings) -> ChatEncoder:
    """The encoder of the start checkpoint, with the view that the settings ask for.

    Raises:
        PolicyError: The folder cannot be used.
    """
    encoder = ChatEncoder.load(settings.model)
    if settings.max_pixels is not None:
        encoder.image_processor.size["longest_edge"] = settings.max_pixels
    return encoder


def count_steps(settings: SftSettings, data: SftData) -> int:
    """Optimizer steps of the whole run."""
    return math.ceil(len(data) / settings.batch_size) * settings.epochs


def _take(
    settings: SftSettings, run: Path, resume: bool, arguments: TrainingArguments, held: contextlib.ExitStack
) -> None:
    """Take the folder for this run, in the main process, whose error is raised in all."""
    refused = None
    if arguments.process_index == 0:
        try:
            check_begun(run, resume)
            held.enter_context(alone(run))
            check_run(settings, run, resume)
            if resume:
                check_data(settings, run, arguments.world_size)
        except FovealError as error:
            refused = error
    (refused,) = broadcast_object_list([refused])
    if refused is not None:
        raise refused


def _last_checkpoint(run: Path) -> Path | None:
    # The trainer's state is written last: a checkpoint without it, or with a part of it, was being written at a kill.
    whole = [path.parent for path in (run / "checkpoints").glob("checkpoint-*/trainer_state.json") if _is_json(path)]
    return max(whole, key=_step, default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _trainer(
    settings: SftSettings,
    arguments: TrainingArguments,
    checkpoint: Path | None,
    encoder: ChatEncoder,
    data: SftData,
    callbacks: list[TrainerCallback],
) -> SftTrainer:
    set_seed(settings.seed)
    trainer = SftTrainer(
        model=_model(settings, checkpoint, data),
        args=arguments,
        train_dataset=data,
        data_collator=partial(collate, padding=encoder.padding),
        callbacks=callbacks,
        step_batch=settings.batch_size,
        step_tokens=data.learned / len(data) * min(settings.batch_size, len(data)),
        cached_vision=settings.cache_vision,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _model(settings: SftSettings, checkpoint: Path | None, data: SftData) -> Any:
    """The model to train: what is frozen is frozen, adapters are in place, features are cached."""
    dtype = "bfloat16" if settings.lora_rank and settings.dtype == "bfloat16" else "float32"
    folder = settings.model if checkpoint is None or settings.lora_rank else checkpoint
    model = load_model(folder, device="cpu", dtype=dtype)
    if settings.freeze_vision:
        model.model.visual.requires_grad_(False)  # the projector (merger) is a part of it
    if settings.cache_vision:
        data.cache_features(model.to("cuda" if torch.cuda.is_available() else "cpu"))
    if settings.lora_rank:
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=ADAPTED)
        with warnings.catch_warnings():  # peft still asks for a name that transformers has replaced
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            model = get_peft_model(model, lora)
    return model


def _export(trainer: SftTrainer, settings: SftSettings, folder: Path) -> None:
    """Save a checkpoint folder, whole or not at all: adapters are merged, shards gathered, weights are in `dtype`."""
    part = folder.with_name(folder.name + ".part")
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # every process has a part of them
    elif trainer.is_world_process_zero():
        model = model.merge_and_unload() if settings.lora_rank else model
        weights = model.state_dict()
    if trainer.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
        tied = model.all_tied_weights_keys  # gathered, they are copies, which would be saved twice
        dtype = getattr(torch, settings.dtype)
        model.save_pretrained(part, state_dict={k: v.to("cpu", dtype) for k, v in weights.items() if k not in tied})
        model.config.dtype = settings.dtype  # it was saved with that of the model in training
        model.config.save_pretrained(part)
        publish(part, settings.model, folder)
    trainer.accelerator.wait_for_everyone()
