import json

import pytest
from PIL import Image

from foveal.curate.cardrecords import (
    Card,
    CardBin,
    CardExample,
    CardFile,
    CardLengths,
    CardRates,
    CardSet,
    CardSource,
    CardSpent,
    CardStage,
    CardTeacher,
)
from foveal.errors import RecordError
from foveal.view import render_curation
from foveal.view.bars import percent, tally
from foveal.view.curation import holds_curation


def example(number, reason=None, **changes):
    text = f"How many red boats lie in the harbor of picture {number}, and which of them is the largest?"
    values = {
        "id": f"harbor-{number}",
        "text": text,
        "gold": (str(number),),
        "pictures": (f"pictures/{number % 3}.png",),
    }
    return CardExample(**{**values, "reason": reason, **changes})


def stage(step, rows_in, rows_out, waiting=0, examples=True, **dropped):
    dropped = {reason.replace("_", " "): rows for reason, rows in dropped.items()}
    shown = [example(n) for n in range(4)] + [example(n + 4, reason) for reason in dropped for n in range(2)]
    return CardStage(
        step=step, rows_in=rows_in, rows_out=rows_out, waiting=waiting, dropped=dropped,
        examples=tuple(shown if examples else ()),
    )  # fmt: skip


def full_card(**changes):
    """Figures as a large curation has them."""
    stages = (
        stage("sources", 61_240, 58_911, examples=False, picture_missing=1_204, no_answer=913, duplicate=212),
        stage("check", 58_911, 55_020, near_repetition=3_640, leaks_from_vstar=251),
        stage("difficulty", 55_020, 21_877, too_easy=33_143),
        stage("benefit", 21_877, 9_310, waiting=120, solved=12_447),
        stage("verify", 9_310, 5_488, wrong=2_877, error=611, unused=330, placeholder=4),
        stage("sft", 5_488, 5_000, examples=False, not_drawn=400, over_its_share=88),
        stage("window", 12_447, 8_230, too_easy_with_tools=4_217),
        stage("rl", 8_230, 8_000, examples=False, not_drawn=230),
    )
    rates = (
        CardRates(
            step="difficulty", counts=(14_020, 4_900, 2_957, 2_600, 2_410, 2_733, 3_100, 5_200, 17_100),
            fates=("hard",) * 3 + ("too easy",) * 6, unfinished=0,
        ),
        CardRates(
            step="benefit", counts=(9_310, 2_100, 1_400, 1_210, 1_130, 1_020, 910, 460, 4_217),
            fates=("cold start", *("in the window",) * 7, "too easy with tools"), unfinished=120,
        ),
    )  # fmt: skip
    file = CardFile(name="data/train-00000-of-00003.parquet", sha256="0123456789ab", size=91_233_410, rows=17_011)
    files = (file, file, file)
    sources = (
        CardSource(
            name="harbor-vqa", holds="questions", licence="CC-BY-4.0", url="https://example.org/datasets/harbor-vqa",
            rows=51_033, kept=49_900, rejected={"picture_missing": 921, "duplicate": 212}, files=files,
        ),
        CardSource(name="signs", holds="questions", licence=None, url=None, rows=10_207, kept=9_011,
                   rejected={"no_answer": 913, "picture_missing": 283}, files=files[:1]),
        CardSource(name="long-thought", holds="reasoning", licence="MIT", url="ftp://example.org/x", rows=20_000,
                   kept=20_000, rejected={}, files=files[:1]),
    )  # fmt: skip
    teachers = (
        CardTeacher(name="large", policy="qwen3-vl-235b", trajectories=10_411, good=4_833, solved=4_833,
                    failures={"wrong": 4_120, "error": 1_300, "unused": 610, "placeholder": 12}, tokens=18_220_114),
        CardTeacher(name="other", policy="gpt-x", trajectories=9_310, good=2_011, solved=2_011,
                    failures={"wrong": 7_299}, tokens=9_220_114),
    )  # fmt: skip
    edges = (40, 320, 810, 1_204, 990, 610, 380, 210, 160, 90, 61, 40, 25, 18, 12, 9, 8, 6, 4, 3)
    histogram = tuple(
        CardBin(start=200 * n, end=200 * (n + 1) if n < 19 else None, count=c) for n, c in enumerate(edges)
    )
    quantiles = {"min": 61, "5 %": 244, "25 %": 590, "50 %": 860, "75 %": 1_220, "95 %": 2_310, "max": 14_022}
    lengths = tuple(
        CardLengths(holds=holds, count=5_000, estimated=12, mean=981.25, quantiles=quantiles, histogram=histogram)
        for holds in ("tools", "reasoning")
    )
    families = {"perception": 2_100, "reasoning": 1_480, "search": 900, "a family with a long name of its own": 270}
    sft, rl = {"set": "sft", "reasoning": 0}, {"set": "rl", "reasoning": 0, "teachers": {}}
    taught = {"large": 3_410, "other": 1_340, "long-cot": 20_000}
    sets = (
        CardSet(**{**sft, "part": "train", "file": "sft/train/trajectories.jsonl", "rows": 24_750, "questions": 24_000,
                "reasoning": 20_000, "teachers": taught, "families": families}),
        CardSet(**sft, part="held_out", file="sft/held_out/trajectories.jsonl", rows=250, questions=250,
                teachers={"large": 200, "other": 50}, families={"perception": 250}),
        CardSet(**rl, part="train", file="rl/train.jsonl", rows=7_600, questions=7_600, families=families),
        CardSet(**rl, part="held_out", file="rl/held_out.jsonl", rows=400, questions=400, families={"search": 400}),
    )  # fmt: skip
    values = {
        "foveal": "0.1.0", "name": "harbor", "questions": 58_911, "stages": stages, "rates": rates, "sources": sources,
        "teachers": teachers, "spent": (CardSpent(step="synthesis", calls=61_220, tokens=412_500_300, money=311.42),),
        "lengths": lengths, "sets": sets, "settings": {"seed": 0, "difficulty": {"samples": 8}},
    }  # fmt: skip
    return Card(**{**values, **changes})


@pytest.fixture
def draw(tmp_path):
    """Writes a card with three pictures beside it, and draws it."""

    def make(card):
        folder = tmp_path / "harbor"
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        for number in range(3):
            Image.new("RGB", (320, 240 + 120 * number), (60 * number, 90, 120)).save(
                folder / "pictures" / f"{number}.png"
            )
        (folder / "card.json").write_text(card.model_dump_json())
        return render_curation(folder)

    return make


def test_the_page_says_what_the_card_holds(draw):
    page = draw(full_card()).read_text()
    for words in (
        "<b>21,877</b>", " of 55,020 · 39.8 %", "too easy <b>33,143</b> · 60.2 %", "waiting <b>120</b> · 0.5 %",
        "placeholder <b>4</b> · &lt;0.1 %", "gold ", "dropped: leaks from vstar", "6 examples: 4 kept, 2 dropped",
        "right answers in 8 samples without tools: 55,020 questions", "and 120 not asked often enough yet",
        "<b>4,833</b> of 10,411 trajectories kept the rules · 46.4 %", "CC-BY-4.0", "no licence named", "0123456789ab",
        "<b>24,750 trajectories</b>, of 24,000 questions, 20,000 of them reasoning alone (80.8 %)", "3,410 · 13.8 %",
        "12 estimated as characters / 4", "14,022", "61,220 calls, 412.5 M tokens and 311.42", "foveal 0.1.0",
    ):  # fmt: skip
        assert words in page, words
    assert page.count("<script") == 0 and "script-src" not in page.partition("</head>")[0]
    assert 'href="https://example.org/datasets/harbor-vqa"' in page and 'href="ftp:' not in page


def test_bars_are_as_long_as_their_numbers(draw):
    page = draw(full_card()).read_text()
    # difficulty: 21,877 go on and 33,143 do not, of the 61,240 rows that there were.
    assert '<rect x="0.00%" width="35.72%" height="100%" class="keeps">' in page
    assert '<rect x="35.72%" width="54.12%" height="100%" class="drops">' in page
    # benefit: what is solved is not lost
    assert f'<rect x="{9310 / 61240:.2%}" width="{12447 / 61240:.2%}" height="100%" class="moves">' in page
    # the highest column of difficulty is that of 8; that of 0 is 82 % of it
    assert f'<rect y="{1 - 14020 / 17100:.2%}" width="100%" height="{14020 / 17100:.2%}" class="keeps">' in page


def test_a_curation_that_has_just_begun_is_drawn(draw):
    none = {"rates": (), "teachers": (), "spent": (), "lengths": (), "sets": (), "sources": ()}
    page = draw(full_card(**none, stages=())).read_text()
    assert "The sets are not cut yet: foveal curate split." in page
    empty = CardStage(step="sources", rows_in=0, rows_out=0, waiting=0, dropped={}, examples=())
    idle = CardTeacher(name="t", policy=None, trajectories=0, good=0, solved=0, failures={}, tokens=0)
    rates = CardRates(step="difficulty", counts=(0, 0), fates=("hard", "too easy"), unfinished=3)
    draw(full_card(**{**none, "stages": (empty,), "teachers": (idle,), "rates": (rates,)}))


HOSTILE = "</script></style><img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)> & {{7*7}}"


def hostile_card():
    bad = CardExample(id=HOSTILE, text=HOSTILE, gold=(HOSTILE,), pictures=("../../0.png",), reason=HOSTILE)
    stages = (CardStage(step=HOSTILE, rows_in=2, rows_out=1, waiting=0, dropped={HOSTILE: 1}, examples=(bad,)),)
    rates = (CardRates(step=HOSTILE, counts=(1, 1), fates=(HOSTILE, HOSTILE), unfinished=0),)
    files = (CardFile(name=HOSTILE, sha256=HOSTILE, size=1, rows=1),)
    source = {"holds": "questions", "rows": 2, "kept": 1, "rejected": {HOSTILE: 1}, "files": files}
    sources = tuple(
        CardSource(name=HOSTILE, licence=HOSTILE, url=url, **source)
        for url in (f"https://x/{HOSTILE}", "javascript:alert(4)")
    )
    teachers = (
        CardTeacher(name=HOSTILE, policy=HOSTILE, trajectories=1, good=0, solved=0, failures={HOSTILE: 1}, tokens=1),
    )
    sets = (
        CardSet(set="sft", part="train", file=HOSTILE, rows=1, questions=1, reasoning=0, teachers={HOSTILE: 1},
                families={HOSTILE: 1}),
    )  # fmt: skip
    return full_card(
        foveal=HOSTILE, name=HOSTILE, stages=stages, rates=rates, sources=sources, teachers=teachers, sets=sets,
        settings={HOSTILE: HOSTILE},
    )  # fmt: skip


def test_hostile_text_stays_text_and_pictures_in_their_folder(draw, browser):
    page = draw(hostile_card())
    browser.open(page)
    assert browser.js("return document.querySelectorAll('script, [onerror], [onload], img[src=x]').length") == 0
    assert browser.js("return document.querySelector('h1').textContent") == HOSTILE
    assert browser.js("return [...document.querySelectorAll('.cards p')].map((p) => p.textContent)") == [HOSTILE]
    assert browser.js("return [...document.links].every((a) => !a.href.startsWith('javascript'))")
    assert browser.images() == [["pictures/0.png", 320]]
    assert browser.log() == []


def test_the_policy_stops_what_slipped_through(draw, browser):
    page = draw(full_card())
    injected = "<script>document.title = 'owned'</script><img src='https://example.org/x.png'>"
    page.write_text(page.read_text().replace("</main>", f"{injected}</main>"))
    browser.open(page)
    assert browser.js("return document.title") == "harbor"
    refused = [line for line in browser.log() if "Content Security Policy" in line]
    assert any("script" in line for line in refused) and any("x.png" in line for line in refused)


@pytest.mark.parametrize("width", [1280, 390])
def test_it_opens_from_disk_and_nothing_overflows(draw, browser, width):
    page = draw(full_card())
    for dark in (False, True):
        browser.open(page, width=width, dark=dark)
        assert browser.js("return [...document.querySelectorAll('details')].some((d) => d.open)") is False
        browser.js("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        assert all(wide > 0 for _, wide in browser.images()) and len(browser.images()) > 20
        asked = "return performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('file:')).length"
        assert browser.js(asked) == 0
        assert browser.js("return document.documentElement.scrollWidth") <= width
        assert browser.too_wide() == []
        assert browser.low_contrast() == []
        assert browser.log() == []


def test_long_words_do_not_widen_the_page(draw, browser):
    word = "x" * 400
    text = CardExample(id=word, text=word, gold=(word,), pictures=(f"pictures/{word[:100]}.png",), reason=word)
    stages = (CardStage(step=word, rows_in=2, rows_out=1, waiting=0, dropped={word: 1}, examples=(text,)),)
    sources = (
        CardSource(name=word, holds="questions", licence=word, url=f"https://{word}", rows=1, kept=1, rejected={},
                   files=(CardFile(name=word, sha256="0" * 12, size=1, rows=1),)),
    )  # fmt: skip
    rates = (CardRates(step=word, counts=(1,) * 33, fates=(word,) * 33, unfinished=0),)
    browser.open(draw(full_card(name=word, stages=stages, sources=sources, rates=rates)), width=390)
    browser.js("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert browser.js("return document.documentElement.scrollWidth") <= 390
    assert browser.too_wide() == []


def test_a_page_written_elsewhere_carries_its_pictures(draw, tmp_path):
    folder = draw(full_card()).parent
    (folder / "page.html").unlink()
    (folder / "pictures" / "1.png").unlink()
    (folder / "pictures" / "unseen.png").touch()
    page = render_curation(folder, tmp_path / "site")
    assert page == tmp_path / "site" / "page.html" and not (folder / "page.html").exists()
    assert sorted(file.name for file in (tmp_path / "site" / "pictures").iterdir()) == ["0.png", "2.png"]
    assert "1.png… is missing" in page.read_text() and 'src="pictures/1.png"' not in page.read_text()


def test_the_same_card_gives_the_same_page(draw):
    assert draw(full_card()).read_bytes() == draw(full_card()).read_bytes()


def test_cards_that_cannot_be_drawn_are_refused(tmp_path):
    with pytest.raises(RecordError, match="holds no card"):
        render_curation(tmp_path)
    for text, why in (("{", "cannot be read"), ("[]", "version None"), (json.dumps({"version": 2}), "version 2")):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(RecordError, match=why):
            render_curation(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["card.json"]


def test_a_curation_is_told_from_a_run(tmp_path):
    assert not holds_curation(tmp_path)
    (tmp_path / "questions.jsonl").touch()
    assert holds_curation(tmp_path)
    (tmp_path / "trajectories.jsonl").touch()
    assert not holds_curation(tmp_path)


def test_numbers_are_written_for_people():
    assert [percent(1, 3), percent(0, 3), percent(3, 3), percent(1, 100_000), percent(0, 0)] == [
        *("33.3 %", "0.0 %", "100.0 %", "<0.1 %", "-"),
    ]
    assert [tally(9_999), tally(14_020), tally(999_999), tally(1_234_567)] == ["9,999", "14 k", "1.0 M", "1.2 M"]
