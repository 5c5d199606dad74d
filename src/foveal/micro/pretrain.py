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

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foveal.errors import RecordError, TrainingError
from foveal.files import alone, replacing
from foveal.micro import corpus, facts, tokenizer, vision
from foveal.micro.examples import Example, collate, example
from foveal.micro.model import new_model, save
from foveal.micro.pool import draw
from foveal.micro.settings import PretrainSettings
from foveal.policy.encoding import ChatEncoder

ROUND_STEPS = 8
"""Steps whose conversations are drawn together, to be sorted by length."""
DENSE_WEIGHT = 0.5
FEATURE_SCALE = 0.1


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
        """Train from the saved state, if there is one, to the end; return the checkpoint folder.

        Raises:
            TrainingError: The state was made with other settings, or the loss is no number any more.
            RecordError: The metrics of the run are damaged.
            InputError: Another process is training in the folder.
        """
        with alone(self.folder):
            return self._run()

    def _run(self) -> Path:
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
        self._forget_what_comes_again(names, state)
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

    def _forget_what_comes_again(self, stages: Sequence[str], state: dict[str, Any] | None) -> None:
        """Drop the lines of metrics behind the saved state: their steps are taken again."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        done = (stages.index(state["stage"]), state["step"]) if state else (0, 0)

        def place(line: str) -> tuple[int, int]:
            row = json.loads(line)
            return stages.index(row["stage"]), row["step"]

        try:  # a killed process leaves at most a torn last line
            kept = [line for line in lines if line.endswith("\n") and place(line) <= done]
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} holds a line that is none of metrics: {error}", "remove that line") from error
        with replacing(path) as file:
            file.writelines(kept)

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
