"""The vision tower of a Qwen-VL checkpoint as a describer of pictures: image search by its vectors.

torch is imported when a tower is opened, not before: a command may know of towers without loading any.
"""

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from foveal.errors import MissingDependency, PolicyError

TOGETHER = 16
"""Pictures that go through the tower at a time."""
NARROW = 200
"""The family takes no picture that is more times as long as wide; narrower ones are widened to that."""


class Tower:
    """A vision tower; the rest of the checkpoint is not loaded.

    Args:
        folder: A checkpoint of the Qwen2-VL or Qwen2.5-VL family.
        device: A torch device; `auto` is the GPU where there is one. Weights are float32 on a CPU, else as they are.

    Raises:
        PolicyError: The folder holds no such checkpoint, or weights are missing from it.
        MissingDependency: torch or transformers is not installed.
    """

    def __init__(self, folder: Path, device: str = "auto"):
        for package in ("torch", "transformers"):
            if importlib.util.find_spec(package) is None:
                raise MissingDependency(f"a vision tower needs {package}", "pip install 'foveal[train]'")
        import torch

        from foveal.policy.encoding import ChatEncoder

        self._encoder = ChatEncoder.load(folder)
        model = _load(folder)
        digest = hashlib.sha256(json.dumps(self._encoder.image_processor.to_dict(), sort_keys=True).encode())
        for _, weights in sorted(model.state_dict().items()):
            digest.update(weights.contiguous().view(torch.uint8).numpy())
        self.name = f"vision tower {digest.hexdigest()[:12]}"
        """Of the weights and picture settings: any checkpoint with the same tower makes the same vectors."""
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(device, torch.float32 if device == "cpu" else None).eval()
        self._one_at_a_time = threading.Lock()
        self.size = self.embed([Image.new("RGB", (28, 28))]).shape[1]

    def embed(self, pictures: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """The mean of each picture's merged patches, of length 1: shape (pictures, size)."""
        with self._one_at_a_time:
            vectors = [vector for start in range(0, len(pictures), TOGETHER) for vector in self._means(pictures, start)]
        return np.array(vectors, dtype=np.float32).reshape(len(pictures), -1 if vectors else self.size)

    def _means(self, pictures: Sequence[Image.Image], start: int) -> Iterator[npt.NDArray[np.float32]]:
        import torch

        patches = [self._encoder.image(_wide_enough(one)) for one in pictures[start : start + TOGETHER]]
        values = torch.from_numpy(np.concatenate([one.values for one in patches]))
        grids = torch.tensor([one.grid for one in patches], device=self._model.device)
        with torch.inference_mode():
            values = values.to(self._model.device, self._model.dtype)
            merged = self._model(values, grid_thw=grids).pooler_output.float()
        counts = [self._encoder.num_image_tokens(one.grid) for one in patches]
        for tokens in torch.split(merged, counts):
            mean = tokens.mean(0)
            yield (mean / mean.norm().clamp(min=1e-12)).cpu().numpy()


def _load(folder: Path) -> Any:
    """The tower of a checkpoint, on the CPU and in the checkpoint's own type."""
    import transformers
    from safetensors import SafetensorError
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
    from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VisionTransformerPretrainedModel

    from foveal.policy.transformers import FAMILIES, no_progress_bars

    try:
        config: Any = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type not in FAMILIES:
            raise PolicyError(
                f"{folder} is a {config.model_type}; towers are taken from {', '.join(FAMILIES)}",
                "name a checkpoint folder of the Qwen2-VL or Qwen2.5-VL family",
            )
        old = config.model_type == "qwen2_vl"
        family: Any = Qwen2VisionTransformerPretrainedModel if old else Qwen2_5_VisionTransformerPretrainedModel
        # A class of its own that takes no notice of the language model, which is not wanted here.
        alone: Any = type("Tower", (family,), {"_keys_to_ignore_on_load_unexpected": [r"."]})
        with no_progress_bars():
            model, info = alone.from_pretrained(
                folder,
                config=config.vision_config,
                key_mapping={r"^(model\.)?visual\.": ""},
                dtype="auto",
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise PolicyError(
            f"the vision tower of {folder} cannot be loaded: {error}", "copy every file of the checkpoint again"
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise PolicyError(
            f"{folder} lacks {len(missing)} weights of its vision tower ({', '.join(missing[:3])}, …)",
            "copy every file of the checkpoint again",
        )
    return model


def _wide_enough(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    least = -(-max(width, height) // NARROW)
    return picture if min(width, height) >= least else picture.resize((max(width, least), max(height, least)))
