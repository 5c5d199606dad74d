"""Question sets for the steps of curation."""

import json

import pytest
from PIL import Image

from foveal.curate.folder import Folder


@pytest.fixture
def curation(tmp_path):
    """A curation folder with questions `q0` ... whose gold is their number; pictures are shared by two each."""

    def make(count: int, name: str = "curation", **meta) -> Folder:
        folder = tmp_path / name
        (folder / "pictures").mkdir(parents=True)
        lines = []
        for number in range(count):
            picture = f"pictures/{number // 2}.png"
            Image.new("RGB", (40, 40), (number // 2, 0, 0)).save(folder / picture)
            row = {"id": f"q{number}", "text": f"What is {number}?", "images": [picture], "gold": [str(number)]}
            lines.append(json.dumps({**row, "family": "even" if number % 2 == 0 else "odd", "meta": meta}))
        (folder / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return Folder(folder)

    return make
