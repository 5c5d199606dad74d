"""From logits to tokens: which are never sampled, and how the others are drawn.

The pad and frame tokens of pictures, and the token that opens a turn, are never sampled: their logits are -inf, here
and in the trainer's recompute (`suppress`), so that both speak of the same distribution. Recorded log-probs are those
of that distribution at the sampling temperature (at 1 for greedy), before top-p.
"""

from collections.abc import Sequence

import torch

from foveal.config import Sampling
from foveal.policy.encoding import ChatEncoder


def suppress(logits: torch.Tensor, encoder: ChatEncoder) -> torch.Tensor:
    """Logits (..., vocabulary) in float32 with the tokens that are never sampled at -inf; a copy."""
    masked = logits.float().clone()
    masked[..., encoder.never_sampled] = -torch.inf
    return masked


def choose(
    logits: torch.Tensor, encoder: ChatEncoder, samplings: Sequence[Sampling], uniforms: Sequence[float]
) -> tuple[list[int], list[float]]:
    """The next token of each row and its log-prob.

    Args:
        logits: (rows, vocabulary).
        encoder: Knows the tokens that are never sampled.
        samplings: One for each row.
        uniforms: A number in [0, 1) for each row: the quantile that is drawn.
    """
    temperatures = [sampling.temperature for sampling in samplings]
    scale = torch.tensor([t or 1.0 for t in temperatures], device=logits.device)[:, None]
    logprobs = torch.log_softmax(suppress(logits, encoder) / scale, dim=-1)
    chosen = logprobs.argmax(dim=-1)
    if any(temperatures):
        quantiles = torch.tensor(uniforms, dtype=torch.float64, device=logits.device)
        drawn = draw(logprobs, quantiles, [sampling.top_p for sampling in samplings])
        chosen = torch.where(torch.tensor(temperatures, device=logits.device) > 0, drawn, chosen)
    picked = logprobs.gather(1, chosen[:, None])[:, 0]
    return chosen.tolist(), picked.tolist()


def draw(logprobs: torch.Tensor, uniforms: torch.Tensor, top_p: Sequence[float]) -> torch.Tensor:
    """Tokens (rows,) at the quantiles `uniforms` (rows,) of the distributions (rows, vocabulary), cut at `top_p`."""
    probs = logprobs.double().exp()
    if min(top_p) < 1:
        ordered, order = probs.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        limit = torch.tensor(top_p, dtype=torch.float64, device=probs.device)[:, None]
        probs = torch.zeros_like(probs).scatter(1, order, ordered.masked_fill(before >= limit, 0.0))
    summed = probs.cumsum(dim=-1)
    # The last sum stands for 1; staying below it keeps tokens of probability 0 out of reach.
    below = torch.minimum(uniforms, torch.tensor(1 - 1e-12, dtype=torch.float64, device=probs.device))
    return torch.searchsorted(summed, (below * summed[:, -1])[:, None], right=True)[:, 0]
