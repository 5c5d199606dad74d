"""The pages as a reader meets them: opened from disk in a real browser."""

from foveal.view import render_run

SHOWN = 'return [...document.querySelectorAll(".rows > li:not([hidden]) a")].map((a) => a.getAttribute("href"))'


def test_every_page_opens_from_disk_without_a_word_on_the_console(browser, run):
    index = render_run(run)
    for page in (index, *sorted((run / "pages").iterdir())):
        browser.open(page)
        images = browser.images()
        assert all(width > 0 for _, width in images), (page, images)
        assert browser.log() == [], page
        # Opened from disk and complete: nothing was asked of any network.
        assert (
            browser.js(
                "return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('file:')).length"
            )
            == 0
        )
    browser.open(run / "pages" / "1.html")
    assert len(browser.images()) == 5  # question, the same with the box, crop, crop searched for, thumbnail


def test_pages_written_elsewhere_carry_their_pictures(browser, run, tmp_path):
    out = tmp_path / "site"
    assert render_run(run, out) == out / "index.html"
    assert not (run / "index.html").exists()
    run.rename(tmp_path / "gone")
    browser.open(out / "pages" / "1.html")
    assert all(width > 0 for _, width in browser.images())


def test_hostile_text_stays_text(browser, run):
    """The dialogs of the hostile text would block the driver; what it holds must show as it was written."""
    from_run = run / "pages" / "3.html"
    render_run(run)
    browser.open(from_run)
    assert browser.js("return document.querySelectorAll('script').length") == 1
    assert browser.js("return document.querySelectorAll('[onerror], [onload], img[src=x]').length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.js("return document.querySelector('h1').textContent")
    assert "<script>alert(2)</script>" in browser.js("return document.querySelector('.stderr').textContent")
    assert browser.log() == []


def test_the_policy_stops_script_that_slipped_through(browser, run):
    render_run(run)
    page = run / "pages" / "1.html"
    injected = (
        "<script>document.title = 'owned'</script><b onclick=1></b><img src='x' onerror=\"document.title='owned'\">"
    )
    page.write_text(page.read_text().replace("</main>", f"{injected}</main>"))
    browser.open(page)
    assert browser.js("return document.title") != "owned"
    assert any("Content Security Policy" in line for line in browser.log())


def test_a_web_address_is_a_link_and_a_script_address_is_not(browser, run):
    render_run(run)
    browser.open(run / "pages" / "1.html")
    links = browser.js('return [...document.querySelectorAll(".cards a[rel]")].map((a) => a.getAttribute("href"))')
    assert links == ["https://example.org/7"]
    assert browser.js("return [...document.links].every((a) => !a.href.startsWith('javascript'))")
    assert "javascript:alert(4)" in browser.js("return document.querySelector('.cards').textContent")


def test_filters_by_click_and_by_address(browser, run):
    index = render_run(run)
    browser.open(index)
    assert browser.js(SHOWN) == [f"pages/{n}.html" for n in (1, 2, 3, 4)]
    browser.click("input[name=wrong]")
    assert browser.js(SHOWN) == ["pages/2.html", "pages/4.html"]
    assert browser.js("return location.hash") == "#wrong"
    assert browser.js("return document.getElementById('shown').textContent") == "2 of 4 rows"
    browser.click("input[name=notool]")
    assert browser.js(SHOWN) == ["pages/4.html"]
    browser.click("input[name=wrong]")
    browser.click("input[name=notool]")
    browser.click("input[name=error]")
    assert browser.js(SHOWN) == ["pages/2.html", "pages/3.html"]
    browser.open(index, "#family=perception")
    assert browser.js(SHOWN) == ["pages/1.html"]
    assert browser.js("return document.querySelector('select').value") == "perception"
    browser.open(index, "#wrong&family=perception")
    assert browser.js(SHOWN) == []
    assert browser.js("return document.getElementById('nothing').hidden") is False


def test_j_and_k_go_from_turn_to_turn(browser, run):
    render_run(run)
    browser.open(run / "pages" / "1.html")
    at = "return location.hash + ' ' + document.activeElement.id"
    browser.keys("jj")
    assert browser.js(at) == "#turn-2 turn-2"
    top = browser.js("return document.getElementById('turn-2').getBoundingClientRect().top")
    assert 40 < top < 120  # below the navigation, not behind it
    browser.keys("k")
    assert browser.js(at) == "#turn-1 turn-1"
    browser.keys("jjjjjj")
    assert browser.js(at) == "#turn-4 turn-4"


def test_a_link_to_a_turn_opens_at_that_turn(browser, run):
    render_run(run)
    browser.open(run / "pages" / "1.html", "#turn-3")
    assert 40 < browser.js("return document.getElementById('turn-3').getBoundingClientRect().top") < 120


def test_a_click_shows_the_picture_in_full_with_its_box(browser, run):
    render_run(run)
    browser.open(run / "pages" / "1.html")
    browser.click(".top a.zoom")
    assert browser.js("return location.pathname.endsWith('1.html') && document.querySelector('dialog').open")
    layers = "const s = document.querySelector('.stage'); const r = s.querySelector('img').getBoundingClientRect();"
    picture = browser.js(layers + "return [r.width, r.height]")
    box = browser.js(layers + "const b = s.querySelector('rect.line').getBoundingClientRect();"
                     "return [b.left - r.left, b.top - r.top, b.width, b.height]")  # fmt: skip
    scale = picture[0] / 1200
    assert abs(picture[1] - 900 * scale) < 1
    expected = [640 * scale, 250 * scale, 360 * scale, 340 * scale]
    assert all(abs(a - b) < 1 for a, b in zip(box, expected, strict=True)), (box, expected)
    browser.js("document.querySelector('.stage').click()")
    assert browser.js(layers + "return r.width") == 1200
    browser.click("dialog button")
    assert browser.js("return document.querySelector('dialog').open") is False


def test_long_output_is_folded_and_whole(browser, run):
    render_run(run)
    browser.open(run / "pages" / "2.html")
    fold = "const f = [...document.querySelectorAll('.fold')].find((f) => f.textContent.includes('line 599'));"
    assert browser.js(fold + "return f.open") is False
    assert "600 lines" in browser.js(fold + "return f.querySelector('summary').textContent")
    assert browser.js(fold + "return f.querySelector('pre').textContent.split('\\n').length") == 600


def test_nothing_overflows_on_a_phone(browser, run):
    index = render_run(run)
    for page in (index, *sorted((run / "pages").iterdir())):
        browser.open(page, width=390)
        browser.js("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert browser.js("return document.documentElement.scrollWidth") <= 390, page
        assert browser.too_wide() == [], page


def test_text_can_be_read_in_light_and_dark(browser, run):
    """WCAG AA: contrast of at least 4.5 between ink and ground in both schemes."""
    render_run(run)
    grounds = []
    for dark in (False, True):
        for number in (1, 2):
            browser.open(run / "pages" / f"{number}.html", dark=dark)
            assert browser.low_contrast() == []
        grounds.append(browser.js("return getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
