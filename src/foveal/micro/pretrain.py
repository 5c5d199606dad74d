"""Pre-training of the micro base model: the vision tower with dense labels, then the whole model on conversations.

Deterministic from a seed; the state is saved every few hundred steps, whole or not at all, and a run goes on where it
stopped: the data of a step depend on seed, stage and step alone, so nothing else must be restored.
"""

import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foveal.errors import TrainingError
from foveal.micro import corpus, facts, tokenizer, vision
from foveal.micro.model import new_model, save
from foveal.micro.pool import Drawn, Views, draw, grid_of, patchify
from foveal.micro.settings import PretrainSettings
from foveal.policy.encoding import ChatEncoder, mrope_positions

ROUND_STEPS = 8
"""Steps whose conversations are drawn together, to be sorted by length."""
DENSE_WEIGHT = 0.5
FEATURE_SCALE = 0.1


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


class Outcome(NamedTuple):
    """What a step on conversations gives."""

    loss: Tensor
    """Mean loss on reply tokens."""
    dense: dict[str, Tensor]
    """Losses of the dense labels (`scene`, `digits`, `pointing`, `copying`), where the batch has such labels."""
    right: Tensor
    """Whether each reply token was predicted right, (batch, width - 1) bool."""


def language_loss(
    model: Any, batch: dict[str, Tensor], examples: Sequence[Example] = (), places: vision.Places | None = None
) -> Outcome:
    """Loss of a batch; with `places`, also that of the dense labels at the picture tokens of `examples`."""
    inputs = {key: value for key, value in batch.items() if key != "mask"}
    out = model.model(**inputs, use_cache=False, output_hidden_states=places is not None)
    hidden = out.last_hidden_state[:, :-1]
    trained, target = batch["mask"][:, 1:], batch["input_ids"][:, 1:]
    logits = model.lm_head(hidden[trained])
    right = torch.zeros_like(trained)
    right[trained] = logits.argmax(-1) == target[trained]
    loss = cross_entropy(logits, target[trained])
    if places is None:
        return Outcome(loss, {}, right)
    middle = out.hidden_states[vision.PLACES_LAYER]
    dense = {}
    if shown := [(row, start, drawn) for row, item in enumerate(examples) for start, drawn in item.scenes]:
        seen = torch.stack([middle[row, start : start + vision.SCENE_TOKENS] for row, start, _ in shown])
        words = model.get_input_embeddings().weight
        dense["scene"] = places.scene_loss(seen, [drawn for _, _, drawn in shown], words)
    if close := [(row, start, number) for row, item in enumerate(examples) for start, number in item.crops]:
        seen = torch.stack([middle[row, start : start + vision.CROP_TOKENS] for row, start, _ in close])
        dense["digits"] = places.crop_loss(seen, torch.tensor([number for _, _, number in close]))
    for name, heads, looks in (
        ("pointing", vision.POINTING, [(r, a, b) for r, item in enumerate(examples) for a, b in item.pointers]),
        ("copying", vision.COPYING, [(r, a, b) for r, item in enumerate(examples) for a, b in item.copies]),
    ):
        if looks:
            dense[name] = vision.looking_loss(model, middle, batch["position_ids"], heads, looks)
    return Outcome(loss, dense, right)


def right_by_skill(examples: Sequence[Example], right: Tensor) -> dict[str, float]:
    """Share of replies that are right to the last token, by skill."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for row, item in enumerate(examples):
        where = torch.tensor(item.rounds[1:])
        for index, skill in enumerate(item.skills):
            hits[skill].append(bool(right[row, : len(where)][where == index].all()))
    return {skill: sum(h) / len(h) for skill, h in sorted(hits.items())}


class Stage(NamedTuple):
    """A stage of the training."""

    name: str
    steps: int
    rate: float
    work: Callable[[int], Tensor]
    """Loss of a step."""
    groups: list[dict[str, Any]]
    """Parameter groups of the optimizer."""


class Pretraining:
    """A run in a folder: `state.pt` (resumable), `tokenizer/`, `metrics.jsonl`, `base/` (the checkpoint)."""

    def __init__(self, settings: PretrainSettings, folder: Path, report: Callable[[str], None]):
        self.settings, self.folder, self.report = settings, folder, report
        if settings.threads:
            torch.set_num_threads(settings.threads)
        codes = [country.code for country in facts.split("train")]
        report(f"drawing {settings.scenes} scenes")
        self.pool = draw(settings.seed, settings.scenes, codes)
        self.names = corpus.Names()
        self.encoder = self._tokenizer()
        self.model = new_model(self.encoder, settings.seed)
        self.heads = vision.Heads()
        self.places = vision.Places(self.encoder)
        self.recent: dict[str, list[float]] = defaultdict(list)
        self._round: tuple[int, list[list[Example]]] = (-1, [])

    def run(self) -> Path:
        """Train from the saved state, if there is one, to the end; return the checkpoint folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = self._saved()
        tower = self.model.model.visual
        whole: list[dict[str, Any]] = [
            {"params": list(tower.parameters()), "share": self.settings.tower_share},
            {
                "params": [
                    *(p for n, p in self.model.named_parameters() if not n.startswith("model.visual")),
                    *self.places.parameters(),
                ]
            },
        ]
        stages = (
            Stage(
                "vision",
                self.settings.vision_steps,
                self.settings.vision_rate,
                self._vision_step,
                [
                    {"params": [*tower.parameters(), *self.heads.parameters()]},
                ],
            ),
            Stage("language", self.settings.language_steps, self.settings.language_rate, self._language_step, whole),
        )
        names = [stage.name for stage in stages]
        for stage in stages[names.index(state["stage"]) if state else 0 :]:
            optimizer = torch.optim.AdamW(stage.groups, lr=stage.rate, betas=(0.9, 0.95), weight_decay=0.01)
            tower.requires_grad_(stage.name == "vision" or self.settings.tower_share > 0)
            if stage.name == "language" and not (state and state["stage"] == "language"):
                self._tone_down()
            first = 0
            if state and state["stage"] == stage.name:
                first = state["step"]
                optimizer.load_state_dict(state["optimizer"])
            self._train(stage, first, optimizer)
        save(self.model, self.encoder, self.folder / "base")
        return self.folder / "base"

    def _tokenizer(self) -> ChatEncoder:
        """The run's tokenizer: trained once and kept, so that a resumed run means the same by the same ids."""
        kept = self.folder / "tokenizer"
        if not kept.is_dir():
            encoder = tokenizer.train(self.pool[:200], self.settings.seed)
            self.folder.mkdir(parents=True, exist_ok=True)
            encoder.tokenizer.save_pretrained(kept)
            encoder.image_processor.save_pretrained(kept)
        return ChatEncoder.load(kept)

    def _tone_down(self) -> None:
        """Scale the tower's last layer, so that its features do not drown what the language model adds to them.

        They are trained to be large; where a token lies in the picture is added by the language model.
        """
        last = self.model.model.visual.merger.mlp[-1]
        with torch.no_grad():
            last.weight.mul_(FEATURE_SCALE)
            last.bias.mul_(FEATURE_SCALE)

    def _train(self, stage: Stage, first: int, optimizer: Any) -> None:
        begun, steps = time.monotonic(), stage.steps
        for step in range(first, steps):
            warm = min(1.0, (step + 1) / self.settings.warmup)
            rate = stage.rate * warm * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            loss = stage.work(step)
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss.item()} at {stage.name} step {step}", f"lower --{stage.name}-rate"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
            optimizer.step()
            optimizer.zero_grad()
            self.recent["loss"].append(loss.item())
            if (step + 1) % self.settings.log_every == 0 or step + 1 == steps:
                self._log(stage.name, step + 1, steps, rate, (time.monotonic() - begun) / (step + 1 - first))
            if (step + 1) % self.settings.save_every == 0 or step + 1 == steps:
                self._save(stage.name, step + 1, optimizer)

    def _vision_step(self, step: int) -> Tensor:
        rng = random.Random(f"{self.settings.seed}-vision-{step}")
        batch = rng.choices(self.pool, k=self.settings.vision_batch)
        result = vision.score(self.model.model.visual, self.heads, batch, rng)
        for name in ("place", "counting", "reading", "reading_each"):
            self.recent[name].append(getattr(result, name))
        return result.loss

    def _language_step(self, step: int) -> Tensor:
        examples = self._examples(step // ROUND_STEPS)[step % ROUND_STEPS]
        outcome = language_loss(self.model, collate(self.encoder, examples), examples, self.places)
        for name, dense in outcome.dense.items():
            self.recent[name].append(dense.item())
        for skill, share in right_by_skill(examples, outcome.right).items():
            self.recent[skill].append(share)
        return outcome.loss + DENSE_WEIGHT * sum(outcome.dense.values(), torch.zeros(()))

    def _examples(self, number: int) -> list[list[Example]]:
        """The batches of `ROUND_STEPS` steps: drawn together and sorted by length, so that little is padded."""
        if self._round[0] != number:
            rng = random.Random(f"{self.settings.seed}-language-{number}")
            count = self.settings.language_batch
            talks = [corpus.conversation(rng, self.pool, self.names) for _ in range(count * ROUND_STEPS)]
            ordered = sorted((example(self.encoder, talk) for talk in talks), key=lambda item: len(item.ids))
            batches = [ordered[i * count : (i + 1) * count] for i in range(ROUND_STEPS)]
            rng.shuffle(batches)
            self._round = (number, batches)
        return self._round[1]

    def _log(self, stage: str, step: int, steps: int, rate: float, seconds: float) -> None:
        means = {name: round(sum(values) / len(values), 4) for name, values in self.recent.items()}
        self.recent.clear()
        row = {"stage": stage, "step": step, "rate": rate, "seconds_per_step": round(seconds, 3), **means}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        left = (steps - step) * seconds / 60
        shown = " ".join(f"{name} {value:.3f}" for name, value in means.items())
        self.report(f"{stage} {step}/{steps}: {shown} ({seconds:.2f} s a step, {left:.0f} min left)")

    def _save(self, stage: str, step: int, optimizer: Any) -> None:
        state = {
            "settings": self.settings.model_dump(),
            "stage": stage,
            "step": step,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "places": self.places.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        temporary = self.folder / "state.pt.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / "state.pt")

    def _saved(self) -> dict[str, Any] | None:
        path = self.folder / "state.pt"
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["settings"] != self.settings.model_dump():
            raise TrainingError(f"{path} was made with other settings", "use them again, or another --run folder")
        self.model.load_state_dict(state["model"])
        self.heads.load_state_dict(state["heads"])
        self.places.load_state_dict(state["places"])
        self.report(f"going on at {state['stage']} step {state['step']}")
        return state
