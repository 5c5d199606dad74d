"""What stands in a checkpoint folder, told without reading gigabytes. No torch here."""

import hashlib
import json
from pathlib import Path

WEIGHTS = (".safetensors", ".bin")
ENDS = 2**20


def content_of(path: Path) -> dict[str, str | int]:
    """Size and SHA-256 of a file.

    Of weights the first and the last MiB are hashed: training changes every one of them.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix not in WEIGHTS:
            return {"size": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        digest = hashlib.sha256(file.read(ENDS))
        file.seek(max(size - ENDS, 0))
        digest.update(file.read(ENDS))
    return {"size": size, "sha256_of_ends": digest.hexdigest()}


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
