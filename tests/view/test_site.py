import re

import pytest

from foveal.errors import RecordError
from foveal.records import FILE
from foveal.trajectory import StopReason
from foveal.view import render_run
from foveal.view.html import Html, join, tag
from foveal.view.outcome import stop_text


def test_markup_escapes_whatever_is_not_markup():
    assert tag("p", "<b>&\"'", class_="x") == '<p class="x">&lt;b&gt;&amp;&quot;&#x27;</p>'
    assert tag("a", Html("<b></b>"), None, href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;"><b></b></a>'
    assert tag("img", alt=None, hidden=True, data_x=False) == "<img hidden>"
    assert join(["<", Html("<i></i>"), None]) == "&lt;<i></i>"


def test_a_folder_without_a_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(RecordError):
        render_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_picture_is_named_not_broken(run):
    lost = sorted((run / "images").iterdir())[0]
    lost.unlink()
    index = render_run(run)
    pages = [page.read_text() for page in sorted((run / "pages").iterdir())]
    assert any(f"{lost.name[:12]}… is missing" in page for page in pages)
    assert not any(f'src="../images/{lost.name}"' in page for page in pages)
    assert "is missing" in index.read_text()
    assert f'src="images/{lost.name}"' not in index.read_text()


def test_what_could_not_be_read_is_on_the_index(run):
    with (run / FILE).open("ab") as file:
        file.write(b'{"version": 1, "id": "half')
    assert "line 5 is torn" in render_run(run).read_text()


def test_pages_say_everything_that_the_record_holds(run):
    render_run(run)
    page = (run / "pages" / "1.html").read_text()
    for words in (
        "What number is on the red house?", "accuracy", "7 · seven", "scripted · profile foveal", "4 turns · 5.2 s",
        "The sign is too small to read", "(360, 340)", "model 2.1 s · tool 30 ms · 812 tokens read · 64 written",
        "Open since 1931.", "score 3.2", "Look closely.", "&quot;max_turns&quot;: 9", "2026-11-21T06:00:00Z",
    ):  # fmt: skip
        assert words in page, words
    assert page.count('class="line" x="640" y="250" width="360" height="340"') == 2  # on top and at its turn
    assert "the code raised" in (run / "pages" / "2.html").read_text()


def test_what_came_back_after_the_end_is_marked_as_unseen(run):
    render_run(run)
    unseen = [("has not seen this" in (run / "pages" / f"{n}.html").read_text()) for n in (1, 2, 3, 4)]
    assert unseen == [False, False, True, False]


def test_pages_link_to_their_neighbours(run):
    render_run(run)
    hrefs = [re.findall(r"<nav>.*?</nav>", page.read_text())[0] for page in sorted((run / "pages").iterdir())]
    assert 'href="2.html"' in hrefs[0] and "0.html" not in hrefs[0]
    assert 'href="3.html"' in hrefs[3] and "5.html" not in hrefs[3]


def test_drawing_again_gives_the_same_pages(run):
    first = render_run(run).read_bytes()
    assert render_run(run).read_bytes() == first


def test_every_stop_reason_has_words():
    assert all(stop_text(reason) for reason in StopReason)
