"""Question sets for the steps of curation, and tools for those who are asked."""

import json

import pytest
from PIL import Image

from foveal.curate.folder import Folder
from foveal.tools.base import Cell
from foveal.tools.session import Tools


class Shell:
    """A sandbox in which a cell prints what its code says behind `#`; `# error` is one that failed."""

    async def open(self, images):
        return self

    async def run(self, code, timeout):
        said = code.partition("#")[2].strip()
        failed = said == "error"
        return Cell("error" if failed else "ok", "" if failed else said, "", None, (), 0.1, False)

    async def image(self, name):
        return None

    async def close(self):
        pass


@pytest.fixture
def tools():
    """Tools with code that is not really run."""
    return Tools(code=Shell())


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
