import json

import pytest
from PIL import Image

from foveal.curate.questions import read_questions
from foveal.errors import InputError
from foveal.trajectory import ImageStore


@pytest.fixture
def write(tmp_path):
    """A question set with a red picture beside it; lines are dictionaries or text."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")

    def make(*lines, name="questions.jsonl"):
        file = tmp_path / name
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        file.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        return file

    return make


def test_a_question_has_its_pictures_answers_and_whatever_rules_need(write):
    line = {"id": "a", "text": "Which?", "images": ["red.png", "red.png"], "gold": ["B", "blue"], "family": "direct"}
    file = write({**line, "meta": {"options": ["red", "blue"]}}, "", {"id": "b", "text": "?", "gold": "7"})
    first, second = read_questions([file])
    store = ImageStore()
    question = first.open(store)
    assert (question.id, question.text, question.gold, question.family) == ("a", "Which?", ("B", "blue"), "direct")
    assert question.meta == {"options": ["red", "blue"]}
    assert [(ref.width, ref.height) for ref in question.images] == [(40, 30)] * 2
    assert store.get(question.images[0]).getpixel((5, 5)) == (255, 0, 0)
    assert second.open(store).gold == ("7",)
    assert second.where == f"{file} line 3"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "line 2: .*JSON"),
        ({"text": "?"}, "line 2: id Field required"),
        ({"id": "x", "text": "?", "answer": "7"}, "line 2: answer Extra"),
        ({"id": "x", "text": "?", "images": ["blue.png"]}, r"line 2: there is no picture .*blue\.png"),
        ({"id": "", "text": "?"}, "line 2: id"),
        ("[]", "line 2"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(write, line, says):
    with pytest.raises(InputError, match=says):
        read_questions([write({"id": "a", "text": "?"}, line)])


def test_all_wrong_lines_are_told_of_at_once_but_not_a_thousand(write):
    with pytest.raises(InputError) as caught:
        read_questions([write(*["{"] * 9)])
    assert "line 1:" in caught.value.what and "line 5:" in caught.value.what
    assert "line 6:" not in caught.value.what and "and 4 more" in caught.value.what


def test_an_id_occurs_once_in_all_files(write):
    one, other = write({"id": "a", "text": "?"}), write({"id": "b", "text": "?"}, {"id": "a", "text": "!"}, name="two")
    with pytest.raises(InputError, match=r"two line 2: the id 'a' is that of .*questions\.jsonl line 1"):
        read_questions([one, other])
    assert [question.row.id for question in read_questions([other])] == ["b", "a"]


def test_a_set_without_questions_is_refused(write, tmp_path):
    with pytest.raises(InputError, match="holds no question"):
        read_questions([write("")])
    with pytest.raises(InputError, match="cannot be read"):
        read_questions([tmp_path / "none.jsonl"])


def test_a_picture_that_is_none_is_found_when_it_is_opened(write, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (question,) = read_questions([write({"id": "a", "text": "?", "images": ["broken.png"]})])
    with pytest.raises(InputError, match=r"broken\.png"):
        question.open(ImageStore())
