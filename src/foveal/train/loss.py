"""The policy loss of DAPO and GRPO, pure: tensors and settings in, a loss and its figures out.

With r the ratio of new to old probability of a token and A the advantage of its sequence, a token's loss is

    -w * min(r * A, clip(r, 1 - low, 1 + high) * A) + kl * k3        and, with dual clip c and A < 0,
    -w * max(min(...), c * A) + kl * k3

with w the importance weight of sampler and trainer. The loss of a micro-batch is a sum over its tokens, divided by a
count of the global batch: all micro-batches, accumulation steps and processes. Gradients therefore add up to the same
whatever the split, as long as nobody divides again.
"""

import math
from dataclasses import dataclass

import torch

from foveal.errors import TrainingError
from foveal.train.rl_settings import LossSettings

MAX_LOG_RATIO = 20.0
"""Log-ratios are cut here: beyond, exp overflows and 0 * inf poisons the gradient. No clip range reaches that far."""
SUMS = ("tokens", "loss", "clip_low", "clip_high", "clip_dual", "ratio", "gap", "importance_cut", "entropy", "kl")
PEAKS = ("ratio_max", "gap_max")


@dataclass(frozen=True, eq=False)
class LossFigures:
    """Statistics of one or more micro-batches. They add up with `+`; across processes, sum `sums` and max `peaks`."""

    sums: torch.Tensor
    """(len(SUMS),) float64: number of trained tokens, and sums over them."""
    peaks: torch.Tensor
    """(len(PEAKS),) float64."""

    def __add__(self, other: "LossFigures") -> "LossFigures":
        return LossFigures(self.sums + other.sums, torch.maximum(self.peaks, other.peaks))

    def means(self) -> dict[str, float]:
        """By name: `tokens`, `loss` (a total), means over the trained tokens of the other `SUMS`, and `PEAKS`.

        clip_low, clip_high and clip_dual are shares of tokens whose gradient a clip has removed; gap is the mean
        absolute difference of the log-probs of sampler and trainer; importance_cut is the share of tokens that the cap
        touched; kl is the estimate k3 against the reference. What was not given is 0. Without any trained token there
        is nothing but `tokens`: an entropy of 0 would be a collapse.
        """
        values: dict[str, float] = dict(zip(SUMS, self.sums.tolist(), strict=True))
        tokens = values["tokens"]
        if not tokens:
            return {"tokens": 0.0}
        means = {name: value if name in ("tokens", "loss") else value / tokens for name, value in values.items()}
        return {**means, **dict(zip(PEAKS, self.peaks.tolist(), strict=True))}


def loss_weight(mask: torch.Tensor, settings: LossSettings) -> torch.Tensor:
    """What a micro-batch adds to the `total` of the global batch: its trained tokens, or its sequences with any.

    Args:
        mask: (B, L) bool, true on trained tokens.
        settings: `mean` says which of the two.
    """
    return mask.sum() if settings.mean == "token" else mask.any(dim=1).sum()


def policy_loss(
    logprobs: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    total: float | torch.Tensor,
    settings: LossSettings,
    *,
    old: torch.Tensor | None = None,
    sampler: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    entropy: torch.Tensor | None = None,
) -> tuple[torch.Tensor, LossFigures]:
    """The share of a micro-batch in the loss of the global batch, and its figures. B sequences of L tokens.

    Args:
        logprobs: (B, L), with gradient: of the policy in training.
        advantages: (B,).
        mask: (B, L) bool, true on trained tokens. What the other tensors hold elsewhere does not matter.
        total: Sum of `loss_weight` over the whole global batch.
        settings: Clips, mean, KL, importance.
        old: (B, L): of the policy before the first update on these rollouts, which the ratio is against. None: this is
            the first update, the ratio is 1 and its gradient that of the log-prob.
        sampler: (B, L): as recorded by the sampler, for the gap and the importance weight of `old` over `sampler`.
        reference: (B, L): of the reference model.
        entropy: (B, L): for the figures only.

    Returns:
        A scalar, and the figures.

    Raises:
        TrainingError: The settings need `sampler` or `reference`, and it is not given.
    """
    if settings.kl and reference is None:
        raise TrainingError("loss.kl needs log-probs of a reference model", "set loss.kl to 0")
    if settings.importance != "off" and sampler is None:
        raise TrainingError("loss.importance needs the sampler's log-probs", "set loss.importance to off")
    new = _on(mask, logprobs)
    before = new.detach() if old is None else _on(mask, old)
    gain = advantages[:, None]
    ratio = (new - before).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    low, high = 1 - settings.clip_low, 1 + settings.clip_high
    objective = torch.minimum(ratio * gain, ratio.clamp(low, high) * gain)
    if settings.dual_clip:
        objective = torch.where(gain < 0, torch.maximum(objective, settings.dual_clip * gain), objective)
    weight, cut, gap = _importance(before, mask, settings, sampler)
    kl = torch.zeros_like(new)
    if reference is not None:
        behind = (_on(mask, reference) - new).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        kl = behind.exp() - behind - 1
    losses = _on(mask, -objective * weight + settings.kl * kl)
    if settings.mean == "sequence":
        losses = losses / mask.sum(dim=1, keepdim=True).clamp(min=1)
    loss = losses.sum() / total
    with torch.no_grad():
        dual = (gain < 0) & (ratio > (settings.dual_clip or math.inf))
        figures = {
            "tokens": mask,
            "loss": losses / total,
            "clip_low": (gain < 0) & (ratio < low),
            "clip_high": (gain > 0) & (ratio > high),
            "clip_dual": dual,
            "ratio": ratio,
            "gap": gap,
            "importance_cut": cut,
            "entropy": torch.zeros_like(new) if entropy is None else entropy,
            "kl": kl,
        }
        sums = [_on(mask, figures[name]).sum(dtype=torch.float64) for name in SUMS]
        peaks = [_on(mask, some).double().amax() for some in (ratio, gap)]
    return loss, LossFigures(torch.stack(sums), torch.stack(peaks))


def _on(mask: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values where the mask is true, and 0 (with gradient exactly 0) elsewhere."""
    return torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))


def _importance(
    before: torch.Tensor, mask: torch.Tensor, settings: LossSettings, sampler: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight, whether the cap touched it, and the gap of sampler and trainer; all (B, L), without gradient."""
    one, none = torch.ones_like(before), torch.zeros_like(before)
    if sampler is None:
        return one, none, none
    difference = before - _on(mask, sampler)
    if settings.importance == "off":
        return one, none, difference.abs()
    if settings.importance == "sequence-mask":
        difference_of_all = difference.sum(dim=1, keepdim=True).expand_as(difference)
    else:
        difference_of_all = difference
    ratio = difference_of_all.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    cut = ratio > settings.importance_cap
    capped = 0.0 if settings.importance == "sequence-mask" else settings.importance_cap
    return ratio.masked_fill(cut, capped), cut.to(none.dtype), difference.abs()
