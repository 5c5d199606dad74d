"""Trajectory -> ids, loss mask, pictures and positions; and sequences -> one padded batch.

One path for cold start and reinforcement learning. A trajectory that carries its tokens is taken as it was sampled;
one that does not (written by a teacher or an endpoint) is encoded message by message with the encoder of the policy,
exactly as a conversation would have grown. So is, in a cold start, one whose tokens are of another tokenizer. The model
learns its own turns and the end of each turn that it ended itself; prompts, observations and the frame around them have
no loss.

A sequence over the length budget loses whole turns at its end, or is dropped: never a part of a picture, of an
observation or of a turn. In a batch, rows are masked through the loss, never through the attention, so that no row
can move the pictures of another: rows end in their padding, which nothing before it sees, so a batch has no attention
mask at all. (With one, attention would go through all pairs of tokens instead of each with those before it.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from foveal.errors import TrainingError
from foveal.policy.encoding import ChatEncoder, Patches, mrope_positions
from foveal.trajectory import ImageRef, Message, Tokens, Trajectory

IGNORE = -100
"""Label of a token without loss."""


class Fit(StrEnum):
    """What the length budget did to a trajectory."""

    WHOLE = "whole"
    """Every turn is there. (What stands after the last turn teaches nothing and is always left out.)"""
    SHORTENED = "shortened"
    """Whole turns at the end are missing."""
    DROPPED = "dropped"
    """Not even the first turn fits."""
    EMPTY = "empty"
    """The model said nothing: there is nothing to learn."""


@dataclass(frozen=True)
class Plan:
    """A sequence with references to its pictures instead of their pixels."""

    ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    """1 on what the model learns; ends with a 1."""
    refs: tuple[ImageRef, ...]
    logprobs: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class TrainingSequence:
    """One sequence, ready to be put into a batch. L is its length."""

    ids: npt.NDArray[np.int64]
    """(L,)."""
    loss_mask: npt.NDArray[np.int64]
    """(L,): 1 on what the model learns."""
    positions: npt.NDArray[np.int64]
    """(3, L): rotary positions in time, height and width."""
    images: list[Patches]
    """In the order of their pad tokens."""
    logprobs: npt.NDArray[np.float32] | None
    """(L,): of the sampler, 0 where the mask is 0; None for trajectories that were not sampled with ids."""


def same_tokenizer(trajectory: Trajectory, tokens: Tokens, encoder: ChatEncoder) -> bool:
    """Whether recorded ids, read with the tokenizer of `encoder`, say what the turns of their trajectory say."""
    said, place, opening = encoder.decode(tokens.ids), 0, encoder.decode(encoder.assistant_start())
    for turn in trajectory.turns:
        place = said.find(opening + turn.text, place)
        if place < 0:
            return False
        place += len(opening + turn.text)
    return True


def plan(trajectory: Trajectory, encoder: ChatEncoder, max_length: int) -> tuple[Plan | None, Fit]:
    """The ids of a trajectory within `max_length`, without opening a picture.

    Raises:
        TrainingError: The tokens of the trajectory and its pictures disagree.
    """
    tokens = trajectory.tokens or _encode(trajectory, encoder)
    mask = np.array([*tokens.loss_mask, 0])
    ends = np.flatnonzero((mask[:-1] == 1) & (mask[1:] == 0)) + 1
    if not ends.size:
        return None, Fit.EMPTY
    fitting = ends[ends <= max_length]
    if not fitting.size:
        return None, Fit.DROPPED
    end = int(fitting[-1])
    planned = Plan(
        ids=tokens.ids[:end],
        loss_mask=tokens.loss_mask[:end],
        refs=_shown(trajectory, tokens.ids, end, encoder),
        logprobs=None if trajectory.tokens is None else tokens.logprobs[:end],
    )
    return planned, Fit.WHOLE if end == ends[-1] else Fit.SHORTENED


def sequence(planned: Plan, encoder: ChatEncoder, images: list[Patches]) -> TrainingSequence:
    """A planned sequence with its pictures (`images`, one for each of `planned.refs`) and positions."""
    merge = int(encoder.image_processor.merge_size)
    return TrainingSequence(
        ids=np.array(planned.ids),
        loss_mask=np.array(planned.loss_mask),
        positions=mrope_positions(planned.ids, [image.grid for image in images], encoder.image_pad, merge),
        images=images,
        logprobs=None if planned.logprobs is None else np.array(planned.logprobs, dtype=np.float32),
    )


def _encode(trajectory: Trajectory, encoder: ChatEncoder) -> Tokens:
    """Ids and mask of a trajectory that has only text; log-probs are 0."""
    ids: list[int] = []
    mask: list[int] = []

    def add(some: list[int], learned: int = 0) -> None:
        ids.extend(some)
        mask.extend([learned] * len(some))

    for message in trajectory.prompt:
        add(encoder.message_ids(message))
    for turn in trajectory.turns:
        add(encoder.assistant_start())
        add(encoder.text(turn.text), 1)
        add([encoder.turn_end], int(turn.finish == "stop"))
        add(encoder.assistant_end([encoder.turn_end]))
        if turn.observation_parts:
            add(encoder.message_ids(Message(role="user", parts=turn.observation_parts)))
    return Tokens(ids=tuple(ids), loss_mask=tuple(mask), logprobs=(0.0,) * len(ids))


def _shown(trajectory: Trajectory, ids: Sequence[int], end: int, encoder: ChatEncoder) -> tuple[ImageRef, ...]:
    """The pictures within `ids[:end]`; all pad tokens of all ids are accounted for.

    Raises:
        TrainingError: The runs of pad tokens are not those of the pictures.
    """
    needed = [encoder.num_image_tokens(encoder.grid(ref)) for ref in trajectory.images]
    pads = np.concatenate(([False], np.array(ids) == encoder.image_pad, [False]))
    starts, stops = np.flatnonzero(pads[1:] & ~pads[:-1]), np.flatnonzero(~pads[1:] & pads[:-1])
    if needed != (found := (stops - starts).tolist()):
        raise TrainingError(
            f"trajectory {trajectory.id} has picture tokens in runs of {found}, its pictures take {needed}",
            "train with the picture settings (max_pixels) that it was sampled with, or remove its tokens",
        )
    return trajectory.images[: int((stops <= end).sum())]


def collate(sequences: Sequence[TrainingSequence], padding: int) -> dict[str, torch.Tensor]:
    """One batch, padded on the right with the id `padding`; B sequences, L the longest.

    Returns:
        input_ids, labels (B, L): labels are the ids themselves, -100 where there is no loss; position_ids (3, B, L),
        0 in the padding; and, if there are pictures, pixel_values (patches of all, ...) and image_grid_thw
        (pictures, 3).
    """
    rows, longest = len(sequences), max(len(one.ids) for one in sequences)
    ids = np.full((rows, longest), padding)
    labels = np.full((rows, longest), IGNORE)
    positions = np.zeros((3, rows, longest), dtype=np.int64)
    for row, one in enumerate(sequences):
        length = len(one.ids)
        ids[row, :length] = one.ids
        labels[row, :length] = np.where(one.loss_mask == 1, one.ids, IGNORE)
        positions[:, row, :length] = one.positions
    batch = {"input_ids": ids, "labels": labels, "position_ids": positions}
    if pictures := [picture for one in sequences for picture in one.images]:
        batch["pixel_values"] = np.concatenate([picture.values for picture in pictures])
        batch["image_grid_thw"] = np.array([picture.grid for picture in pictures])
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def num_tokens(batch: dict[str, torch.Tensor]) -> int:
    """Tokens of a batch from `collate`, padding left out."""
    positions = batch["position_ids"][0]
    return len(positions) + int(positions.count_nonzero())  # 0 is the position of each first token, and of padding


def learned_logits(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits of those columns of a batch whose next token is learned in some row: K of L.

    The vocabulary is by far the widest layer, and prompts and observations are most of a sequence: the rest of the
    logits is never computed.

    Returns:
        labels (B, K) of the next tokens, columns (K,) of the logits, logits (B, K, vocabulary).
    """
    labels = batch["labels"]
    keep = (labels[:, 1:] != IGNORE).any(dim=0).nonzero()[:, 0]
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    return labels[:, keep + 1], keep, model(**inputs, logits_to_keep=keep, use_cache=False).logits
