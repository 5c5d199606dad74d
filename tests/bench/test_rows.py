import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.pictures import decode
from foveal.bench.rows import BadRow, Item, Row, choice_item, from_base64, listed, parse_literal
from foveal.errors import InputError
from foveal.trajectory import ImageStore


def test_missing_values(row):
    found = row({"a": None, "b": math.nan, "c": " \n", "d": 0, "e": "text"})
    assert [found.get(name) for name in "abcdez"] == [None, None, None, 0, "text", None]
    assert found.get("a", "z", "e") == "text"


def test_text(row):
    found = row({"a": " Zürich\n", "b": 142.0, "c": 7, "d": ["x"], "e": 0.5})
    assert [found.text(name) for name in "abce"] == ["Zürich", "142", "7", "0.5"]
    with pytest.raises(BadRow, match="d is no text but list"):
        found.text("d")
    with pytest.raises(BadRow, match="no y or z"):
        found.text("y", "z")


@pytest.mark.parametrize(
    ("value", "texts"),
    [(["a", "b"], ("a", "b")), ("a", ("a",)), ('["a", "ü"]', ("a", "ü")), ("['it''s', \"b\"]", ("its", "b")),
     ([], ()), (None, ()), ("[]", ()), ([None, "a"], ("a",)), (5, ("5",)), ("[0, 50]", ("0", "50")),
     ("[not a list", ("[not a list",)), ("[50, 100", ("[50, 100",))],
)  # fmt: skip
def test_texts(row, value: object, texts: tuple[str, ...]):
    assert row({"x": value}).texts("x") == texts


def test_options(row):
    assert row({"A": "cat", "B": 2.0, "C": math.nan, "D": None}).options() == {"A": "cat", "B": "2"}
    assert row({}).options() == {}
    with pytest.raises(BadRow, match="the options A, C leave one out"):
        row({"A": "cat", "C": "dog"}).options()


@pytest.mark.parametrize(("value", "flag"), [(1, True), (0.0, False), ("1", True), (True, True), ("FALSE", False)])
def test_flags(row, value: object, flag: bool):
    assert row({"x": value}).flag("x") is flag


def test_no_flag(row):
    with pytest.raises(BadRow, match="x is '2', not 0 or 1"):
        row({"x": 2}).flag("x")


def test_pictures_in_every_form(row, png, base64_png, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "ein bild.png").write_bytes(png())
    found = row(
        {
            "hub": {"bytes": png("blue"), "path": "x.png"}, "bytes": png(), "text": base64_png,
            "address": f"data:image/png;base64,{base64_png}", "file": "images/ein bild.png", "name": "ein bild.png",
            "many": [{"bytes": png(), "path": None}, {"bytes": png("blue"), "path": None}],
            "written": str([base64_png, base64_png]), "named": {"bytes": None, "path": "ein bild.png"},
        },
        tmp_path,
    )  # fmt: skip
    counts = {name: len(found.pictures(name)) for name in found.values}
    assert counts == {name: 2 if name in ("many", "written") else 1 for name in counts}
    assert found.pictures("hub", "bytes") == (png("blue"), png())
    assert found.pictures("file") == found.pictures("name") == found.pictures("named")


@pytest.mark.parametrize(
    ("value", "reason"),
    [("no.png", "there is no file no.png"), ("../secret.png", "there is no file"), (5, "no picture but int"),
     ("x$" * 200, "is no base64"), ({"bytes": None, "path": None}, "no picture but NoneType"), (b"", "no picture"),
     (None, "no image"), ([], "no image"),
     ("\0", "there is no file"), ("ü" * 250, "there is no file"), ("/etc/passwd", "there is no file")],
)  # fmt: skip
def test_no_pictures(row, tmp_path, value: object, reason: str):
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "data").mkdir()
    with pytest.raises(BadRow, match=reason):
        row({"image": value}, tmp_path / "data").pictures("image")


def test_a_folder_of_links_as_the_hub_keeps_it(row, tmp_path, png):
    (tmp_path / "blob").write_bytes(png())
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "1.png").symlink_to(tmp_path / "blob")
    assert row({"image": "1.png"}, tmp_path / "snapshot").pictures("image")


def test_a_row_of_the_hub_names_no_files(row):
    with pytest.raises(BadRow, match=r"names the file a\.png"):
        row({"image": "a.png"}).pictures("image")


def test_choices(row, png):
    found = choice_item(
        row({"image": png()}), id="1", text="Which?", options={"A": "a cat", "B": "a dog"}, answer="(b)", meta={"x": 1}
    )
    assert (found.text, found.gold) == ("Which?\nA. a cat\nB. a dog", ("B",))
    assert found.meta == {"x": 1, "options": {"A": "a cat", "B": "a dog"}} and len(found.pictures) == 1


def test_the_answer_may_be_the_text_of_an_option(row):
    pick = {"row": row({}), "id": "1", "text": "Which?", "pictures": ()}
    assert choice_item(**pick, options={"A": "13", "B": "18"}, answer="18").gold == ("B",)
    assert choice_item(**pick, options={"A": "18", "B": "13", "C": "18"}, answer="18").gold == ("A", "C")
    with pytest.raises(BadRow, match="'19' is none of the options A, B"):
        choice_item(**pick, options={"A": "13", "B": "18"}, answer="19")
    with pytest.raises(BadRow, match="1 options"):
        choice_item(**pick, options={"A": "13"}, answer="A")


def test_options_that_are_drawn_are_not_listed(row):
    found = choice_item(row({}), id="1", text="Which?", options={"A": "A", "B": "B"}, answer="A", pictures=())
    assert found.text == "Which?"


def test_letters_in_front_are_taken_off():
    assert listed(["(A) cat", "B. dog", "（C） ant"]) == {"A": "cat", "B": "dog", "C": "ant"}
    assert listed(["A. Lincoln", "G. Washington"]) == {"A": "A. Lincoln", "B": "G. Washington"}


def test_a_question_gets_pictures_and_suffix(png):
    images = ImageStore()
    item = Item("1", "Which?", ("B",), (png("blue", (10, 20)), png("blue", (10, 20))), "x", {"a": 1})
    question = item.question(images, "Say it.")
    assert question.text == "Which?\nSay it." and question.meta == {"a": 1} and question.family == "x"
    assert [(ref.width, ref.height) for ref in question.images] == [(10, 20)] * 2
    assert images.get(question.images[0]).getpixel((0, 0)) == (0, 0, 255)
    assert item.question(images).text == "Which?"


def test_damaged_pictures_are_told(png, tmp_path):
    for picture in (b"no picture", png()[:40], tmp_path / "gone.png"):
        with pytest.raises(InputError, match="picture 1 of question 7: "):
            Item("7", "?", (), (picture,)).question(ImageStore())


def test_decoding(png, tmp_path):
    file = tmp_path / "x.jpg"
    file.write_bytes(png(kind="JPEG"))
    assert decode(file).size == decode(png(kind="WEBP")).size == decode(png(kind="MPO")).size == (8, 6)


@given(st.text() | st.text("[]'\"\\,0 {}()"))
def test_reading_a_list_never_fails(text: str):
    parse_literal("[" + text)
    Row({"x": "[" + text}, 0).get("x")


def test_base64_is_exact():
    assert from_base64(base64.b64encode(b"\xff\x00").decode(), "x") == b"\xff\x00"
    with pytest.raises(BadRow):
        from_base64("ab$d", "x")
