"""A local checkpoint of the Qwen2-VL or Qwen2.5-VL family as a policy: token in, token out, decoded by `Engine`."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.base import Generation, up_to_stop
from foveal.policy.encoding import ChatEncoder, mrope_positions
from foveal.policy.engine import Engine, Picture, Request
from foveal.policy.patches import project_patches
from foveal.trajectory import ImageRef, ImageStore, Message, Tokens

FAMILIES = ("qwen2_vl", "qwen2_5_vl")
"""Model types whose positions `mrope_positions` computes and whose pictures enter as embeddings only."""


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
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
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
    project_patches(model)
    return model.eval()


class TransformersPolicy:
    """A checkpoint folder as a policy. Up to `max_batch` turns are written at once; others wait for a place.

    Args:
        folder: A checkpoint of the Qwen2-VL or Qwen2.5-VL family: weights, tokenizer, preprocessor_config.json.
        device: A torch device; `auto` is the GPU where there is one.
        dtype: A torch dtype by name; `auto` is the checkpoint's own on a GPU and float32 on a CPU.
        max_batch: Most turns written at once, and conversations whose keys and values are kept.

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
        self.name, self.model, self.encoder = name, model, encoder
        self._engine = Engine(model, encoder, max_batch)
        self._pictures = Pictures(encoder)

    def open(self, images: ImageStore, sampling: Sampling) -> "TransformersConversation":
        """Start a conversation. Its random numbers follow from `sampling.seed` and the turn, nothing else."""
        return TransformersConversation(self._engine, self._pictures, images, sampling)

    def clear(self) -> None:
        """Give the memory of cached keys and values back, to train in it. Conversations can go on."""
        self._engine.clear()


class Pictures:
    """Pictures that conversations hold now. Rollouts of one question share its picture: it is opened once."""

    def __init__(self, encoder: ChatEncoder):
        self._encoder = encoder
        self._held: WeakValueDictionary[str, Picture] = WeakValueDictionary()
        self._lock = threading.Lock()

    def open(self, ref: ImageRef, images: ImageStore) -> Picture:
        """A picture, made ready for the vision tower."""
        with self._lock:
            picture = self._held.get(ref.sha256)
            if picture is None:
                picture = self._held[ref.sha256] = Picture(ref.sha256, self._encoder.patches(ref, images))
            return picture


class TransformersConversation:
    """The token sequence of one trajectory: it only ever grows at its end, and never by decoded text."""

    def __init__(self, engine: Engine, pictures: Pictures, images: ImageStore, sampling: Sampling):
        self._engine, self._opened, self._images, self._sampling = engine, pictures, images, sampling
        self._encoder = engine.encoder
        self._ids: list[int] = []
        self._mask: list[int] = []
        self._logprobs: list[float] = []
        self._pictures: list[Picture] = []
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
        pictures = [await asyncio.to_thread(self._opened.open, ref, self._images) for ref in message.images]
        if self._last is not None:
            self._extend(self._encoder.assistant_end(self._last))
            self._last = None
        self._extend(ids)
        self._pictures += pictures

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
        request = Request(
            owner=self,
            ids=ids,
            positions=mrope_positions(ids, grids, self._encoder.image_pad, merge),
            pictures=self._pictures,
            sampling=self._sampling,
            uniforms=np.random.default_rng([self._sampling.seed, self._turns]).random(max_tokens),
            stop=tuple(stop),
        )
        await asyncio.wrap_future(self._engine.submit(request))
        self._extend(added)
        self._ids += request.sampled
        self._mask += [1] * len(request.sampled)
        self._logprobs += request.logprobs
        self._last, self._turns = request.sampled, self._turns + 1
        return Generation(self._text(request.sampled, request.stop), request.finish, len(ids), len(request.sampled))

    def tokens(self) -> Tokens:
        """Ids so far, with mask and log-probs; a turn that ended on a stop string is closed by the next message."""
        return Tokens(ids=tuple(self._ids), loss_mask=tuple(self._mask), logprobs=tuple(self._logprobs))

    async def close(self) -> None:
        """Let go of the pictures' features and the slot."""
        self._pictures = []
        self._engine.release(self)

    def _extend(self, ids: list[int]) -> None:
        self._ids += ids
        self._mask += [0] * len(ids)
        self._logprobs += [0.0] * len(ids)

    def _text(self, sampled: list[int], stop: tuple[str, ...]) -> str:
        ended = bool(sampled) and sampled[-1] in self._encoder.turn_enders
        return up_to_stop(self._encoder.decode(sampled[:-1] if ended else sampled), stop)
