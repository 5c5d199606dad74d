"""Reading the text of PDF files, page by page. Scans have none: nothing is recognised here."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from foveal.tools.search.text import Document

MAX_BYTES = 200_000_000
"""Largest PDF file."""


def read_pages(path: Path, origin: str, name: str, problem: Callable[[str], None]) -> Iterator[Document]:
    """The pages of a PDF file that have text, one document each, so that a hit says on which page it is.

    Args:
        path: The file.
        origin: Its path within the folder; `#page=3` behind it is the link of the third page.
        name: Title of the file if it has none of its own.
        problem: Told which pages could not be read.

    Raises:
        ValueError: The file is too large, locked or damaged, or has no text; or pypdf is not installed.
        OSError: It cannot be read.
    """
    try:
        import pypdf
    except ImportError:
        raise ValueError("PDF is read by pypdf, which is not installed: pip install 'foveal[pdf]'") from None
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 1_000_000} MB")
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every small fault; what matters is told below
    with path.open("rb") as file:
        try:
            reader = pypdf.PdfReader(file)
            if reader.is_encrypted and not reader.decrypt(""):
                raise ValueError("locked with a password")
            title = " ".join(str((reader.metadata and reader.metadata.title) or "").split())
            count = len(reader.pages)
        except (OSError, ValueError):
            raise
        except Exception as error:  # a damaged file can break a parser of PDF anywhere
            raise ValueError(f"damaged PDF: {_short(error)}") from error
        title, with_text, faults = title or name, 0, []
        for number in range(1, count + 1):
            try:
                text = reader.pages[number - 1].extract_text().strip()
            except Exception as error:
                faults.append(f"page {number}: {_short(error)}")
                continue
            if text:
                with_text += 1
                shown = title if count == 1 else f"{title}, page {number}"
                yield Document(title=shown, text=text, link=f"{origin}#page={number}", source=origin, origin=origin)
    if faults:
        problem(f"{len(faults)} of {count} pages left out, the first is {faults[0]}")
    elif not with_text:
        raise ValueError("no text in it: it may be a scan")


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
