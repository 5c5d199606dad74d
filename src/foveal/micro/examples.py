"""Pre-training conversations as sequences: ids, what is trained, and where a reply must look; and batches of them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from foveal.micro import corpus, vision
from foveal.micro.pool import Drawn, Views, grid_of, patchify
from foveal.policy.encoding import ChatEncoder, mrope_positions


class Example(NamedTuple):
    """A conversation as a sequence."""

    ids: list[int]
    mask: list[int]
    """1 on the replies and the token that ends them."""
    rounds: list[int]
    """Which round a reply token belongs to; -1 elsewhere."""
    skills: list[str]
    views: list[Views]
    scenes: list[tuple[int, Drawn]]
    """Scenes that are shown, each with the index of its first pad token."""
    crops: list[tuple[int, int]]
    """Close views of numbers, each as the index of its first pad token and the number."""
    pointers: list[tuple[int, list[int]]]
    """Where a reply tells what is in a picture: index of the token that must look, and of the pad tokens that it may
    look at: where the board begins, the ball lies or the number stands, or any of a scene whose boards are counted."""
    copies: list[tuple[int, list[int]]]
    """Where a reply repeats what the conversation holds: index of the token that must look, and of those that it may
    look at."""


def example(encoder: ChatEncoder, talk: corpus.Conversation) -> Example:
    """Encode a conversation just as `ChatEncoder` encodes its messages."""
    ids = [
        encoder.turn_start,
        *encoder.text("system\n"),
        *encoder.text(talk.system),
        encoder.turn_end,
        *encoder.text("\n"),
    ]
    mask, rounds = [0] * len(ids), [-1] * len(ids)
    views: list[Views] = []
    scenes: list[tuple[int, Drawn]] = []
    crops: list[tuple[int, int]] = []
    pointers: list[tuple[int, list[int]]] = []
    copies: list[tuple[int, list[int]]] = []
    for index, round_ in enumerate(talk.rounds):
        asked = [encoder.turn_start, *encoder.text("user\n")]
        numbers, legible = list(round_.numbers), []
        for part in round_.asked:
            if isinstance(part, str):
                asked += encoder.text(part)
                continue
            views.append(part)
            pads = int(np.prod(grid_of(part))) // encoder.image_processor.merge_size**2
            if round_.scene is not None:
                scenes.append((len(ids) + len(asked) + 1, round_.scene))
            elif (number := numbers.pop(0)) is not None:
                legible.append((len(ids) + len(asked) + 1, number))
            asked += [encoder.vision_start, *[encoder.image_pad] * pads, encoder.vision_end]
        asked += [encoder.turn_end, *encoder.text("\n"), *encoder.assistant_start()]
        reply = [*encoder.text(round_.reply), encoder.turn_end]
        if scenes:
            pointers += _pointers(encoder, round_, reply, len(ids) + len(asked), *scenes[-1])
        pointers += _readings(encoder, reply, len(ids) + len(asked), [start for start, _ in legible])
        crops += legible
        ids += [*asked, *reply, *encoder.text("\n")]
        if round_.skill in corpus.COPYING:
            copies += _copies(encoder, ids, len(ids) - 1 - len(reply), len(reply) - 1)
        mask += [0] * len(asked) + [1] * len(reply) + [0] * len(encoder.text("\n"))
        rounds += [-1] * len(asked) + [index] * len(reply) + [-1] * len(encoder.text("\n"))
    return Example(ids, mask, rounds, [r.skill for r in talk.rounds], views, scenes, crops, pointers, copies)


def _pointers(
    encoder: ChatEncoder, round_: corpus.Round, reply: Sequence[int], start: int, pads: int, drawn: Drawn
) -> list[tuple[int, list[int]]]:
    """Pointers of a reply whose first token stands at `start`, to the scene whose first pad token stands at `pads`.

    Each digit of a place, the word for a kind, the colour of the ball and the number of boards is decided at the token
    before it.
    """
    found, board = [], 0
    ball = encoder.text(drawn.ball)[0] if round_.skill == "ball" else None
    for offset, token in enumerate(reply[:-1]):
        text = encoder.decode([token])
        board += text == ";"
        if round_.boards and (text.isdigit() or text in (" flag", " number")):
            found.append((start + offset - 1, [pads + vision.token_of(round_.boards[board])]))
        elif token == ball:
            found.append((start + offset - 1, [pads + vision.token_at(*drawn.ball_at)]))
        elif round_.skill == "count" and text.isdigit():
            found.append((start + offset - 1, list(range(pads, pads + vision.SCENE_TOKENS))))
    return found


def _readings(
    encoder: ChatEncoder, reply: Sequence[int], start: int, close: Sequence[int]
) -> list[tuple[int, list[int]]]:
    """Pointers of a reply whose first token stands at `start`, to the close views of the numbers that it tells.

    Args:
        encoder: Of the conversation.
        reply: Its tokens; without close views of numbers nothing in it is a pointer.
        start: Where it stands.
        close: The first pad token of each such view, in the order in which their numbers are told.
    """
    if not close:
        return []
    digits = [offset for offset, token in enumerate(reply) if encoder.decode([token]).isdigit()]
    views = [pads for pads in close for _ in range(2)]
    return [
        (start + offset - 1, [pads + place for place in vision.MIDDLE])
        for offset, pads in zip(digits, views, strict=True)
    ]


def _copies(encoder: ChatEncoder, ids: Sequence[int], start: int, length: int) -> list[tuple[int, list[int]]]:
    """For each reply token that goes on as an earlier passage did: who must look, and where the passage goes on.

    Of all places where the token follows the one before it, those count whose past agrees for longest.
    """
    where: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index in range(1, start):
        where[ids[index - 1], ids[index]].append(index)
    found = []
    for index in range(start, start + length):
        if places := where.get((ids[index - 1], ids[index])):
            agreement = [_agreement(ids, index, place) for place in places]
            best = max(agreement)
            found.append((index - 1, [p for p, a in zip(places, agreement, strict=True) if a == best]))
    return found


def _agreement(ids: Sequence[int], one: int, other: int, most: int = 8) -> int:
    """How many tokens before two places are the same, up to `most`."""
    for count in range(1, most):
        if other - count < 0 or ids[one - count] != ids[other - count]:
            return count
    return most


def collate(encoder: ChatEncoder, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Right-padded model inputs and `mask` of a batch."""
    width, count = max(len(e.ids) for e in examples), len(examples)
    pad = int(encoder.end_of_text or 0)
    ids = torch.full((count, width), pad)
    mask, attention = torch.zeros(count, width, dtype=torch.bool), torch.zeros(count, width, dtype=torch.long)
    positions = torch.zeros(3, count, width, dtype=torch.long)
    for row, item in enumerate(examples):
        length = len(item.ids)
        grids = [grid_of(view) for view in item.views]
        ids[row, :length], mask[row, :length] = torch.tensor(item.ids), torch.tensor(item.mask, dtype=torch.bool)
        attention[row, :length] = 1
        positions[:, row, :length] = torch.from_numpy(mrope_positions(item.ids, grids, encoder.image_pad))
    batch = {"input_ids": ids, "attention_mask": attention, "position_ids": positions, "mask": mask}
    views = [view for item in examples for view in item.views]
    if views:
        batch["pixel_values"] = torch.from_numpy(np.concatenate([patchify(view[None]) for view in views]))
        batch["image_grid_thw"] = torch.tensor([grid_of(view) for view in views])
    return batch
