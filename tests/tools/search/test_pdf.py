import io
import os
import random
import subprocess
import sys
from pathlib import Path

import pypdf
import pytest

from foveal.tools.search.folder import build_index, open_index
from foveal.tools.search.pdf import read_pages


def pdf(*pages, title=None):
    """A PDF file with a line of text on each page, written by hand."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream")
    if title:
        objects.append(f"<< /Title ({title}) >>")
    out, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    info = f" /Info {len(objects)} 0 R" if title else ""
    trailer = f"trailer << /Size {len(objects) + 1} /Root 1 0 R{info} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


@pytest.fixture
def pages(tmp_path):
    """The documents of a PDF file of these bytes, and what was told about it."""

    def read(content, name="red_book.pdf"):
        told = []
        (tmp_path / name).write_bytes(content)
        return list(read_pages(tmp_path / name, name, "red book", told.append)), told

    return read


def test_every_page_with_text_is_a_document(pages):
    found, told = pages(pdf("Zebras have stripes", "", "Okapis too"))
    assert [(one.title, one.text, one.link) for one in found] == [
        ("red book, page 1", "Zebras have stripes", "red_book.pdf#page=1"),
        ("red book, page 3", "Okapis too", "red_book.pdf#page=3"),
    ]
    assert {one.origin for one in found} == {"red_book.pdf"} and told == []


def test_a_single_page_has_the_title_of_the_file(pages):
    assert pages(pdf("stripes", title="On zebras"))[0][0].title == "On zebras"


def test_scans_locked_and_damaged_files_are_told(pages):
    with pytest.raises(ValueError, match="no text in it: it may be a scan"):
        pages(pdf("", ""))
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("secret")))
    writer.encrypt("word", algorithm="RC4-128")
    writer.write(locked := io.BytesIO())
    with pytest.raises(ValueError, match="locked with a password"):
        pages(locked.getvalue())
    with pytest.raises(ValueError, match="damaged PDF"):
        pages(b"%PDF-1.4\nno more")
    with pytest.raises(ValueError):
        pages(b"")


def test_a_file_that_only_forbids_to_copy_is_read(pages):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("open to all")))
    writer.encrypt("", owner_password="owner", algorithm="RC4-128")
    writer.write(shut := io.BytesIO())
    assert pages(shut.getvalue())[0][0].text == "open to all"


@pytest.mark.parametrize("seed", range(40))
def test_noise_in_a_file_never_breaks_the_build(pages, seed):
    rng = random.Random(seed)
    content = bytearray(pdf("Zebras have stripes", "Okapis too"))
    for _ in range(rng.randrange(1, 60)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    try:
        found, told = pages(bytes(content[: rng.randrange(200, len(content))] if seed % 3 else content))
    except ValueError as error:
        assert str(error)
    else:
        assert found or told


def test_pdf_is_found_by_its_page_and_a_file_that_is_damaged_is_named(tmp_path, find):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "book.pdf").write_bytes(pdf("Zebras have stripes", "Okapis hide"))
    (tmp_path / "mine" / "bad.pdf").write_bytes(b"%PDF-1.4\n")
    built = build_index(tmp_path / "mine", tmp_path / "out")
    assert built.documents == 2
    assert [path for path, _ in built.skipped] == ["bad.pdf"]
    assert find(open_index(tmp_path / "out").text, "okapi")[0].link == "book.pdf#page=2"


def test_without_pypdf_the_file_is_named_with_the_fix(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "book.pdf").write_bytes(pdf("Zebras"))
    (tmp_path / "mine" / "a.txt").write_text("words")
    program = (
        "import sys; sys.modules['pypdf'] = None\n"
        "from pathlib import Path; from foveal.tools.search.folder import build_index\n"
        "print(build_index(Path('mine'), Path('out')).skipped)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'foveal[pdf]'" in done.stdout
