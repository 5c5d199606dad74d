"""Decoding for a model that sees: continuous batching, with keys and values that outlive a turn.

Every conversation has a slot of the cache and keeps it between its turns, so that only what is new is computed: an
observation, not all that came before it. Requests join the running batch at any step and leave it alone. Rollouts of
one question copy the prompt's keys and values from the first of them. A batch changes nothing in a row but rounding:
positions come from the row alone, and each row draws from its own stream of random numbers.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.cache import Cache, Slot
from foveal.policy.encoding import ChatEncoder, Patches
from foveal.policy.sampling import choose

PREFILL_TOKENS = 4096
"""Tokens, padding included, that one forward pass over new context takes at most; a longer turn goes alone."""


@dataclass(eq=False)
class Picture:
    """A picture, for all conversations that hold it; its features are computed once, when first needed."""

    sha256: str
    patches: Patches
    features: torch.Tensor | None = None
    """(pad tokens, hidden size)."""
    weights: int = -1
    """Version of the weights that the features are from."""


@dataclass(eq=False)
class Request:
    """One turn to be written, and how far it has come."""

    owner: object
    """The conversation: its slot is kept for it until `Engine.release`."""
    ids: list[int]
    """The context, opening of the turn included."""
    positions: npt.NDArray[np.int64]
    """(3, len(ids))."""
    pictures: list[Picture]
    sampling: Sampling
    uniforms: npt.NDArray[np.float64]
    """One number in [0, 1) for each token that may be sampled: (max_tokens,)."""
    stop: tuple[str, ...]
    done: "Future[None]" = field(default_factory=Future)
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"


class Engine:
    """Writes turns for many conversations at once, in a thread of its own.

    Args:
        model: A model of the Qwen2-VL or Qwen2.5-VL family, in evaluation mode. Its weights may change while nothing
            is being written: what was cached under other weights is dropped.
        encoder: The checkpoint's tokenizer.
        slots: Conversations in the cache; as many turns at most are written at once.
    """

    def __init__(self, model: Any, encoder: ChatEncoder, slots: int):
        self.model, self.encoder, self.device = model, encoder, model.device
        self._cache = Cache(slots)
        self._waiting: deque[Request] = deque()
        self._released: deque[object] = deque()
        self._busy: list[Request] = []
        """What is being written; the request at index n has the slot at place n."""
        self._weights = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="decode")

    def submit(self, request: Request) -> "Future[None]":
        """Begin to write a turn; the future is done when the turn is whole. Cancelling it frees its place."""
        self._waiting.append(request)
        self._worker.submit(self._work)
        return request.done

    def release(self, owner: object) -> None:
        """Let go of a conversation's slot."""
        self._released.append(owner)

    def clear(self) -> None:
        """Give the memory of the cache back, once what is being written is whole; later turns compute theirs anew."""
        self._worker.submit(self._cache.clear).result()

    def _work(self) -> None:
        """Write until nothing is left to be written; called in the worker thread at least once for every request."""
        while self._waiting or self._busy:
            admitted: list[Request] = []
            try:
                with torch.inference_mode():
                    self._admit(admitted)
                    self._step()
            except Exception as error:  # handed over to whoever waits for the turns
                failed, self._busy = {*self._busy, *admitted}, []
                self._cache.clear()
                _fail(failed, error)

    def _admit(self, admitted: list[Request]) -> None:
        """Give waiting requests a slot while there are some, and compute what their slots lack.

        Requests of the same context wait for the first of them, and copy from it a step later.
        """
        if not self._busy:
            self._check_weights()
        while self._released:
            self._cache.release(self._released.popleft())
        seated = self._seat(admitted)
        seated.sort(key=lambda seat: len(seat[2]) - len(seat[1].content))
        while seated:
            longest = [len(content) - len(slot.content) for _, slot, content in seated]
            fitting = sum((n + 1) * length <= PREFILL_TOKENS for n, length in enumerate(longest))
            group, seated = seated[: max(fitting, 1)], seated[max(fitting, 1) :]
            self._prefill([request for request, _, _ in group], [slot for _, slot, _ in group])

    def _seat(self, admitted: list[Request]) -> list[tuple[Request, Slot, list[int]]]:
        """Slots for waiting requests, and the contents of their contexts."""
        seated: list[tuple[Request, Slot, list[int]]] = []
        twins: list[Request] = []
        try:
            for _ in range(len(self._waiting)):
                if len(self._busy) + len(seated) == len(self._cache.slots):
                    break
                request = self._waiting.popleft()
                if request.done.cancelled():
                    continue
                admitted.append(request)
                content = self._content(request)
                if any(content == other for _, _, other in seated):
                    twins.append(admitted.pop())
                    continue
                taken = len(self._busy), [slot for _, slot, _ in seated]
                seated.append((request, self._cache.seat(request.owner, content, *taken), content))
        finally:  # whatever happens to the first, they wait on
            self._waiting.extendleft(reversed(twins))
        return seated

    def _content(self, request: Request) -> list[int]:
        """The context's ids, with pads replaced by a number for their picture: equal where keys and values are."""
        content = list(request.ids)
        spots = (index for index, token in enumerate(content) if token == self.encoder.image_pad)
        for picture in request.pictures:
            stands_for = -1 - int(picture.sha256[:15], 16)
            for _ in range(self.encoder.num_image_tokens(picture.patches.grid)):
                content[next(spots)] = stands_for
        return content

    def _prefill(self, requests: list[Request], slots: list[Slot]) -> None:
        """Compute what the slots lack of the requests' contexts, and sample the first token of each turn."""
        first = len(self._busy)
        for place, slot in enumerate(slots, start=first):
            self._cache.bring(slot, place)
        cached = [len(slot.content) for slot in slots]
        counts = [len(request.ids) - known for request, known in zip(requests, cached, strict=True)]
        width = max(counts)
        ids = torch.tensor(
            [
                request.ids[known:] + [self.encoder.padding] * (width - count)
                for request, known, count in zip(requests, cached, counts, strict=True)
            ],
            device=self.device,
        )
        embeds = self.model.get_input_embeddings()(ids)
        for row, (request, count) in enumerate(zip(requests, counts, strict=True)):
            pads = ids[row, :count] == self.encoder.image_pad
            if new := int(pads.sum()):
                embeds[row, :count][pads] = self._new_features(request.pictures, new).to(embeds.dtype)
        positions = np.stack(
            [
                np.pad(request.positions[:, known:], ((0, 0), (0, width - count)))
                for request, known, count in zip(requests, cached, counts, strict=True)
            ],
            axis=1,
        )
        hidden = self._forward(embeds, torch.from_numpy(positions).to(self.device), first, counts)
        for request, slot in zip(requests, slots, strict=True):
            slot.content += self._content(request)[len(slot.content) :]
        self._busy += requests
        last = hidden[range(len(counts)), [count - 1 for count in counts]]
        self._sample(first, last)

    def _step(self) -> None:
        """Write one more token of every turn."""
        if not self._busy:
            return
        newest = [request.sampled[-1] for request in self._busy]
        following = [int(r.positions[0, -1]) + len(r.sampled) for r in self._busy]  # a context ends in text
        embeds = self.model.get_input_embeddings()(torch.tensor(newest, device=self.device)[:, None])
        position = torch.tensor(following, device=self.device).view(1, -1, 1).expand(3, -1, 1)
        hidden = self._forward(embeds, position, 0, [1] * len(newest))
        for slot, token in zip(self._cache.slots, newest, strict=False):
            slot.content.append(token)
        self._sample(0, hidden[:, 0])

    def _forward(self, embeds: torch.Tensor, positions: torch.Tensor, first: int, counts: list[int]) -> torch.Tensor:
        """Hidden states (rows, width, hidden) of new tokens whose slots begin at place `first`.

        Args:
            embeds: (rows, width, hidden), padded on the right.
            positions: (3, rows, width).
            first: Place of the first row's slot.
            counts: New tokens of each row.
        """
        mask = self._cache.aim(first, counts, embeds.device)
        output = self.model.get_decoder()(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def _new_features(self, pictures: Sequence[Picture], pads: int) -> torch.Tensor:
        """Features of the last `pads` pad tokens; only pictures that no conversation holds yet go through the tower."""
        needed: list[Picture] = []
        for picture in reversed(pictures):
            if sum(self.encoder.num_image_tokens(one.patches.grid) for one in needed) >= pads:
                break
            needed.insert(0, picture)
        missing = [picture for picture in dict.fromkeys(needed) if picture.weights != self._weights]
        if missing:
            pixels = torch.from_numpy(np.concatenate([picture.patches.values for picture in missing]))
            grids = torch.tensor([picture.patches.grid for picture in missing], device=self.device)
            encoded = self.model.get_image_features(pixels.to(self.device), grids).pooler_output
            for picture, features in zip(missing, encoded, strict=True):
                picture.features, picture.weights = features, self._weights
        return torch.cat([picture.features for picture in needed if picture.features is not None])[-pads:]

    def _sample(self, first: int, hidden: torch.Tensor) -> None:
        """Add a token to the turns from place `first` on, and hand over those that are whole."""
        requests = self._busy[first:]
        uniforms = [request.uniforms[len(request.sampled)] for request in requests]
        tokens, logprobs = choose(
            self.model.lm_head(hidden), self.encoder, [request.sampling for request in requests], uniforms
        )
        for request, token, logprob in zip(requests, tokens, logprobs, strict=True):
            request.sampled.append(token)
            request.logprobs.append(logprob)
        # A stop string of n bytes spans n tokens at most, and its last byte is in the newest one.
        reach = max((len(stop.encode()) for request in requests for stop in request.stop), default=1)
        tails = self.encoder.decode_batch([request.sampled[-reach:] for request in requests])
        for place in reversed(range(first, len(self._busy))):
            request, tail = self._busy[place], tails[place - first]
            if request.sampled[-1] in self.encoder.turn_enders or any(stop in tail for stop in request.stop):
                request.finish = "stop"
            elif len(request.sampled) < len(request.uniforms) and not request.done.cancelled():
                continue
            self._leave(place)

    def _leave(self, place: int) -> None:
        """Hand over the turn at a place; the last busy slot takes the place."""
        request, last = self._busy[place], self._busy.pop()
        self._cache.bring(self._cache.slots[place], len(self._busy))
        if last is not request:
            self._busy[place] = last
        if request.done.set_running_or_notify_cancel():
            request.done.set_result(None)

    def _check_weights(self) -> None:
        """Forget keys and values if the weights were written to since: every write counts up a version."""
        weights = sum(parameter._version for parameter in self.model.parameters())
        if weights != self._weights:
            self._cache.clear()
            self._weights = weights


def _fail(requests: set[Request], error: Exception) -> None:
    if isinstance(error, torch.OutOfMemoryError):
        error = PolicyError(
            f"out of GPU memory with {len(requests)} turns at once",
            "lower concurrency (foveal rl: max_batch), max_context or max_image_pixels",
        )
    for request in requests:
        if not request.done.done() and request.done.set_running_or_notify_cancel():
            request.done.set_exception(error)
