"""The folder that an export or import leaves: whole, or not there at all.

Everything is written beside it under a hidden name, which becomes the real one in one step at the end. What was left
out is in `rejects.jsonl`: file, row, reason.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TextIO

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from foveal.errors import InputError
from foveal.integrations.formats.dialogue import Reject, Unfit, Where, first_issue

REJECTS = "rejects.jsonl"


class Outbox:
    """A folder in the making.

    Args:
        final: What it will be called.

    Attributes:
        folder: Where to write.
        kept: Rows written so far.
        rejects: The first few rows that were left out.
        rejected: How many were.

    Raises:
        InputError: `final` already holds something, or cannot be made; on leaving, too: it could not be written.
    """

    SHOWN = 5

    def __init__(self, final: Path):
        self.final = final
        self.kept = self.rejected = 0
        self.rejects: list[Reject] = []
        self._file: TextIO | None = None
        self.folder = final.absolute().parent / f".{final.name}.part-{uuid.uuid4().hex[:8]}"
        if final.is_file() or (final.is_dir() and any(final.iterdir())):
            raise InputError(f"{final} already holds something", "name a new folder: --out DIR")
        with _told(final):
            self.folder.mkdir(parents=True)

    @contextlib.contextmanager
    def row(self, where: Where) -> Iterator[None]:
        """Around the writing of one row: count it, or if it is unfit note why."""
        try:
            yield
        except ValidationError as error:
            self.reject(Reject(where, first_issue(error)))
        except PydanticSerializationError:
            self.reject(Reject(where, "a text holds half a letter (one half of a UTF-16 pair)"))
        except Unfit as unfit:
            self.reject(Reject(where, str(unfit)))
        else:
            self.kept += 1

    def reject(self, reject: Reject) -> None:
        """Note a row that is left out."""
        self.rejected += 1
        if len(self.rejects) < self.SHOWN:
            self.rejects.append(reject)
        if self._file is None:
            self._file = (self.folder / REJECTS).open("w", encoding="utf-8")
        row = {"file": str(reject.where.file), "row": reject.where.row, "reason": reject.reason}
        # A path may hold bytes that are no UTF-8.
        self._file.write(json.dumps(row) + "\n")

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        try:
            with _told(self.final):
                if error is not None:
                    raise error
                self._publish()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _publish(self) -> None:
        if not self.kept:  # files without a row would only puzzle whoever reads them
            for path in [path for path in self.folder.iterdir() if path.name != REJECTS]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.folder.rename(self.final)


@contextlib.contextmanager
def _told(final: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{final} cannot be written: {error}", "make room, or name another folder") from error
