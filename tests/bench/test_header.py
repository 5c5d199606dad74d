"""A run is bound to the settings, questions and pictures that it began with."""

import asyncio
import json

import pytest
from PIL import Image

from foveal.bench.figures import draw
from foveal.bench.header import differences, note_code, read_header
from foveal.bench.scores import regrade
from foveal.errors import ConfigError, RecordError


def test_other_settings_are_refused(world, data):
    world(world.model(), n=3)
    for said, model, changes in (
        ("policy was", type("Other", (world.model,), {"name": "other"})(), {"n": 3}),
        ("n was 3", world.model(), {"n": 4}),
        ("seed was 0", world.model(), {"n": 3, "seed": 1}),
        ("repeats was 1", world.model(), {"n": 3, "repeats": 2}),
        ("temperature was 0.0", world.model(), {"n": 3, "temperature": 1.0}),
        ("limits was", world.model(), {"n": 3, "limits": {"max_turns": 3}}),
        ("limits was", world.model(), {"n": 3, "limits": {"max_image_pixels": 10_000}}),
    ):
        with pytest.raises(ConfigError, match=said):
            world(model, **changes)
    assert world(world.model(), n=3, concurrency=5, price={"prompt": 1.0}, blind=True)[1]["blind_n"] == 3
    world.searched = {"index": "2" * 64}
    with pytest.raises(ConfigError, match=r'settings: tools\.index was "1111'):
        world(world.model(), n=3)
    world.searched = {}
    with pytest.raises(ConfigError, match=r'settings: tools\.index was "1111'):
        world(world.model(), n=3)
    world.searched = {"index": "1" * 64}
    pictures = {file: file.read_bytes() for file in (data / "images").iterdir()}
    for file in pictures:
        Image.new("RGB", (48, 40), "white").save(file)
    with pytest.raises(ConfigError, match="settings: pictures_sha256 was"):
        world(world.model(), n=3)
    for file, content in pictures.items():
        file.write_bytes(content)
    assert world(world.model(), n=3)[0]["with-tools"].made == 0
    rows = (data / "realx.jsonl").read_text()
    (data / "realx.jsonl").write_text(rows.replace("What is the", "Which is the"))
    with pytest.raises(ConfigError, match="questions_sha256 was"):
        world(world.model(), n=3)
    (world.folder / "bench.json").write_text('{"version": 2}')
    with pytest.raises(RecordError, match="cannot be read"):
        world(world.model(), n=3)


def test_a_picture_that_stays_damaged_frees_no_other_one(world, data):
    pictures = {file.name: file.read_bytes() for file in (data / "images").iterdir()}
    (data / "images" / "3.png").write_bytes(pictures["3.png"][:60])
    world(world.model(fails=["Iraq"]))
    Image.new("RGB", (48, 40), "white").save(data / "images" / "5.png")
    with pytest.raises(ConfigError, match=r"other pictures: of 1 questions, realx-5 among them"):
        world(world.model())
    (data / "images" / "5.png").write_bytes(pictures["5.png"])
    assert world(world.model())[1]["n"] == 5
    Image.new("RGB", (48, 40), "white").save(data / "images" / "3.png")
    assert world(world.model())[1]["n"] == 6, "what could not be read before may be another one now"


def test_a_run_of_an_older_foveal_goes_on_and_is_bound_from_then_on(world):
    world(world.model(), n=3)
    file = world.folder / "bench.json"
    head = json.loads(file.read_text())
    del head["pictures_sha256"], head["tools"]["index"]
    file.write_text(json.dumps(head))
    assert draw(world.folder).figures["n"] == 3
    assert asyncio.run(regrade(world.folder / "with-tools", world.benchmark, None, every=True)) == 0
    older = read_header(world.folder)
    assert world(world.model(), n=3)[0]["with-tools"].made == 0
    newer = read_header(world.folder)
    assert newer.tools["index"] == "1" * 64 and newer.pictures_sha256 is not None
    assert differences(older, newer) == differences(newer, older) == ["tools.index"]
    world.searched = {"index": "2" * 64}
    with pytest.raises(ConfigError, match=r"tools\.index was"):
        world(world.model(), n=3)


def test_code_that_changes_is_written_down(world):
    world(world.model(), n=1)
    header = read_header(world.folder)
    note_code(world.folder)
    assert read_header(world.folder) == header
    old = header.model_copy(update={"code": (header.code[0].model_copy(update={"foveal": "0.0.0"}),)})
    (world.folder / "bench.json").write_text(old.model_dump_json())
    world(world.model(), n=1)
    assert [one.foveal for one in read_header(world.folder).code] == ["0.0.0", header.code[0].foveal]
