"""Messages -> token ids and picture patches, for checkpoints of the Qwen-VL family (ChatML, `<|image_pad|>`).

One encoder serves sampling (`policy.transformers`), training (`train.tokens`) and the micro model, so that the three
can never disagree. Text from users and tools is encoded with special tokens off: `<|im_end|>` or `<|image_pad|>` in a
web page is ordinary text. Positions are computed here, per sequence and never from an attention mask (masking a row
in a batch must not move the pictures of another).
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize
from transformers.processing_utils import ProcessorMixin

from foveal.errors import PolicyError
from foveal.trajectory import ImagePart, ImageRef, ImageStore, Message

IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"


class Patches(NamedTuple):
    """One picture as the vision tower takes it."""

    values: npt.NDArray[np.float32]
    """(grid_t * grid_h * grid_w, channels * time * patch * patch)."""
    grid: tuple[int, int, int]
    """Patches in time, height and width, before merging."""


class ImageOnlyProcessor(Qwen2_5_VLProcessor):
    """The Qwen2.5-VL processor without its video half, which needs torchvision.

    `ProcessorMixin` reads the parts of a processor from the signature of `__init__`: there is no video processor.
    """

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **_: Any):
        self.image_token, self.video_token = IMAGE_PAD, VIDEO_PAD
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_PAD)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]


class ChatEncoder:
    """Encodes messages in ChatML, one at a time, so that a sequence only ever grows at its end.

    Args:
        tokenizer: A fast tokenizer that has the ChatML and vision tokens.
        image_processor: Splits a picture into patches; its `min_pixels` and `max_pixels` set the model's view.

    Raises:
        PolicyError: The tokenizer lacks a token that the family has.
    """

    def __init__(self, tokenizer: Any, image_processor: Qwen2VLImageProcessorPil):
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        # A private copy: the switch for special tokens is set once, whatever other threads do with the tokenizer.
        self._text = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._text.encode_special_tokens = True
        self._text.no_padding()
        self._text.no_truncation()
        known = tokenizer.get_vocab()
        needed = (TURN_START, TURN_END, VISION_START, VISION_END, IMAGE_PAD)
        if missing := [token for token in needed if token not in known]:
            raise PolicyError(
                f"the tokenizer has no {', '.join(missing)}: not a checkpoint of the Qwen-VL family",
                "serve this model with vLLM or SGLang and give its URL as the policy",
            )
        self.turn_start, self.turn_end = known[TURN_START], known[TURN_END]
        self.vision_start, self.vision_end, self.image_pad = (known[t] for t in needed[2:])
        self.video_pad: int | None = known.get(VIDEO_PAD)
        self.end_of_text: int | None = known.get("<|endoftext|>")
        self.turn_enders = frozenset(token for token in (self.turn_end, self.end_of_text) if token is not None)
        """Ids that end a model turn when sampled."""
        frame = (self.turn_start, self.vision_start, self.vision_end, self.image_pad, self.video_pad)
        self.never_sampled = [token for token in frame if token is not None]
        """Ids that no model turn may hold: they would open a turn or stand for a picture that is not there."""
        self.padding = self.turn_end if self.end_of_text is None else self.end_of_text
        """Id for padding; padded places are masked, whatever stands there."""

    @classmethod
    def load(cls, folder: Path) -> "ChatEncoder":
        """The encoder of a checkpoint folder.

        Raises:
            PolicyError: The folder holds no tokenizer or picture settings that can be used.
        """
        settings = folder / "preprocessor_config.json"
        if not settings.is_file():
            raise PolicyError(f"{folder} has no preprocessor_config.json", "give a folder of a Qwen-VL checkpoint")
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            config = json.loads(settings.read_text(encoding="utf-8"))
            processor = Qwen2VLImageProcessorPil.from_dict(config)
        except (OSError, ValueError, KeyError) as error:
            raise PolicyError(
                f"the tokenizer or picture settings of {folder} cannot be loaded: {error}",
                "copy every file of the checkpoint again",
            ) from error
        return cls(tokenizer, processor)

    def text(self, text: str) -> list[int]:
        """Ids of plain text; special tokens in it are ordinary characters."""
        ids: list[int] = self._text.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, for people and for the parser; never to be encoded again."""
        return str(self._text.decode(list(ids), skip_special_tokens=False))

    def decode_batch(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of several sequences in one call."""
        texts: list[str] = self._text.decode_batch([list(row) for row in rows], skip_special_tokens=False)
        return texts

    def image(self, picture: Any) -> Patches:
        """Patches of a PIL picture, resized into the model's view."""
        features = self.image_processor(images=[picture], return_tensors="np")
        grid = tuple(int(n) for n in features["image_grid_thw"][0])
        return Patches(np.asarray(features["pixel_values"], dtype=np.float32), (grid[0], grid[1], grid[2]))

    def grid(self, ref: ImageRef) -> tuple[int, int, int]:
        """The patches of a picture in time, height and width, from its size alone.

        Raises:
            PolicyError: The picture is more than 200 times as long as it is wide.
        """
        of = self.image_processor
        factor, view = of.patch_size * of.merge_size, of.size
        try:
            height, width = smart_resize(ref.height, ref.width, factor, view["shortest_edge"], view["longest_edge"])
        except ValueError as error:
            raise PolicyError(
                f"a picture of {ref.width} x {ref.height} pixels is too narrow for the model",
                "crop it: the long side may be 200 times the short one",
            ) from error
        return 1, height // of.patch_size, width // of.patch_size

    def num_image_tokens(self, grid: tuple[int, int, int]) -> int:
        """Pad tokens that stand for a picture in the sequence."""
        return math.prod(grid) // int(self.image_processor.merge_size) ** 2

    def message_ids(self, message: Message) -> list[int]:
        """Ids of a whole message with its ChatML frame. No picture is opened: its size says how many tokens it takes.

        Raises:
            PolicyError: A picture is too narrow.
        """
        ids = [self.turn_start, *self.text(f"{message.role}\n")]
        for part in message.parts:
            if isinstance(part, ImagePart):
                pads = [self.image_pad] * self.num_image_tokens(self.grid(part.image))
                ids += [self.vision_start, *pads, self.vision_end]
            else:
                ids += self.text(part.text)
        return [*ids, self.turn_end, *self.text("\n")]

    def patches(self, ref: ImageRef, images: ImageStore) -> Patches:
        """A picture as the vision tower takes it, of exactly the grid that `message_ids` made room for.

        Raises:
            RecordError: The picture is not in the store.
            PolicyError: The picture settings of the checkpoint contradict themselves.
        """
        patches = self.image(images.get(ref))
        if patches.grid != self.grid(ref):
            raise PolicyError(f"the image processor made a grid of {patches.grid}, its settings say {self.grid(ref)}")
        return patches

    def assistant_start(self) -> list[int]:
        """Ids that open an assistant turn."""
        return [self.turn_start, *self.text("assistant\n")]

    def assistant_end(self, ids: Sequence[int]) -> list[int]:
        """Ids that close an assistant turn whose sampled ids are `ids`: the end token may have been sampled already."""
        sampled = bool(ids) and ids[-1] == self.turn_end
        return self.text("\n") if sampled else [self.turn_end, *self.text("\n")]


def mrope_positions(
    ids: Sequence[int], grids: Sequence[tuple[int, int, int]], image_pad: int, merge: int = 2
) -> npt.NDArray[np.int64]:
    """Rotary positions (time, height, width) of one sequence: int64 of shape (3, len(ids)).

    Text counts on; the tokens of a picture share one time position and spread over height and width; the text after
    it goes on at the largest position + 1 (Qwen2-VL, arXiv 2409.12191, section 2.1).

    Raises:
        ValueError: Pad tokens and grids disagree.
    """
    positions = np.zeros((3, len(ids)), dtype=np.int64)
    following, index, remaining = 0, 0, list(grids)
    while index < len(ids):
        if ids[index] != image_pad:
            positions[:, index] = following
            following, index = following + 1, index + 1
            continue
        if not remaining:
            raise ValueError(f"{len(grids)} picture grids, but another run of pad tokens at {index}")
        _, height, width = remaining.pop(0)
        rows, columns = height // merge, width // merge
        end = index + rows * columns
        if end > len(ids) or any(token != image_pad for token in ids[index:end]):
            raise ValueError(f"a picture of {rows * columns} tokens is cut at {index}")
        positions[0, index:end] = following
        positions[1, index:end] = following + np.repeat(np.arange(rows), columns)
        positions[2, index:end] = following + np.tile(np.arange(columns), rows)
        following, index = following + max(rows, columns), end
    if remaining:
        raise ValueError(f"{len(remaining)} pictures have no pad tokens in the sequence")
    return positions
