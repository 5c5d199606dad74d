"""Which tools a benchmark run has."""

import pytest
from PIL import Image

from foveal.bench.blank import BlankTools
from foveal.bench.catalogue import find
from foveal.bench.opening import open_offered
from foveal.bench.settings import BenchToolSettings
from foveal.errors import ConfigError
from foveal.policy.tower import Tower
from foveal.tools.search.image import ImageIndex, Picture
from foveal.tools.search.pictures import embed_pictures
from foveal.tools.search.text import TextIndex


def test_the_tools_of_a_benchmark_are_its_own_unless_chosen():
    vstar = find("vstar")
    own, chosen = (open_offered(vstar, BenchToolSettings(**given), 1) for given in ({}, {"offer": []}))
    assert (own.tools.offered, own.why) == (("code",), vstar.tools.why)
    assert chosen.tools.offered == () and "by hand" in chosen.why


def test_reading_pages_is_on_where_its_settings_are_and_is_said():
    opened = open_offered(find("vstar"), BenchToolSettings.model_validate({"visit": {}}), 1)
    assert opened.tools.offered == ("code", "visit")
    assert "by hand" in opened.why
    assert BlankTools(opened.tools).offered == opened.tools.offered


def test_search_needs_a_place():
    with pytest.raises(ConfigError, match="nowhere to search"):
        open_offered(find("vstar"), BenchToolSettings(offer=("code", "search")), 1)


def test_pictures_are_searched_by_the_vision_tower_that_the_settings_name(tmp_path, tiny_checkpoint):
    ImageIndex.create(tmp_path).add([Picture("sea", Image.new("RGB", (9, 9), "blue"))])
    TextIndex.create(tmp_path)
    embed_pictures(tmp_path, Tower(tiny_checkpoint, "cpu"))
    opened = open_offered(find("realx"), BenchToolSettings(search=tmp_path, tower=tiny_checkpoint), 1)
    assert opened.tools.image is not None
    assert opened.tools.image.name == f"offline image index with {Tower(tiny_checkpoint, 'cpu').name}"
