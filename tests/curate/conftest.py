"""Question sets and scripted models for the steps of curation."""

import json

import pytest
from PIL import Image

from foveal.config import Limits
from foveal.curate.asking import Asked
from foveal.curate.folder import Folder
from foveal.protocol import FOVEAL
from foveal.reward.settings import RewardSettings
from foveal.tools.session import Tools


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


@pytest.fixture
def asked():
    """Somebody who is asked, one at a time or several."""

    def make(policy, concurrency: int = 3, seed: int = 0, ledger=None, tools=None, temperature: float = 1.0) -> Asked:
        return Asked(
            policy=policy,
            tools=tools or Tools(),
            profile=FOVEAL,
            limits=Limits(max_turns=4),
            temperature=temperature,
            concurrency=concurrency,
            seed=seed,
            reward=RewardSettings(),
            ledger=ledger,
        )

    return make
