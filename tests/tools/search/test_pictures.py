import asyncio
import sqlite3

import numpy as np
import pytest
from PIL import Image

from foveal.errors import ConfigError, InputError, SearchError
from foveal.tools.opening import open_tools
from foveal.tools.search.image import FILE, THUMBNAIL, ImageIndex, Picture
from foveal.tools.search.pictures import TOGETHER, EmbeddedImages, embed_pictures
from foveal.tools.settings import ToolSettings
from foveal.trajectory import ImageStore

COLOURS = ["red", "lime", "blue", "yellow", "white"]


class MeanColour:
    """A model that sees nothing but the mean colour; remembers what it was shown."""

    name, size = "mean colour", 3

    def __init__(self):
        self.seen = []

    def embed(self, pictures):
        self.seen += [picture.size for picture in pictures]
        return np.array([np.asarray(picture).mean((0, 1)) + 1 for picture in pictures]).reshape(-1, 3)


class Other(MeanColour):
    name = "other"


@pytest.fixture
def folder(tmp_path):
    index = ImageIndex.create(tmp_path / "index")
    index.add(Picture(name, Image.new("RGB", (9, 7), name), link=f"c/{name}", origin=name) for name in COLOURS)
    return tmp_path / "index"


def found(search, colour, k=5):
    return asyncio.run(search.search(Image.new("RGB", (500, 20), colour), k, ImageStore()))


def test_pictures_are_found_by_the_vectors_of_any_model(folder):
    model = MeanColour()
    assert embed_pictures(folder, model) == 5 and embed_pictures(folder, model) == 0
    search = EmbeddedImages(folder, model)
    hits = found(search, (250, 10, 10))
    assert [hits[0].title, hits[0].link] == ["red", "c/red"] and hits[0].score > 0.99
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert found(search, (9, 9, 200), 2)[0].title == "blue"
    assert found(search, "red", 0) == found(search, "red", -3) == []
    assert model.seen[-1][0] == THUMBNAIL  # a query is made as small as what is stored
    assert search.name == "offline image index with mean colour"


def test_thumbnails_are_put_into_the_store(folder):
    embed_pictures(folder, MeanColour())
    images = ImageStore()
    search = EmbeddedImages(folder, MeanColour())
    hit = asyncio.run(search.search(Image.new("RGB", (3, 3), "lime"), 1, images))[0]
    assert images.get(hit.thumbnail).getpixel((0, 0)) == (0, 255, 0)


def test_new_pictures_are_asked_for_and_old_vectors_go_with_theirs(folder):
    model = MeanColour()
    embed_pictures(folder, model)
    index = ImageIndex.open(folder)
    index.remove(["red"])
    assert "red" not in [hit.title for hit in found(EmbeddedImages(folder, model), "red")]
    index.remove(["white"])
    index.add([Picture("navy", Image.new("RGB", (5, 5), "navy"))])  # takes the number of the one that went
    with pytest.raises(InputError, match=r"1 pictures of .* have no vectors") as caught:
        EmbeddedImages(folder, model)
    assert "foveal index embed-images" in caught.value.fix
    model.seen.clear()
    assert embed_pictures(folder, model) == 1 and model.seen == [(5, 5)]
    assert found(EmbeddedImages(folder, model), "navy", 1)[0].title in ("navy", "blue")


def test_vectors_of_another_model_are_refused_and_replaced(folder):
    embed_pictures(folder, MeanColour())
    with pytest.raises(InputError, match="of another model: mean colour, not other") as caught:
        EmbeddedImages(folder, Other())
    assert "embed-images" in caught.value.fix
    assert embed_pictures(folder, Other()) == 5
    EmbeddedImages(folder, Other())
    with pytest.raises(InputError, match="another model: other, not mean colour"):
        EmbeddedImages(folder, MeanColour())


def test_a_model_of_the_same_name_with_longer_vectors_is_another(folder):
    class Longer(MeanColour):
        size = 4

        def embed(self, pictures):
            return np.ones((len(pictures), 4))

    embed_pictures(folder, MeanColour())
    with pytest.raises(InputError, match="one of that name with 3 numbers"):
        EmbeddedImages(folder, Longer())
    assert embed_pictures(folder, Longer()) == 5
    assert len(found(EmbeddedImages(folder, Longer()), "red")) == 5


@pytest.mark.parametrize("made", [np.ones(5), np.ones((5, 2)), np.ones((4, 3)), np.full((5, 3), np.nan)])
def test_vectors_that_do_not_fit_are_refused_and_none_is_kept(folder, made):
    class Wrong(MeanColour):
        def embed(self, pictures):
            return made

    with pytest.raises(InputError, match=r"mean colour made vectors of shape .* for 5 pictures") as caught:
        embed_pictures(folder, Wrong())
    assert "(5, 3)" in caught.value.fix
    assert embed_pictures(folder, MeanColour()) == 5


def test_a_run_that_is_killed_goes_on_where_it_was(tmp_path):
    index = ImageIndex.create(tmp_path)
    index.add(Picture(f"{n}", Image.new("RGB", (4, 4), (n, 0, 0))) for n in range(TOGETHER + 5))

    class Pulled(MeanColour):
        def embed(self, pictures):
            if self.seen:
                raise RuntimeError("power cut")
            return super().embed(pictures)

    with pytest.raises(RuntimeError, match="power cut"):
        embed_pictures(tmp_path, Pulled())
    told = []
    assert embed_pictures(tmp_path, MeanColour(), told.append) == 5 and told == [5]


def test_black_pictures_and_empty_indexes_are_no_fault(tmp_path):
    class Light(MeanColour):
        def embed(self, pictures):
            return super().embed(pictures) - 1  # nothing at all for black

    index = ImageIndex.create(tmp_path)
    assert embed_pictures(tmp_path, Light()) == 0 and found(EmbeddedImages(tmp_path, Light()), "red") == []
    index.add([Picture("night", Image.new("RGB", (4, 4))), Picture("day", Image.new("RGB", (4, 4), "white"))])
    embed_pictures(tmp_path, Light())
    assert [hit.title for hit in found(EmbeddedImages(tmp_path, Light()), "white")] == ["day", "night"]


def test_folders_that_cannot_be_searched_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"the pictures of .* have no vectors"):
        EmbeddedImages(folder, MeanColour())
    for work in (EmbeddedImages, embed_pictures):
        with pytest.raises(InputError, match="no picture index"):
            work(tmp_path / "nowhere", MeanColour())


def test_damage_is_a_search_error(folder):
    embed_pictures(folder, MeanColour())
    search = EmbeddedImages(folder, MeanColour())
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("update pictures set thumbnail = x'00' where title = 'red'")
        connection.execute("delete from pictures where title = 'lime'")
    connection.close()
    with pytest.raises(SearchError, match="thumbnail of 'red'"):
        found(search, "red", 1)
    with pytest.raises(SearchError, match="changed while it was open"):
        found(search, "lime", 1)
    with pytest.raises(SearchError, match="thumbnail of 'red'"):
        embed_pictures(folder, Other())


def test_index_with_vectors_is_still_searched_by_its_own_descriptor(folder, find):
    before = find(ImageIndex.open(folder), Image.new("RGB", (4, 4), "blue"))
    embed_pictures(folder, MeanColour())
    assert find(ImageIndex.open(folder), Image.new("RGB", (4, 4), "blue")) == before


def test_settings_name_a_tower_and_the_caller_opens_it(folder, tmp_path):
    embed_pictures(folder, MeanColour())
    settings = ToolSettings(code=False, search=folder, tower=tmp_path / "checkpoint")
    opened = []
    tools = open_tools(settings, 1, lambda named: opened.append(named) or MeanColour()).tools
    assert opened == [tmp_path / "checkpoint"] and tools.image.name == "offline image index with mean colour"
    with pytest.raises(ConfigError, match="no vision tower can be opened here"):
        open_tools(settings, 1)
    assert "tower" not in ToolSettings(search=folder).model_dump()
    with pytest.raises(ValueError, match="tower is about an index folder"):
        ToolSettings(tower=tmp_path)
