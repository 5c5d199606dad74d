import io
import json
import random

import numpy as np
import pytest
from PIL import Image, ImageFilter

from foveal.curate.adding import add_sources
from foveal.curate.folder import Folder
from foveal.curate.leaks import CheckSettings, CheckVerdict, check, verdicts_against
from foveal.curate.sources import SourceSettings
from foveal.errors import ConfigError, InputError

SETTINGS = CheckSettings()


def scene(seed, size=(320, 240)):
    """A picture with some structure: soft blobs of colour."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def jpeg(image, quality=30):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


@pytest.fixture
def make(tmp_path):
    """A curation folder, or with `bench` a benchmark; rows are (text, picture or pictures)."""

    def make(name, *rows, bench=False):
        raw = tmp_path / f"raw-{name}"
        raw.mkdir()
        lines = []
        for number, (text, *pictures) in enumerate(rows):
            names = [f"{number}-{place}.png" for place in range(len(pictures))]
            for file, picture in zip(names, pictures, strict=True):
                picture.save(raw / file)
            lines.append({"id": str(number), "text": text, "images": names, "gold": ["7"]})
        path = raw / "set.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        if bench:
            return path
        columns = {"question": "text", "images": "images", "id": "id", "answer": "gold"}
        source = SourceSettings.model_validate({"name": "s", "path": str(path), "columns": columns})
        assert add_sources(tmp_path / name, [source]).kept == len(rows)
        return tmp_path / name

    return make


def verdicts(folder, *against):
    count = check(folder, against)
    found = list(Folder(folder).verdicts("check", CheckVerdict).values())
    assert count == len(found)
    return found


def test_a_row_that_is_like_an_earlier_one_names_it(make):
    one, other = scene(1), scene(2)
    half = one.resize((160, 120))
    folder = make(
        *("out", ("What is left?", one), ("What is left?", other), ("what is LEFT", jpeg(half)), ("Who?", half)),
        *(("What is left?", other.resize((500, 400))), ("what is left!", one)),
    )
    found = verdicts(folder)
    assert [(verdict.id, verdict.duplicate and verdict.duplicate.id) for verdict in found] == [
        *(("s-0", None), ("s-1", None), ("s-2", "s-0"), ("s-3", None), ("s-4", "s-1"), ("s-5", "s-0"))
    ]
    near = found[2].duplicate
    assert 0 < near.distance <= 24 and found[5].duplicate.distance == 0
    assert [verdict.reason(SETTINGS) for verdict in found[2:4]] == ["near duplicate", None]
    # The threshold is applied afterwards.
    assert found[2].reason(CheckSettings(duplicate_distance=near.distance - 1)) is None
    assert found[5].reason(CheckSettings(duplicate_distance=-1)) is None


def test_of_several_pictures_all_have_to_be_near_and_in_order(make):
    one, two, three = scene(1), scene(2), scene(3)
    folder = make(
        *("out", ("Compare.", one, two), ("Compare.", jpeg(one), two), ("Compare.", one, three)),
        *(("Compare.", two, one), ("Compare.", one), ("compare", jpeg(one), jpeg(two))),
    )
    found = [verdict.duplicate and verdict.duplicate.id for verdict in verdicts(folder)]
    assert found[:5] == [None, "s-0", None, None, None] and found[5] in ("s-0", "s-1")


def test_text_alone_is_a_near_duplicate_where_there_is_no_picture(make):
    folder = make("out", ("Why is that?",), ("why is that",), ("Why is it?",))
    assert [verdict.reason(SETTINGS) for verdict in verdicts(folder)] == [None, "near duplicate", None]


def test_another_calculation_is_another_question(make):
    asked = ["12 + 5", "12 - 5", "12 * 5", "3/4", "3.4", "-3 + 4", "x^2 + 4 = 0", "x^2 - 4 = 0", "x^2 - 4"]
    assert [one.duplicate for one in verdicts(make("out", *((text,) for text in asked)))] == [None] * len(asked)
    again = verdicts(make("again", ("12 - 5",), ("12−5?",), ("X^2 - 4",), ("x² – 4",)))
    assert [one.duplicate and one.duplicate.id for one in again] == [None, "s-0", None, "s-2"]


def test_a_long_calculation_leaks_from_a_benchmark_only_with_its_operators(make):
    bench = make("bench", ("Solve for x: 3 * x^2 + 5 * x - 12 = 0",), bench=True)
    texts = [("Solve 3 · x² + 5 · x − 12 = 0 for x.",), ("Solve for x: 3 * x^2 - 5 * x + 12 = 0",)]
    same, other = verdicts(make("out", *texts), bench)
    assert same.reason(SETTINGS) == "leak of text" and other.reason(SETTINGS) is None


LONG = "Which of the two ships in the harbour carries more than twelve red containers on its deck?"


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((100, 75)),
        lambda image: image.resize((900, 500)),
        lambda image: jpeg(image, 20),
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.crop((3, 2, 317, 238)),
        lambda image: image.point(lambda value: min(255, int(value * 1.1))),
    ],
)
def test_a_picture_leaks_also_when_it_was_changed_a_little(make, change):
    bench = make("bench", ("What is it?", scene(5)), ("What is it?", scene(1)), bench=True)
    first, second = verdicts(make("out", ("Where?", change(scene(1))), ("Where?", scene(9))), bench)
    assert (first.picture.benchmark, first.picture.item) == ("set", "1") and first.picture.distance <= 40
    assert first.reason(SETTINGS) == "leak of picture" and (first.texts, first.both) == ((), ())
    assert first.reason(CheckSettings(alone=("text",))) is None
    assert second.picture is None and second.reason(SETTINGS) is None


def test_text_leaks_apart_from_pictures_and_both_is_told(make):
    bench = make("bench", (LONG, scene(1)), ("What color is it?", scene(2)), (LONG + " Say why.", scene(1)), bench=True)
    changed = LONG.replace("the harbour", "this harbour").upper()
    found = verdicts(
        make(
            *("out", (LONG, scene(7)), (f"Look closely. {changed}", scene(8)), (LONG, scene(1))),
            *((LONG.replace("twelve", "nine"), scene(9)), ("What color is it?", scene(10))),
            *(("What color is it?", scene(2)), ("Name the capital city of the country in the picture.", scene(11))),
        ),
        bench,
    )
    assert [verdict.reason(SETTINGS) for verdict in found] == [
        *("leak of text", "leak of text", "leak of picture and text", "leak of text"),
        *(None, "leak of picture and text", None),
    ]
    assert (found[0].texts[0].item, found[0].texts[0].overlap, found[0].texts[0].words) == ("0", 1.0, 17)
    assert 0.75 <= found[1].texts[0].overlap < 1
    assert [(match.item, match.distance, match.overlap) for match in found[2].both] == [("0", 0, 1.0)]
    assert found[2].picture.distance == 0 and found[4].texts == ()
    assert [match.item for match in found[5].both] == ["1"]
    assert found[0].reason(CheckSettings(alone=("picture",))) is None
    assert found[2].reason(CheckSettings(alone=())) == "leak of picture and text"


def test_plain_pictures_are_like_nothing_but_themselves(make):
    white, grey = Image.new("RGB", (50, 50), "white"), Image.new("RGB", (50, 50), (254, 254, 254))
    bench = make("bench", ("Any?", white), bench=True)
    first, second = verdicts(make("out", ("Any?", white), ("Any?", grey)), bench)
    assert first.picture.distance == 0 and second.picture is None and second.duplicate is None


def test_pictures_are_hashed_once(make, tmp_path):
    folder = make("out", ("Where?", scene(1)), ("Where?", scene(2)))
    bench = make("bench", ("What?", scene(1)), bench=True)
    first = verdicts(folder, bench)
    content = (folder / "verdicts" / "check.jsonl").read_bytes()
    kept = folder / "verdicts" / "hashes-1.jsonl"
    assert len(kept.read_text().splitlines()) == 2  # one of them is in both sets
    kept.write_text(kept.read_text()[:-20])  # the writer was killed
    for picture in (folder / "pictures").iterdir():
        if json.loads(kept.read_text().splitlines()[0])["picture"] == picture.stem:
            picture.write_bytes(b"")  # not looked at again
    assert verdicts(folder, bench) == first
    assert (folder / "verdicts" / "check.jsonl").read_bytes() == content
    assert len([line for line in kept.read_text().splitlines() if line.endswith("}")]) == 2


def test_sets_that_cannot_be_compared_are_named(make, tmp_path):
    with pytest.raises(InputError, match="holds no questions"):
        check(tmp_path, [])
    folder = make("out", ("Where?", scene(1)))
    with pytest.raises(InputError, match="cannot be read"):
        check(folder, [tmp_path / "none.jsonl"])
    bench = make("bench", ("What?", scene(1)), bench=True)
    (bench.parent / "0-0.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"0-0\.png"):
        check(folder, [bench])


def test_a_folder_is_named_by_its_name(make):
    bench = make("bench", ("What?", scene(1)))
    (verdict,) = verdicts(make("out", ("Where?", scene(1))), bench)
    assert verdict.picture.benchmark == "bench"


def test_the_order_of_rows_does_not_change_what_is_found(make):
    rows = [("What?", scene(seed)) for seed in range(6)] + [("What?", jpeg(scene(seed))) for seed in range(6)]
    random.Random(1).shuffle(rows)
    assert sum(verdict.duplicate is not None for verdict in verdicts(make("out", *rows))) == 6


def test_pictures_of_a_folder_made_by_hand_may_have_any_name(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("a", "photo 1", "0" * 63):
        scene(len(name)).save(tmp_path / "pictures" / f"{name}.png")
    rows = [{"id": n, "text": "What?", "images": [f"pictures/{n}.png"]} for n in ("a", "photo 1", "0" * 63)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert check(tmp_path, []) == 3


def test_no_number_of_short_texts_hides_a_long_one(make):
    """Which texts are too short to leak alone is a threshold, so it cannot be known which to leave out."""
    short = ["Is the lighthouse on a cliff?", "Which of them is nearest now?", "How many gulls are there today?"]
    long = f"{short[0]} {short[1]} {short[2]} Or is all of that only a painting?"
    bench = make("bench", *((text,) for text in (*short, long)), bench=True)
    asked = f"{short[0]} {short[1]} {short[2]} Or is all of that only a drawing?"
    (verdict,) = verdicts(make("out", (asked, scene(1))), bench)
    assert {match.words for match in verdict.texts} == {6, 26}, "the best of each length"
    assert verdict.texts[0].overlap == 1.0 > verdict.texts[1].overlap
    assert verdict.reason(SETTINGS) == "leak of text"


def test_a_nearer_picture_with_other_words_does_not_hide_a_leak_of_both(make):
    near, far = scene(1), jpeg(scene(1), 20)
    bench = make("bench", (LONG.replace("harbour carries more than twelve", "bay has"), near), (LONG, far), bench=True)
    (verdict,) = verdicts(make("out", (LONG, near)), bench)
    assert [match.item for match in verdict.both] == ["0", "1"] and verdict.both[0].overlap < 0.75
    assert verdict.reason(CheckSettings(alone=())) == "leak of picture and text"


def test_rows_that_nobody_knows_the_answer_of_are_repeated_by_nothing(tmp_path):
    rows = [{"text": "Why is that?", "gold": gold} for gold in ([], ["a cat"], ["a dog"])]
    rows[2]["text"] = "why is that"
    (tmp_path / "questions.jsonl").write_text(
        "".join(json.dumps({"id": str(number), **row}) + "\n" for number, row in enumerate(rows))
    )
    assert [one.duplicate and one.duplicate.id for one in verdicts(tmp_path)] == [None, None, "1"]


def test_a_check_holds_for_the_benchmarks_that_it_was_against(make):
    folder = Folder(make("out", ("Where is the ship?", scene(1)), ("Where?", scene(2))))
    first, second = make("b1", (LONG, scene(3)), bench=True), make("b2", (LONG, scene(1)), bench=True)
    check(folder.path, [first])
    assert len(verdicts_against(folder, [first])) == 2
    with pytest.raises(ConfigError, match=rf"not checked against {second}[\s\S]*foveal curate check"):
        verdicts_against(folder, [first, second])
    with pytest.raises(ConfigError, match="was checked against"):
        verdicts_against(folder, [])
    check(folder.path, [first, second])
    assert verdicts_against(folder, [first, second])["s-0"].reason(SETTINGS) == "leak of picture"
    first.write_text(first.read_text() * 2)
    with pytest.raises(ConfigError, match="has changed since"):
        verdicts_against(folder, [first, second])
    first.unlink()
    assert verdicts_against(folder, [first, second]), "the benchmarks need not be where the sets are cut"
