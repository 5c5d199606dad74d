"""A local checkpoint of the Qwen2-VL or Qwen2.5-VL family as a policy: token in, token out, decoded in batches.

What a batch does to a row: nothing but rounding. Rows are left-padded, positions come from `mrope_positions` of the
row alone, and each row draws from its own stream of random numbers, a function of its seed and turn. The pad and frame
tokens of pictures, and the token that opens a turn, are never sampled: their logits are -inf, here and in the
trainer's recompute (`suppress`), so that both speak of the same distribution. Recorded log-probs are those of that
distribution at the sampling temperature (at 1 for greedy), before top-p.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForImageTextToText, DynamicCache
from transformers.utils import logging

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.base import Generation, up_to_stop
from foveal.policy.encoding import ChatEncoder, Patches, mrope_positions
from foveal.trajectory import ImageStore, Message, Tokens

FAMILIES = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose positions `mrope_positions` computes and whose pictures enter as embeddings only."""
GATHER_SECONDS = 0.002
"""How long a request waits for company before its batch starts."""


def suppress(logits: torch.Tensor, encoder: ChatEncoder) -> torch.Tensor:
    """Logits (..., vocabulary) in float32 with the tokens that are never sampled at -inf; a copy."""
    masked = logits.float().clone()
    masked[..., encoder.never_sampled] = -torch.inf
    return masked


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep the progress bars of transformers off the terminal for a while."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load_model(folder: Path, device: str = "auto", dtype: str = "auto") -> Any:
    """The model of a checkpoint folder, in evaluation mode.

    Args:
        folder: Holds config.json and weights.
        device: A torch device; `auto` is the GPU where there is one.
        dtype: A torch dtype by name; `auto` is the checkpoint's own on a GPU and float32 on a CPU.

    Raises:
        PolicyError: The folder holds no checkpoint of the family, or weights are missing from it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    if not (folder / "config.json").is_file():
        raise PolicyError(f"{folder} has no config.json: not a checkpoint folder", "give a folder of a Qwen-VL model")
    try:
        with no_progress_bars():
            loaded: Any = AutoModelForImageTextToText.from_pretrained(
                folder, local_files_only=True, dtype=dtype, output_loading_info=True
            )
        model, info = loaded[0].to(device), loaded[1]
    except torch.OutOfMemoryError as error:
        raise PolicyError(f"the model of {folder} does not fit on {device}", "use device='cpu'") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise PolicyError(
            f"the model of {folder} cannot be loaded: {error}", "copy it again, or write it with save_pretrained"
        ) from error
    if info["missing_keys"]:
        some = ", ".join(sorted(info["missing_keys"])[:3])
        raise PolicyError(
            f"{folder} lacks {len(info['missing_keys'])} weights of its model ({some}, …)",
            "copy every file of the checkpoint again",
        )
    if model.config.model_type not in FAMILIES:
        raise PolicyError(
            f"{folder} is a {model.config.model_type}; local checkpoints must be one of {', '.join(FAMILIES)}",
            "serve this model with vLLM or SGLang and give its URL as the policy",
        )
    return model.eval()


@dataclass(eq=False)
class _Row:
    """One request to write a turn, and how far it has come."""

    ids: list[int]
    """The context, opening of the turn included."""
    positions: npt.NDArray[np.int64]
    """(3, len(ids))."""
    pictures: "list[_Picture]"
    sampling: Sampling
    uniforms: npt.NDArray[np.float64]
    """One number in [0, 1) for each token that may be sampled: (max_tokens,)."""
    stop: tuple[str, ...]
    done: "Future[None]" = field(default_factory=Future)
    sampled: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"


@dataclass(eq=False)
class _Picture:
    """A picture of a conversation; its features are computed once, when first needed."""

    sha256: str
    patches: Patches
    features: torch.Tensor | None = None
    """(pad tokens, hidden size)."""


class TransformersPolicy:
    """A checkpoint folder as a policy. Concurrent conversations are decoded together, up to `max_batch` rows.

    Args:
        folder: A checkpoint of the Qwen2-VL or Qwen2.5-VL family: weights, tokenizer, preprocessor_config.json.
        device: A torch device; `auto` is the GPU where there is one.
        dtype: A torch dtype by name; `auto` is the checkpoint's own on a GPU and float32 on a CPU.
        max_batch: Most rows in one batch.

    Raises:
        PolicyError: The folder cannot be used.
    """

    def __init__(self, folder: Path | str, device: str = "auto", dtype: str = "auto", max_batch: int = 16):
        encoder = ChatEncoder.load(Path(folder))
        self._set_up(load_model(Path(folder), device, dtype), encoder, str(folder), max_batch)

    @classmethod
    def from_model(cls, model: Any, encoder: ChatEncoder, name: str, max_batch: int = 16) -> "TransformersPolicy":
        """A policy over a model in memory, such as one that is being trained. The caller keeps it in `eval()` mode."""
        policy = cls.__new__(cls)
        policy._set_up(model, encoder, name, max_batch)
        return policy

    def _set_up(self, model: Any, encoder: ChatEncoder, name: str, max_batch: int) -> None:
        self.name, self.model, self.encoder, self.max_batch = name, model, encoder, max_batch
        self.device = model.device
        self._waiting: deque[_Row] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="decode")
        # Rollouts of one question share the features of its pictures for as long as one of them holds them.
        self._features: WeakValueDictionary[str, torch.Tensor] = WeakValueDictionary()

    def open(self, images: ImageStore, sampling: Sampling) -> "TransformersConversation":
        """Start a conversation. Its random numbers follow from `sampling.seed` and the turn, nothing else."""
        return TransformersConversation(self, images, sampling)

    async def _write(self, row: _Row) -> None:
        """Wait until the turn of `row` is written."""
        self._waiting.append(row)
        self._worker.submit(self._drain)
        await asyncio.wrap_future(row.done)

    def _drain(self) -> None:
        """Decode what is waiting; runs in the worker thread, once or more often for every request."""
        if self._waiting and len(self._waiting) < self.max_batch:
            time.sleep(GATHER_SECONDS)
        rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.max_batch))]
        if rows := [row for row in rows if not row.done.cancelled()]:
            try:
                self._decode(rows)
            except Exception as error:  # handed over to whoever waits for the rows
                _fail(rows, error)

    @torch.inference_mode()
    def _decode(self, rows: list[_Row]) -> None:
        """Write the turns of `rows`; a row leaves as soon as it is finished, or when nobody waits for it any more."""
        longest = max(len(row.ids) for row in rows)
        most = max(len(row.uniforms) for row in rows)
        pads = [longest - len(row.ids) for row in rows]
        ids = torch.tensor(
            [[self.encoder.padding] * pad + row.ids for pad, row in zip(pads, rows, strict=True)], device=self.device
        )
        embeds = self.model.get_input_embeddings()(ids)
        for number, row in enumerate(rows):
            if row.pictures:
                features = torch.cat(self._pictures(row.pictures)).to(embeds.dtype)
                embeds[number, ids[number] == self.encoder.image_pad] = features
        positions = np.stack([np.pad(r.positions, ((0, 0), (p, 0))) for p, r in zip(pads, rows, strict=True)], axis=1)
        position = torch.from_numpy(positions).to(self.device)
        following = position.amax(dim=(0, 2)).view(1, -1, 1).expand(3, -1, 1) + 1
        mask = torch.ones(len(rows), longest + most, dtype=torch.long, device=self.device)
        for number, pad in enumerate(pads):
            mask[number, :pad] = 0
        uniforms = torch.ones(len(rows), most, dtype=torch.float64, device=self.device)
        for number, row in enumerate(rows):
            uniforms[number, : len(row.uniforms)] = torch.from_numpy(row.uniforms)
        cache, inputs = DynamicCache(config=self.model.config.get_text_config()), {"inputs_embeds": embeds}
        for step in range(most):
            output = self.model(
                **inputs,
                attention_mask=mask[:, : longest + step],
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            chosen, logprobs = self._choose(output.logits[:, -1], rows, uniforms[:, step])
            keep = self._advance(rows, chosen.tolist(), logprobs.tolist())
            if not keep:
                return
            if len(keep) < len(rows):
                rows, kept = [rows[n] for n in keep], torch.tensor(keep, device=self.device)
                cache.batch_select_indices(kept)
                chosen, mask, uniforms, following = chosen[kept], mask[kept], uniforms[kept], following[:, kept]
            inputs, position = {"input_ids": chosen[:, None]}, following + step

    def _pictures(self, pictures: list[_Picture]) -> list[torch.Tensor]:
        """Features of the pictures of one row; only those that no conversation holds yet go through the tower."""
        for picture in pictures:
            if picture.features is None:
                picture.features = self._features.get(picture.sha256)
        missing = [picture for picture in pictures if picture.features is None]
        if missing:
            pixels = torch.from_numpy(np.concatenate([picture.patches.values for picture in missing]))
            grids = torch.tensor([picture.patches.grid for picture in missing], device=self.device)
            encoded = self.model.get_image_features(pixels.to(self.device), grids).pooler_output
            for picture, features in zip(missing, encoded, strict=True):
                self._features[picture.sha256] = picture.features = features
        return [picture.features for picture in pictures if picture.features is not None]

    def _choose(
        self, logits: torch.Tensor, rows: list[_Row], uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next token of each row and its log-prob, both (rows,), from logits (rows, vocabulary)."""
        temperatures = [row.sampling.temperature for row in rows]
        scale = torch.tensor([t or 1.0 for t in temperatures], device=self.device)[:, None]
        logprobs = torch.log_softmax(suppress(logits, self.encoder) / scale, dim=-1)
        chosen = logprobs.argmax(dim=-1)
        if any(temperatures):
            drawn = _draw(logprobs, uniforms, [row.sampling.top_p for row in rows])
            chosen = torch.where(torch.tensor(temperatures, device=self.device) > 0, drawn, chosen)
        return chosen, logprobs.gather(1, chosen[:, None])[:, 0]

    def _advance(self, rows: list[_Row], chosen: list[int], logprobs: list[float]) -> list[int]:
        """Add a token to every row, hand over the finished ones, and return the numbers of those that go on."""
        for row, token, logprob in zip(rows, chosen, logprobs, strict=True):
            row.sampled.append(token)
            row.logprobs.append(logprob)
        # A stop string of n bytes spans n tokens at most, and its last byte is in the newest one.
        reach = max((len(stop.encode()) for row in rows for stop in row.stop), default=1)
        tails = self.encoder.decode_batch([row.sampled[-reach:] for row in rows])
        keep = []
        for number, (row, token, tail) in enumerate(zip(rows, chosen, tails, strict=True)):
            if token in self.encoder.turn_enders or any(stop in tail for stop in row.stop):
                row.finish = "stop"
            elif len(row.sampled) < len(row.uniforms):
                if not row.done.cancelled():
                    keep.append(number)
                continue
            if row.done.set_running_or_notify_cancel():
                row.done.set_result(None)
        return keep


def _draw(logprobs: torch.Tensor, uniforms: torch.Tensor, top_p: list[float]) -> torch.Tensor:
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


def _fail(rows: list[_Row], error: Exception) -> None:
    if isinstance(error, torch.OutOfMemoryError):
        error = PolicyError(
            f"out of GPU memory in a batch of {len(rows)}", "lower max_batch, max_context or max_image_pixels"
        )
    for row in rows:
        if not row.done.done() and row.done.set_running_or_notify_cancel():
            row.done.set_exception(error)


class TransformersConversation:
    """The token sequence of one trajectory: it only ever grows at its end, and never by decoded text."""

    def __init__(self, policy: TransformersPolicy, images: ImageStore, sampling: Sampling):
        self._policy, self._images, self._sampling = policy, images, sampling
        self._encoder = policy.encoder
        self._ids: list[int] = []
        self._mask: list[int] = []
        self._logprobs: list[float] = []
        self._pictures: list[_Picture] = []
        self._turns = 0
        self._last: list[int] | None = None
        """What was sampled in the turn that stands open at the end, if one does."""

    @property
    def num_tokens(self) -> int:
        """Tokens in the context now; once a message is appended, the opening of the next turn counts as well."""
        opening = self._encoder.assistant_start() if self._last is None else []
        return len(self._ids) + len(opening)

    def cost(self, message: Message) -> int:
        """Tokens by which `append(message)` makes `num_tokens` grow."""
        closing = self._encoder.assistant_end(self._last) if self._last is not None else []
        opening = self._encoder.assistant_start() if self._last is not None else []
        return len(closing) + len(self._encoder.message_ids(message)) + len(opening)

    async def append(self, message: Message) -> None:
        """Add a system or user message.

        Raises:
            PolicyError: A picture is too narrow for the model.
            RecordError: A picture is not in the store.
        """
        ids = self._encoder.message_ids(message)
        patches = [await asyncio.to_thread(self._encoder.patches, ref, self._images) for ref in message.images]
        if self._last is not None:
            self._extend(self._encoder.assistant_end(self._last))
            self._last = None
        self._extend(ids)
        refs = zip(message.images, patches, strict=True)
        self._pictures += [_Picture(ref.sha256, one) for ref, one in refs]

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        """Sample the next turn. A cancelled call leaves the conversation as it was.

        Raises:
            PolicyError: Out of memory.
            ValueError: `max_tokens` is below 1.
        """
        if max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        closing = self._encoder.assistant_end(self._last) if self._last is not None else []
        added = [*closing, *self._encoder.assistant_start()]
        ids = [*self._ids, *added]
        merge = int(self._encoder.image_processor.merge_size)
        grids = [picture.patches.grid for picture in self._pictures]
        row = _Row(
            ids=ids,
            positions=mrope_positions(ids, grids, self._encoder.image_pad, merge),
            pictures=self._pictures,
            sampling=self._sampling,
            uniforms=np.random.default_rng([self._sampling.seed, self._turns]).random(max_tokens),
            stop=tuple(stop),
        )
        await self._policy._write(row)
        self._extend(added)
        self._ids += row.sampled
        self._mask += [1] * len(row.sampled)
        self._logprobs += row.logprobs
        self._last, self._turns = row.sampled, self._turns + 1
        return Generation(self._text(row.sampled, row.stop), row.finish, len(ids), len(row.sampled))

    def tokens(self) -> Tokens:
        """Ids so far, with mask and log-probs; a turn that ended on a stop string is closed by the next message."""
        return Tokens(ids=tuple(self._ids), loss_mask=tuple(self._mask), logprobs=tuple(self._logprobs))

    async def close(self) -> None:
        """Let go of the pictures' features."""
        self._pictures = []

    def _extend(self, ids: list[int]) -> None:
        self._ids += ids
        self._mask += [0] * len(ids)
        self._logprobs += [0.0] * len(ids)

    def _text(self, sampled: list[int], stop: tuple[str, ...]) -> str:
        ended = bool(sampled) and sampled[-1] in self._encoder.turn_enders
        return up_to_stop(self._encoder.decode(sampled[:-1] if ended else sampled), stop)
