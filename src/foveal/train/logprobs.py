"""Log-prob and entropy of the trained tokens, with gradients, without ever holding the logits of a whole batch.

The vocabulary is the widest layer by far: at 152 000 entries, the float32 logits of one sequence of 20 000 tokens take
12 GB. Logits are computed for trained tokens only, a chunk at a time, and computed again in the backward pass.

Sampler and trainer speak of the same distribution: tokens that are never sampled have probability 0 (`suppress`), and
the temperature is that of the sampling.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.checkpoint import checkpoint

from foveal.errors import TrainingError
from foveal.policy.encoding import ChatEncoder
from foveal.policy.sampling import suppress
from foveal.train.tokens import IGNORE, TrainingSequence

CHUNK_LOGITS = 2**26
"""Logits that are alive at once: 256 MiB in float32 (a few times that while their softmax is computed)."""


class TokenScores(NamedTuple):
    """Scores of the trained tokens of B sequences of L tokens. Place t speaks of token t, as in `Tokens.logprobs`."""

    logprobs: torch.Tensor
    """(B, L) float32: log-prob of each trained token, with gradient; 0 elsewhere."""
    entropy: torch.Tensor
    """(B, L) float32, no gradient: entropy in nats of the distribution that the token came from; 0 elsewhere."""


class Scorer:
    """Scores the trained tokens of a batch under a model, around its own forward pass, which would return all logits.

    Args:
        model: Has `model` (ids to hidden states) and `lm_head`. For LoRA: the base model, adapters in place.
        encoder: Names the tokens that are never sampled.
        temperature: That of the sampling; 0 (greedy) scores at 1, as the sampler does.
        chunk_logits: Logits that may be alive at once.
    """

    def __init__(self, model: Any, encoder: ChatEncoder, temperature: float, chunk_logits: int = CHUNK_LOGITS):
        self.model = model
        self._encoder, self._temperature, self._chunk_logits = encoder, temperature, chunk_logits

    def __call__(self, batch: dict[str, Any]) -> TokenScores:
        """Scores of every token of `batch` that has a label.

        Args:
            batch: From `tokens.collate`, on the model's device; it may hold `mm_encoder_outputs` for `pixel_values`.

        Raises:
            TrainingError: A trained token is one that is never sampled: ids and mask do not belong together.
        """
        labels = batch["labels"]
        trained = labels != IGNORE
        trained[:, 0] = False  # nothing stands before it
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        hidden = self.model.model(**inputs, use_cache=False).last_hidden_state
        targets = labels[trained]
        if torch.isin(targets, torch.tensor(self._encoder.never_sampled, device=targets.device)).any():
            raise TrainingError(
                "the loss mask covers a token that no sampler may write (start of a turn, or of a picture)",
                "learn from trajectories that this checkpoint sampled, with the tokenizer files that it had then",
            )
        chosen, entropy = token_scores(
            hidden[:, :-1][trained[:, 1:]],
            self.model.lm_head,
            targets,
            self._encoder,
            self._temperature or 1.0,
            max(1, self._chunk_logits // self.model.lm_head.weight.shape[0]),
        )
        empty = torch.zeros(labels.shape, dtype=torch.float32, device=labels.device)
        return TokenScores(empty.masked_scatter(trained, chosen), empty.masked_scatter(trained, entropy))


def token_scores(
    hidden: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    targets: torch.Tensor,
    encoder: ChatEncoder,
    temperature: float,
    chunk: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probs (with gradient) and entropies of N tokens, both (N,) in float32.

    Args:
        hidden: (N, H): hidden state before each token.
        head: Hidden states (n, H) to logits (n, vocabulary).
        targets: (N,): the tokens.
        encoder: Names the tokens that are never sampled.
        temperature: Above 0.
        chunk: Tokens whose logits are alive at once.
    """

    def score(states: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.log_softmax(suppress(head(states), encoder) / temperature, dim=-1)
        with torch.no_grad():  # 0 * log 0 is 0
            entropy = -(scores.exp() * scores.masked_fill(scores == -torch.inf, 0.0)).sum(dim=-1)
        return scores.gather(1, tokens[:, None])[:, 0], entropy

    chunks = zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True)
    scored = [checkpoint(score, states, tokens, use_reentrant=False) for states, tokens in chunks]
    return torch.cat([logprobs for logprobs, _ in scored]), torch.cat([entropy for _, entropy in scored])


def recorded_logprobs(sequences: Sequence[TrainingSequence]) -> torch.Tensor:
    """What the sampler recorded, (B, L), padded as `tokens.collate` pads; 0 where there is no loss.

    Raises:
        TrainingError: A sequence was not sampled with its log-probs.
    """
    padded = torch.zeros(len(sequences), max(len(one.ids) for one in sequences))
    for row, one in enumerate(sequences):
        if one.logprobs is None:
            raise TrainingError("a trajectory has no log-probs of its sampler", "train on rollouts of a local policy")
        padded[row, : len(one.ids)] = torch.from_numpy(one.logprobs * (one.loss_mask == 1))
    return padded
