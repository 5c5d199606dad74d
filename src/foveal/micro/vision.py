"""Stage 1 of pre-training: the vision tower alone, with a label for every merged token.

Through the language loss alone this tower does not learn to read within 60,000 pictures; with a direct head it does in
minutes (docs/micro.md). The heads are thrown away.
"""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb

from foveal.micro import scenes
from foveal.micro.model import HIDDEN, VIEW
from foveal.micro.pool import CROP_VIEW, Drawn, grid_of, patchify
from foveal.policy.encoding import ChatEncoder

TOKEN = 28
"""Side of what one merged token sees, in view pixels."""
SCENE_TOKENS = (VIEW // TOKEN) ** 2
CROP_TOKENS = (CROP_VIEW[0] // TOKEN) * (CROP_VIEW[1] // TOKEN)
COLUMNS = ROWS = scenes.SIZE // scenes.GRID
MOST_BOARDS = 5
MIDDLE = [5 * row + column for row in (1, 2) for column in (1, 2, 3)]
"""Tokens of a close view that see the number, if the view is of the whole board."""
NOTHING, NUMBER, FLAG = range(3)


class Heads(nn.Module):
    """Linear read-outs of the merged tokens.

    How many boards a scene has is read out of each of its tokens, and both digits of a number out of each token that
    sees some of it. The language model can then read them off any of these, and has neither to count nor to gather.
    Digits are not learned that way alone, so they are read out of all tokens of a close view together, too.
    """

    def __init__(self) -> None:
        super().__init__()
        kinds = len(scenes.COLOURS) + 1
        self.board = nn.Linear(HIDDEN, kinds)
        self.kind = nn.Linear(HIDDEN, 3)
        self.column = nn.Linear(HIDDEN, COLUMNS)
        self.row = nn.Linear(HIDDEN, ROWS)
        self.ball = nn.Linear(HIDDEN, kinds)
        self.count = nn.Linear(HIDDEN, MOST_BOARDS + 1)
        self.is_flag = nn.Linear(HIDDEN, 2)
        self.digits_together = nn.ModuleList(nn.Linear(HIDDEN * CROP_TOKENS, 10) for _ in range(2))
        self.digits_each = nn.ModuleList(nn.Linear(HIDDEN, 10) for _ in range(2))


class VisionScore(NamedTuple):
    """Loss and shares of right labels of one batch."""

    loss: Tensor
    place: float
    """Share of boards whose colour, column and row are all right."""
    counting: float
    """Share of tokens of scenes that tell the right number of boards."""
    reading: float
    """Share of numbers whose two digits are both right, read out of all tokens of a close view together."""
    reading_each: float
    """Share of tokens that see a number and tell both its digits."""


def labels(drawn: Drawn) -> dict[str, list[int]]:
    """Dense labels of a scene, for each of its 16 tokens: what begins there, where in the whole scene, how many boards.

    The language model cannot tell columns: the width axis has the lowest rotary frequencies, and four columns turn them
    by a hundredth of a radian. A tower that is trained to can, from where the picture ends.
    """
    colours = list(scenes.COLOURS)
    out = {name: [0] * SCENE_TOKENS for name in ("board", "kind", "ball")}
    out |= {name: [-100] * SCENE_TOKENS for name in ("column", "row")}
    out["count"] = [len(drawn.boards)] * SCENE_TOKENS
    for board in drawn.boards:
        token = token_of(board)
        out["board"][token] = 1 + colours.index(board.colour)
        out["kind"][token] = NUMBER if board.number is not None else FLAG
        out["column"][token], out["row"][token] = board.x // scenes.GRID, board.y // scenes.GRID
    x, y = drawn.ball_at
    out["ball"][token_at(x, y)] = 1 + colours.index(drawn.ball)
    return out


def token_of(board: scenes.Board) -> int:
    """Which of a scene's 16 tokens a board begins in."""
    return token_at(board.x, board.y)


def token_at(x: int, y: int) -> int:
    """Which of a scene's 16 tokens sees a place of the picture."""
    return (y // scenes.CELL) * (VIEW // TOKEN) + x // scenes.CELL


def score(tower: nn.Module, heads: Heads, batch: Sequence[Drawn], rng: random.Random) -> VisionScore:
    """Loss of a batch: every scene, and one crop of every scene."""
    crops = [rng.choice(drawn.crops) for drawn in batch]
    views = [np.stack([drawn.view for drawn in batch]), np.stack([crop.view for crop in crops])]
    grids = [grid_of(batch[0].view)] * len(batch) + [grid_of(crops[0].view)] * len(crops)
    pixels = torch.from_numpy(np.concatenate([patchify(v) for v in views]))
    features: Tensor = tower(pixels, grid_thw=torch.tensor(grids)).pooler_output
    border = len(batch) * SCENE_TOKENS
    seen, read = features[:border], features[border:].view(len(crops), CROP_TOKENS, HIDDEN)

    rows = [labels(drawn) for drawn in batch]
    target = {name: torch.tensor([row[name] for row in rows]).view(-1) for name in rows[0]}
    logits = {name: getattr(heads, name)(seen) for name in target}
    loss = torch.stack([cross_entropy(logits[name], target[name]) for name in target]).sum()
    numbers = torch.tensor([c.number if c.number is not None else -1 for c in crops])
    legible = numbers >= 0
    shown, right, right_each = read[legible], torch.tensor(True), torch.tensor(True)
    for of_all, of_each, digit in zip(
        heads.digits_together, heads.digits_each, (numbers[legible] // 10, numbers[legible] % 10), strict=True
    ):
        logit, each = of_all(shown.flatten(1)), of_each(shown[:, MIDDLE])
        if len(digit):  # a small batch may show flags only
            loss = loss + cross_entropy(logit, digit) + _everywhere(each, digit)
        right = right & (logit.argmax(-1) == digit)
        right_each = right_each & (each.argmax(-1) == digit[:, None])
    loss = loss + _everywhere(heads.is_flag(read), (~legible).long())

    boards = target["board"] > 0
    placed = torch.stack([logits[n].argmax(-1) == target[n] for n in ("board", "column", "row")]).all(0)
    counted = logits["count"].argmax(-1) == target["count"]
    shares = (placed[boards], counted, right, right_each)
    return VisionScore(loss, *(share.float().sum().item() / max(share.numel(), 1) for share in shares))


def _everywhere(logits: Tensor, label: Tensor) -> Tensor:
    """Mean loss where every token of a picture is to tell the picture's label: (n, tokens, classes), (n,)."""
    return cross_entropy(logits.flatten(0, 1), label.repeat_interleave(logits.shape[1]))


PLACES_LAYER = 2
"""The language model's layer whose states at picture tokens carry the labels of `Places` (of 4)."""


class Places(nn.Module):
    """Dense labels half-way up the language model, at picture tokens: what begins there, and where in the scene.

    The colour is read out with the word embeddings themselves, so that "red" in a question and a red board in the
    picture come to look alike, and attention can find one from the other. Column and row are those of the whole
    scene: the tower knows only relative positions. The read-outs are thrown away.
    """

    def __init__(self, encoder: ChatEncoder) -> None:
        super().__init__()
        self.words = torch.tensor([encoder.text(f" {colour}")[0] for colour in scenes.COLOURS])
        self.norm = nn.LayerNorm(HIDDEN)
        self.nothing = nn.Linear(HIDDEN, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.column = nn.Linear(HIDDEN, COLUMNS)
        self.row = nn.Linear(HIDDEN, ROWS)
        self.kind = nn.Linear(HIDDEN, 3)
        self.ball = nn.Linear(HIDDEN, len(scenes.COLOURS) + 1)
        self.count = nn.Linear(HIDDEN, MOST_BOARDS + 1)
        self.tens = nn.Linear(HIDDEN, 10)
        self.units = nn.Linear(HIDDEN, 10)

    def crop_loss(self, seen: Tensor, numbers: Tensor) -> Tensor:
        """Mean loss over the digits of numbers in close views.

        Args:
            seen: Hidden states, (crops, 20, hidden).
            numbers: The numbers, (crops,).
        """
        states = self.norm(seen[:, MIDDLE])
        return (_everywhere(self.tens(states), numbers // 10) + _everywhere(self.units(states), numbers % 10)) / 2

    def scene_loss(self, seen: Tensor, shown: Sequence[Drawn], embedding: Tensor) -> Tensor:
        """Mean loss over the labels of scenes.

        Args:
            seen: Hidden states, (scenes, 16, hidden).
            shown: The scenes.
            embedding: The word embeddings, (vocabulary, hidden).
        """
        states = self.norm(seen).flatten(0, 1)
        rows = [labels(drawn) for drawn in shown]
        target = {name: torch.tensor([row[name] for row in rows]).view(-1) for name in rows[0]}
        colours = self.scale * states @ embedding[self.words].T
        parts = [
            cross_entropy(torch.cat([self.nothing(states), colours], dim=1), target["board"]),
            cross_entropy(self.kind(states), target["kind"]),
            cross_entropy(self.ball(states), target["ball"]),
            cross_entropy(self.count(states), target["count"]),
            cross_entropy(self.column(states), target["column"]),
            cross_entropy(self.row(states), target["row"]),
        ]
        return torch.stack(parts).mean()


POINTING, COPYING = 0, 1
"""Key heads of the layer above the places. The query heads of the first learn to look at what is spoken of: the board,
the ball, the close view that is read, the scene whose boards are counted. Those of the second learn to look at where a
repeated passage goes on."""


def looking_loss(
    model: Any, middle: Tensor, positions: Tensor, head: int, looks: Sequence[tuple[int, int, Sequence[int]]]
) -> Tensor:
    """Mean of -log of the attention that query heads of layer `PLACES_LAYER` pay to the right tokens.

    Args:
        model: The whole model.
        middle: Hidden states that enter the layer, (batch, width, hidden).
        positions: Rotary positions, (3, batch, width).
        head: The key head; its query heads are taught.
        looks: Row, index of the token that looks, indices of the tokens that it may look at.
    """
    text = model.model.language_model
    layer = text.layers[PLACES_LAYER]
    attention, size = layer.self_attn, layer.self_attn.head_dim
    inner = layer.input_layernorm(middle)
    queries = attention.q_proj(inner).unflatten(-1, (-1, attention.num_key_value_groups, size))[..., head, :, :]
    keys = attention.k_proj(inner).unflatten(-1, (-1, 1, size))[..., head, :, :]
    cos, sin = text.rotary_emb(inner, positions)
    queries, keys = apply_rotary_pos_emb(queries, keys, cos, sin, unsqueeze_dim=2)
    rows = torch.tensor([row for row, _, _ in looks])
    looking = torch.tensor([index for _, index, _ in looks])
    scores = torch.einsum("phd,pwd->phw", queries[rows, looking], keys[rows, :, 0]) * attention.scaling
    hidden = torch.arange(middle.shape[1])[None, :] > looking[:, None]
    wrong = torch.ones_like(hidden)
    for number, (_, _, right) in enumerate(looks):
        wrong[number, list(right)] = False
    attended = scores.masked_fill(hidden[:, None], float("-inf")).log_softmax(-1)
    loss: Tensor = -attended.masked_fill(wrong[:, None], float("-inf")).logsumexp(-1).mean()
    return loss
