"""What stands in a checkpoint folder, told without reading gigabytes. No torch here."""

import hashlib
import json
from pathlib import Path

WEIGHTS = (".safetensors", ".bin")
WHOLE = 2**28
STRIDE, SAMPLE = 2**20, 2**16


def content_of(path: Path) -> dict[str, str | int]:
    """Size and SHA-256 of a file.

    Of weights larger than 256 MiB the first 64 KiB of every MiB are hashed: every large matrix is among them, whichever
    of them was trained.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix not in WEIGHTS or size <= WHOLE:
            return {"size": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        digest = hashlib.sha256()
        for start in range(0, size, STRIDE):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return {"size": size, "sha256_of_samples": digest.hexdigest()}


def checkpoint_files(folder: Path) -> list[Path]:
    """The files that make a checkpoint what it is: weights, tokenizer and configuration, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", *WEIGHTS) and path.is_file())


def checkpoint_digest(folder: Path) -> str:
    """The same for two folders that hold the same checkpoint, wherever they are.

    Raises:
        OSError: A file cannot be read.
    """
    held = {path.name: content_of(path) for path in checkpoint_files(folder)}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
