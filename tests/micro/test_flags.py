"""The shipped flag pictures: two drawings, and the promise that a question may rely on image search finding them."""

import io
import json
import random
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from foveal.tools.search.layout import describe, distances

ASSETS = resources.files("foveal.micro") / "assets"


@pytest.fixture(scope="module")
def flags():
    """Both drawings: code -> picture."""

    def read(name):
        sheet = Image.open(io.BytesIO((ASSETS / f"{name}.png").read_bytes()))
        assert sheet.mode == "RGB"
        boxes = json.loads((ASSETS / f"{name}.json").read_text())["boxes"]
        for x, y, width, height in boxes.values():
            assert 0 <= x <= sheet.width - width and 0 <= y <= sheet.height - height
        return {code: sheet.crop((x, y, x + w, y + h)) for code, (x, y, w, h) in boxes.items()}

    return read("flags_scene"), read("flags_index")


@pytest.fixture(scope="module")
def ambiguous():
    return set(json.loads((ASSETS / "ambiguous.json").read_text()))


def test_both_drawings_show_the_same_countries(flags):
    scene, index = flags
    assert list(scene) == list(index)
    assert len(scene) == 194
    assert {flag.size for flag in scene.values()} == {(64, 48)}
    assert {flag.width for flag in index.values()} == {64}
    assert {"FR", "DE", "JP", "BR", "KE"} <= scene.keys()
    assert not {"GP", "RE", "YT"} & scene.keys()  # their flag is that of France


def test_drawings_are_two(flags):
    scene, index = flags
    same = [code for code in scene if index[code].resize((64, 48)).tobytes() == scene[code].tobytes()]
    assert same == []


def test_twins_are_ambiguous(ambiguous):
    twins = json.loads((ASSETS / "flags_index.json").read_text())["twins"]
    assert ["RO", "TD"] in twins
    assert ["AU", "NZ"] in twins
    assert {code for group in twins for code in group} <= ambiguous


def test_clear_flags_are_found_by_their_other_drawing(flags, ambiguous):
    scene, index = flags
    codes, stored = list(index), np.array([describe(flag) for flag in index.values()])
    rng = random.Random(99)  # other crops than those that the list was made with
    clear = sorted(scene.keys() - ambiguous)
    assert len(clear) >= 150
    wrong = []
    for code in clear:
        left, top, right, bottom = (rng.randint(0, 3) for _ in range(4))
        crop = scene[code].crop((left, top, 64 - right, 48 - bottom))
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=80)
        found = codes[int(np.argmin(distances(stored, describe(Image.open(buffer)))))]
        wrong += [code] if found != code else []
    assert len(wrong) <= 0.01 * len(clear), wrong


def test_licences_stand_beside_the_pictures():
    assert "The MIT License" in (ASSETS / "LICENSE-flag-icons.txt").read_text()
    assert "public domain" in (ASSETS / "LICENSE-svg-country-flags.txt").read_text()
