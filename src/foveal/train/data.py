"""What cold start learns from: run folders as sequences, and their order."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset, Sampler

from foveal.errors import TrainingError
from foveal.policy.encoding import ChatEncoder, Patches
from foveal.records import read_run
from foveal.train.pictures import encode
from foveal.train.settings import SftSettings
from foveal.train.tokens import Fit, Plan, TrainingSequence, plan, same_tokenizer, sequence
from foveal.trajectory import ImageStore

log = logging.getLogger(__name__)


class SftData(Dataset[TrainingSequence]):
    """The sequences to learn. Pictures are opened when a sequence is asked for.

    Args:
        settings: Name the run folders and the budgets.
        encoder: Encoder of the start checkpoint.
        blank: End each sequence without a picture with a blank one, behind all that is learned, where it changes
            nothing. Processes that share gradients or weights wait for each other for ever if the batch of one does
            not go through the vision tower.

    Attributes:
        fits: Trajectories by what the length budget did to them.
        lengths: Tokens of each sequence.
        learned: Tokens with loss, of all sequences.

    Raises:
        TrainingError: No trajectory is left, one contradicts itself, or a picture is missing.
        RecordError: A folder holds no run.
    """

    def __init__(self, settings: SftSettings, encoder: ChatEncoder, blank: bool = False):
        self._encoder = encoder
        self._blank = encoder.image(Image.new("RGB", (28, 28))) if blank else None
        self._plans: list[tuple[Plan, ImageStore]] = []
        self._features: dict[str, Patches] = {}
        self.fits: Counter[str] = Counter({fit.value: 0 for fit in Fit})
        for folder in settings.data:
            run = read_run(folder)
            for problem in run.problems:
                log.warning("%s: %s", folder, problem)
            anew = 0
            for trajectory in run.trajectories:
                if trajectory.tokens and not same_tokenizer(trajectory, trajectory.tokens, encoder):
                    trajectory, anew = trajectory.model_copy(update={"tokens": None}), anew + 1
                planned, fit = plan(trajectory, encoder, settings.max_length)
                self.fits[fit] += 1
                if planned is not None:
                    self._check_pictures(planned, run.images, trajectory.id)
                    self._plans.append((planned, run.images))
            if anew:
                log.warning("%s: token ids of %d trajectories are of another tokenizer; encoded anew", folder, anew)
        if not self._plans:
            counts = ", ".join(f"{count} {fit}" for fit, count in self.fits.items() if count) or "none at all"
            raise TrainingError(
                f"no trajectory to learn from ({counts})", "raise max_length, or name other runs in data"
            )
        self.lengths = [len(planned.ids) for planned, _ in self._plans]
        self.learned = sum(sum(planned.loss_mask) for planned, _ in self._plans)

    def _check_pictures(self, planned: Plan, images: ImageStore, name: str) -> None:
        for ref in planned.refs:
            if images.folder is not None and not (images.folder / f"{ref.sha256}.png").is_file():
                raise TrainingError(
                    f"picture {ref.sha256[:12]}… of trajectory {name} is missing from {images.folder}",
                    "copy the images folder together with the JSONL file",
                )

    def cache_features(self, model: Any) -> None:
        """Put every picture through the vision tower once; sequences then hold features instead of patches."""
        pictures = ((ref, store) for planned, store in self._plans for ref in planned.refs)
        self._features = encode(model, self._encoder, pictures)

    def __len__(self) -> int:
        return len(self._plans)

    def __getitem__(self, index: int) -> TrainingSequence:
        planned, store = self._plans[index]
        images = [self._features.get(ref.sha256) or self._encoder.patches(ref, store) for ref in planned.refs]
        if self._blank and not images:
            planned, images = self._with_pads(planned, self._encoder.num_image_tokens(self._blank.grid)), [self._blank]
        return sequence(planned, self._encoder, images)

    def _with_pads(self, planned: Plan, count: int) -> Plan:
        ids, mask = (*planned.ids, *[self._encoder.image_pad] * count), (*planned.loss_mask, *[0] * count)
        return replace(planned, ids=ids, loss_mask=mask, logprobs=None)


class LengthGrouped(Sampler[int]):
    """Steps of `batch` sequences of about the same length, in an order that follows from seed and epoch."""

    def __init__(self, lengths: Sequence[int], batch: int, seed: int):
        self.lengths, self.batch, self.seed = np.array(lengths), batch, seed
        self.epoch = 0
        """To be set before each epoch."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        # Sorted within windows of several steps only, so that a step has other company every epoch.
        window = self.batch * max(1, min(50, len(order) // (4 * self.batch)))
        windows = [order[start : start + window] for start in range(0, len(order), window)]
        order = np.concatenate([one[np.argsort(self.lengths[one], kind="stable")] for one in windows])
        whole = len(order) // self.batch
        steps = rng.permutation(whole)
        for step in [*steps, whole]:  # the last, incomplete one stays last
            yield from order[step * self.batch : (step + 1) * self.batch].tolist()
