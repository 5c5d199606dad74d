"""Optimizer steps on rollouts: micro-batches by length, the policy loss over the global batch, AdamW.

The loss of a micro-batch is its share of a sum over the global batch, so gradients add up over micro-batches and over
processes, and nobody divides again. They are summed over processes once an optimizer step, here and not by DDP: a
process may have more micro-batches than another, or none with trained tokens, and none waits for another meanwhile.
"""

import dataclasses
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from foveal.errors import TrainingError
from foveal.policy.encoding import ChatEncoder
from foveal.train.batch import Sample, micro_batches
from foveal.train.logprobs import Scorer, recorded_logprobs
from foveal.train.loss import PEAKS, SUMS, LossFigures, loss_weight, policy_loss
from foveal.train.pictures import with_features
from foveal.train.rl_settings import RlSettings
from foveal.train.tokens import IGNORE, collate


@dataclass(frozen=True)
class Learned:
    """What the optimizer steps on one batch of rollouts came to."""

    updates: int
    """Optimizer steps; a share of the batch without trained tokens in any process takes none."""
    grad_norm: float
    """Before clipping, the mean over the steps; 0 without any."""
    figures: LossFigures
    """Over all steps and processes."""


class Learner:
    """The model in training, with its optimizer.

    Args:
        settings: Of the run.
        accelerator: Device and processes.
        model: In evaluation mode, on the accelerator's device; the same weights in every process.
        encoder: Of the model.
        reference: The model that `loss.kl` keeps near to, if it does.
    """

    def __init__(
        self,
        settings: RlSettings,
        accelerator: Accelerator,
        model: Any,
        encoder: ChatEncoder,
        reference: Any | None = None,
    ):
        self.settings, self.accelerator, self.model, self.encoder = settings, accelerator, model, encoder
        if settings.freeze_vision:
            model.model.visual.requires_grad_(False)  # the projector (merger) is a part of it
        if settings.gradient_checkpointing:
            model.activation_checkpointing_enable()
        self.trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        optimizer = torch.optim.AdamW(
            self.trained.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.optimizer = accelerator.prepare(optimizer)
        self.updates = 0
        """Optimizer steps so far."""
        self._scorer = Scorer(model, encoder, settings.temperature)
        self._reference = None if reference is None else Scorer(reference, encoder, settings.temperature)

    def learn(self, parts: Sequence[Sequence[Sample]]) -> Learned:
        """Take one optimizer step on each part; there are as many parts in every process.

        Raises:
            TrainingError: The gradient is no number any more.
        """
        # The first update needs no log-probs from before: its weights are those from before.
        parts = [*parts[:1], *(self._with_old(part) for part in parts[1:])]
        figures, norms = _no_figures(), []
        self.model.train(self.settings.gradient_checkpointing)  # no layer has dropout; checkpointing asks for it
        for part in parts:
            weight = sum(int(self._weight(sample)) for sample in part)
            total = float(self._sum(torch.tensor(float(weight), dtype=torch.float64)))
            if total:
                for batch in micro_batches(part, self.settings.micro_tokens):
                    figures += self._backward(batch, total)
                norms.append(self._step())
        self.model.eval()
        return Learned(len(norms), sum(norms) / max(len(norms), 1), self._over_processes(figures))

    def _weight(self, sample: Sample) -> torch.Tensor:
        return loss_weight(torch.from_numpy(sample.sequence.loss_mask[None] == 1), self.settings.loss)

    def _backward(self, samples: Sequence[Sample], total: float) -> LossFigures:
        """Add the gradients of a micro-batch."""
        batch = self._batch(samples)
        with self._precision():
            scores = self._scorer(batch)
        sequences = [sample.sequence for sample in samples]
        loss, figures = policy_loss(
            scores.logprobs,
            torch.tensor([sample.advantage for sample in samples], device=scores.logprobs.device),
            batch["labels"] != IGNORE,
            total,
            self.settings.loss,
            old=self._old(samples, batch),
            sampler=recorded_logprobs(sequences).to(scores.logprobs.device),
            reference=self._referred(batch),
            entropy=scores.entropy,
        )
        # Not the accelerator's, which would divide by what a launcher may call accumulation steps.
        loss.backward()  # type: ignore[no-untyped-call]
        return LossFigures(figures.sums.cpu(), figures.peaks.cpu())

    def _step(self) -> float:
        """Sum gradients over processes, clip, and step; the norm before clipping."""
        for weight in self.trained.values():
            if self.accelerator.num_processes > 1:
                own = torch.zeros_like(weight) if weight.grad is None else weight.grad
                weight.grad = self._sum(own)
        norm = float(self.accelerator.clip_grad_norm_(list(self.trained.values()), self.settings.max_grad_norm))
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradient is {norm} at update {self.updates + 1}",
                "start anew: another --run folder, lower learning_rate (a resumed run keeps its rate)",
            )
        self.updates += 1
        rising = self.updates / self.settings.warmup_updates if self.settings.warmup_updates else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * min(1.0, rising)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def _with_old(self, part: Sequence[Sample]) -> list[Sample]:
        """The samples with their log-probs under the weights as they are, in the same order."""
        scored: dict[int, Sample] = {}
        for batch in micro_batches(part, self.settings.micro_tokens):
            with torch.no_grad(), self._precision():
                logprobs = self._scorer(self._batch(batch)).logprobs.cpu().numpy()
            for sample, row in zip(batch, logprobs, strict=True):
                scored[id(sample)] = dataclasses.replace(sample, old=row[: len(sample.sequence.ids)])
        return [scored[id(sample)] for sample in part]

    def _old(self, samples: Sequence[Sample], batch: dict[str, Any]) -> torch.Tensor | None:
        rows = [sample.old for sample in samples if sample.old is not None]
        if not rows:
            return None
        padded = torch.zeros(batch["labels"].shape)
        for number, row in enumerate(rows):
            padded[number, : len(row)] = torch.from_numpy(row)
        return padded.to(batch["labels"].device)

    def _referred(self, batch: dict[str, Any]) -> torch.Tensor | None:
        if self._reference is None:
            return None
        with torch.no_grad(), self._precision():
            scores = self._reference(batch)
        logprobs: torch.Tensor = scores.logprobs
        return logprobs

    def _batch(self, samples: Sequence[Sample]) -> dict[str, Any]:
        batch = collate([sample.sequence for sample in samples], self.encoder.padding)
        moved = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        return with_features(moved) if self.settings.freeze_vision else moved

    def _precision(self) -> AbstractContextManager[None]:
        mixed = self.settings.dtype == "bfloat16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=mixed)

    def _sum(self, tensor: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.accelerator.reduce(tensor.to(self.accelerator.device), "sum")
        return summed

    def _over_processes(self, figures: LossFigures) -> LossFigures:
        peaks = self.accelerator.gather(figures.peaks[None].to(self.accelerator.device)).amax(dim=0)
        return LossFigures(self._sum(figures.sums).cpu(), peaks.cpu())


def _no_figures() -> LossFigures:
    return LossFigures(torch.zeros(len(SUMS), dtype=torch.float64), torch.zeros(len(PEAKS), dtype=torch.float64))
