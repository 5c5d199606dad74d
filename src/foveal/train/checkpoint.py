"""Checkpoints of a run, and the folder that comes out of it: each whole or not at all.

A checkpoint is written aside, brought to the disk, and renamed; an old one is renamed before it is removed. So a folder
named `step-N` is whole, whenever the process was killed.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from foveal.errors import TrainingError
from foveal.files import sync
from foveal.policy.weights import WEIGHTS

COPIED = (
    "tokenizer*",
    "vocab*",
    "merges*",
    "special_tokens*",
    "added_tokens*",
    "chat_template*",
    "*processor_config.json",
)
"""Files of the start checkpoint that belong to the saved one as they are."""
KEPT = 2
PART = ".part"


def save_checkpoint(
    folder: Path, progress: dict[str, int], weights: dict[str, torch.Tensor], optimizer: dict[str, Any]
) -> None:
    """Write `folder/step-N`, N from `progress["step"]`, and remove all but the last two."""
    final = folder / f"step-{progress['step']:06d}"
    part = final.with_name(final.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, part / "weights.safetensors")
    torch.save(optimizer, part / "optimizer.pt")
    (part / "progress.json").write_text(json.dumps(progress) + "\n", encoding="utf-8")
    for path in (*part.iterdir(), part):
        sync(path)
    part.rename(final)
    sync(folder)
    for old in _whole(folder)[:-KEPT]:
        gone = old.with_name(old.name + PART)
        old.rename(gone)
        shutil.rmtree(gone)


def remove_parts(folder: Path) -> None:
    """Remove what a killed process left of checkpoints that it was writing or removing."""
    for part in folder.glob(f"step-*{PART}"):
        shutil.rmtree(part)


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole checkpoint of a run."""
    return next(reversed(_whole(folder)), None)


def load_progress(checkpoint: Path) -> dict[str, int]:
    """How far a checkpoint had come."""
    progress: dict[str, int] = json.loads((checkpoint / "progress.json").read_text(encoding="utf-8"))
    return progress


def load_checkpoint(checkpoint: Path, weights: dict[str, torch.Tensor], optimizer: Any) -> None:
    """Read weights and optimizer back, in place.

    Raises:
        TrainingError: The checkpoint is of another model.
    """
    saved = load_file(checkpoint / "weights.safetensors")
    shapes = {name: tensor.shape for name, tensor in saved.items()}
    if shapes != {name: weight.shape for name, weight in weights.items()}:
        raise TrainingError(f"{checkpoint} is of another model than the start checkpoint", "put that one back")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(saved[name])
    optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu"))


def publish(part: Path, start: Path, folder: Path) -> None:
    """Make a folder with saved weights a whole checkpoint folder, and put it in its place.

    Args:
        part: Holds weights and config.
        start: The checkpoint that training started from: its tokenizer and picture settings are copied.
        folder: Where it belongs; what was there is replaced.

    Raises:
        TrainingError: There are no weights.
    """
    (part / "training_args.bin").unlink(missing_ok=True)  # the trainer's own, and no weights
    if not part.is_dir() or not any(path.suffix in WEIGHTS for path in part.iterdir()):
        raise TrainingError(f"no weights were saved in {part}", "have the launcher gather them, and start anew")
    for pattern in COPIED:
        for file in start.glob(pattern):
            shutil.copy2(file, part)
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)


def _whole(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.suffix != PART)
