import asyncio
import io
import random
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from foveal.errors import InputError, SearchError
from foveal.tools.search.image import FILE, THUMBNAIL, ImageIndex, Picture
from foveal.trajectory import ImageStore


def drawing(seed, size=(120, 90)):
    """A few coloured boxes on a coloured ground, another one for each seed."""
    rng = random.Random(seed)
    image = Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = rng.randrange(size[0] - 20), rng.randrange(size[1] - 20)
        box = (x, y, x + rng.randrange(20, 60), y + rng.randrange(20, 60))
        draw.rectangle(box, fill=tuple(rng.randrange(256) for _ in range(3)))
    return image


def worn(image):
    """What a crop of the picture looks like in a scene: smaller, cut, blurred, JPEG."""
    small = image.resize((48, 36)).crop((1, 2, 47, 35)).filter(ImageFilter.GaussianBlur(0.6))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=70)
    return Image.open(buffer)


@pytest.fixture
def drawings(tmp_path):
    index = ImageIndex.create(tmp_path / "index")
    index.add(Picture(f"drawing {seed}", drawing(seed), link=f"d/{seed}", source="made") for seed in range(60))
    return index


def test_picture_finds_itself_and_carries_its_words(drawings, find):
    hit = find(drawings, drawing(7))[0]
    assert (hit.title, hit.link, hit.source, hit.score) == ("drawing 7", "d/7", "made", 1.0)
    assert hit.snippet is None


def test_worn_copies_are_found(drawings, find):
    found = [find(drawings, worn(drawing(seed)), 1)[0].title for seed in range(60)]
    assert sum(title == f"drawing {seed}" for seed, title in enumerate(found)) >= 55


def test_hits_come_best_first_and_no_more_than_k(drawings, find):
    hits = find(drawings, drawing(3), 10)
    scores = [hit.score for hit in hits]
    assert len(hits) == 10
    assert scores == sorted(scores, reverse=True)
    assert len({hit.title for hit in hits}) == 10
    assert len(find(drawings, drawing(3), 1000)) == 60
    assert find(drawings, drawing(3), 0) == find(drawings, drawing(3), -1) == []


def test_thumbnails_are_put_into_the_store(drawings):
    images = ImageStore()
    hit = asyncio.run(drawings.search(drawing(7), 1, images))[0]
    assert images.get(hit.thumbnail).tobytes() == drawing(7).tobytes()


def test_large_pictures_are_kept_small_with_their_shape(tmp_path, find):
    index = ImageIndex.create(tmp_path)
    index.add([Picture("wide", Image.new("RGBA", (2000, 500), (0, 0, 255, 255)))])
    hit = find(index, Image.new("RGB", (5, 5), "blue"))[0]
    assert (hit.thumbnail.width, hit.thumbnail.height) == (THUMBNAIL, THUMBNAIL // 4)


def test_equal_pictures_keep_the_order_of_adding(tmp_path, find):
    index = ImageIndex.create(tmp_path)
    index.add(Picture(f"{i}", Image.new("RGB", (9, 9), "red")) for i in range(9))
    assert [hit.title for hit in find(index, Image.new("RGB", (3, 3), "red"), 9)] == list("012345678")


def test_opened_index_answers_as_the_one_that_was_built(drawings, find):
    opened = ImageIndex.open(drawings._path.parent)
    for seed in (1, 2, 61):
        assert find(opened, drawing(seed)) == find(drawings, drawing(seed))


def test_adding_and_removing_by_origin(drawings, find):
    later = ImageIndex.open(drawings._path.parent)
    assert (
        later.add([Picture("late", drawing(99), origin="x"), Picture("lone \ud800 half", drawing(98), origin="x")]) == 2
    )
    assert len(later) == 62
    assert find(later, drawing(99))[0].title == "late"
    assert find(later, drawing(98))[0].title == "lone ? half"
    later.remove(["x", "never seen"])
    assert len(later) == 60
    assert find(later, drawing(99))[0].score < 1


def test_failed_add_leaves_the_index_as_it_was(drawings):
    def pictures():
        yield Picture("half", drawing(99))
        raise RuntimeError("disk pulled")

    with pytest.raises(RuntimeError, match="disk pulled"):
        drawings.add(pictures())
    assert len(drawings) == len(ImageIndex.open(drawings._path.parent)) == 60


def test_empty_index_finds_nothing(tmp_path, find):
    assert find(ImageIndex.create(tmp_path), drawing(0)) == []


def test_many_searches_at_once(drawings):
    async def go():
        images = ImageStore()
        return await asyncio.gather(*(drawings.search(drawing(seed), 1, images) for seed in range(30)))

    assert [hits[0].title for hits in asyncio.run(go())] == [f"drawing {seed}" for seed in range(30)]


def test_missing_index_names_the_command(tmp_path):
    with pytest.raises(InputError, match="no picture index") as caught:
        ImageIndex.open(tmp_path)
    assert "foveal index build" in caught.value.fix


def test_other_version_is_refused(drawings):
    with sqlite3.connect(drawings._path) as connection:
        connection.execute("pragma user_version = 1")  # of colours alone
    connection.close()
    with pytest.raises(InputError, match="version 1; this foveal reads version 2") as caught:
        ImageIndex.open(drawings._path.parent)
    assert "foveal index build" in caught.value.fix


def test_index_whose_writer_was_killed_is_opened_as_it_was_before(drawings, find):
    program = (
        "import os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "connection.execute('pragma cache_size = 1')\n"  # so that pages go to the disk before the commit
        "connection.execute('delete from pictures')\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(drawings._path)], check=False)
    assert drawings._path.with_name(f"{FILE}-journal").exists()
    assert find(ImageIndex.open(drawings._path.parent), drawing(7))[0].title == "drawing 7"


def test_text_index_is_no_picture_index(tmp_path):
    from foveal.tools.search import text

    text.TextIndex.create(tmp_path)
    (tmp_path / text.FILE).rename(tmp_path / FILE)
    with pytest.raises(InputError, match="not a picture index"):
        ImageIndex.open(tmp_path)


def test_damaged_file_is_a_search_error(drawings, damage):
    damage(drawings._path)
    with pytest.raises(SearchError) as caught:
        ImageIndex.open(drawings._path.parent)
    assert "build it again" in caught.value.fix


@pytest.mark.parametrize(
    ("column", "fault"), [("layout", np.zeros(5, np.uint8).tobytes()), ("layout", None), ("thumbnail", b"\x89PNG torn")]
)
def test_damaged_rows_are_search_errors(drawings, find, column, fault):
    with sqlite3.connect(drawings._path) as connection:
        connection.execute(f"update pictures set {column} = ? where title = 'drawing 7'", (fault,))
    connection.close()
    with pytest.raises(SearchError) as caught:
        find(ImageIndex.open(drawings._path.parent), drawing(7))
    assert "build it again" in caught.value.fix


def test_change_by_another_process_while_open_is_a_search_error(drawings, find):
    ImageIndex.open(drawings._path.parent).add([Picture("other", drawing(70))])
    assert find(drawings, drawing(7))[0].title == "drawing 7"
    with sqlite3.connect(drawings._path) as connection:
        connection.execute("delete from pictures where title = 'drawing 7'")
    connection.close()
    with pytest.raises(SearchError, match="changed while it was open"):
        find(drawings, drawing(7))


def test_a_picture_that_came_for_another_is_not_taken_for_it_by_an_index_that_is_open(drawings, find):
    last = len(drawings) - 1
    writer = ImageIndex.open(drawings._path.parent)
    with sqlite3.connect(drawings._path) as connection:
        connection.execute(f"update pictures set origin = 'gone' where title = 'drawing {last}'")
    connection.close()
    writer.remove(["gone"])
    writer.add([Picture("new", drawing(70))])
    with pytest.raises(SearchError, match="changed while it was open"):
        find(drawings, drawing(last))
