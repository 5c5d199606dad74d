"""Hashes of the pictures of question sets, each computed once: `verdicts/hashes-<version>.jsonl` keeps them."""

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TextIO

from foveal.curate.hashes import VERSION, PictureHash, perceptual_hash
from foveal.curate.pictures import PILLOW_LIMIT, PictureLimits, open_picture
from foveal.curate.rejects import Refused
from foveal.errors import InputError

WORKERS = min(8, os.cpu_count() or 1)
"""Threads that decode pictures."""

_ANY = PictureLimits(min_side=1, max_side=PILLOW_LIMIT, max_pixels=PILLOW_LIMIT, max_aspect=PILLOW_LIMIT)


class KeptHashes:
    """Hashes by the SHA-256 of picture files; new ones are kept for the next time.

    Args:
        folder: Where they are kept.
        own: A folder whose pictures are named by their SHA-256.
    """

    def __init__(self, folder: Path, own: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._own = own
        self._path = folder / f"hashes-{VERSION}.jsonl"
        self._known: dict[bytes, PictureHash] = {}
        if self._path.exists():
            line = ""
            with self._path.open(encoding="utf-8") as lines:
                for line in lines:
                    if match := re.fullmatch(
                        r'\{"picture": "([0-9a-f]{64})", "coarse": "([0-9a-f]{16})", "fine": "([0-9a-f]{64})"\}\n', line
                    ):  # a killed writer may have torn its last line
                        self._known[bytes.fromhex(match[1])] = PictureHash(int(match[2], 16), int(match[3], 16))
            if line and not line.endswith("\n"):
                with self._path.open("a", encoding="utf-8") as kept:
                    kept.write("\n")

    def of(self, questions: Iterable[Sequence[Path]]) -> Iterator[list[PictureHash]]:
        """The hashes of the pictures of each question, in order.

        Raises:
            InputError: A picture cannot be read.
        """
        waiting: deque[list[Future[tuple[bytes, PictureHash]]]] = deque()
        with self._path.open("a", encoding="utf-8") as kept, ThreadPoolExecutor(WORKERS) as pool:
            try:
                for pictures in questions:
                    waiting.append([pool.submit(self._hash, picture) for picture in pictures])
                    if len(waiting) > 4 * WORKERS:
                        yield self._keep(waiting.popleft(), kept)
                while waiting:
                    yield self._keep(waiting.popleft(), kept)
            finally:
                pool.shutdown(cancel_futures=True)

    def _keep(self, futures: list[Future[tuple[bytes, PictureHash]]], kept: TextIO) -> list[PictureHash]:
        found = []
        for digest, hashed in (future.result() for future in futures):
            if digest not in self._known:
                self._known[digest] = hashed
                line = {"picture": digest.hex(), "coarse": f"{hashed.coarse:016x}", "fine": f"{hashed.fine:064x}"}
                kept.write(json.dumps(line) + "\n")
            found.append(hashed)
        return found

    def _hash(self, path: Path) -> tuple[bytes, PictureHash]:
        if path.parent == self._own and re.fullmatch("[0-9a-f]{64}", path.stem):
            digest = bytes.fromhex(path.stem)
            if (known := self._known.get(digest)) is not None:
                return digest, known
        try:
            data = path.read_bytes()
            digest = hashlib.sha256(data).digest()
            known = self._known.get(digest)
            return digest, known or perceptual_hash(open_picture(data, _ANY)[0])
        except OSError as error:
            raise InputError(f"picture {path} cannot be read: {error.strerror}") from error
        except Refused as refused:
            raise InputError(f"picture {path} cannot be used: {refused.message}", "mend it, or take it out") from None
