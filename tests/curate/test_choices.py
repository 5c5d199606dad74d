import pytest

from foveal.curate.choices import by_letter, lettered, with_choices, without_choices

PETS = {"A": "cat", "B": "dog"}


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        (["(A) cat", " B. dog", "[C]ant", ""], ["cat", "dog", "ant", ""]),
        (["A：猫", "（B） dog", "C、 ant", "d．bee"], ["猫", "dog", "ant", "bee"]),
        (["a. cat", "(b)dog", "C:"], ["cat", "dog", ""]),
        (["A. A. Milne", "B. B. King"], ["A. Milne", "B. King"]),
        *(
            (stay, stay)
            for stay in (
                ["A. Lincoln", "G. Washington"],
                ["(A) cat", "B. dog", "C", "A. cow"],
                ["A.D.", "B.C."],
                ["A.M.", "P.M."],
                ["Apple", "Banana"],
            )
        ),
    ],
)
def test_letters_in_front_of_choices_are_taken_off_if_each_has_its_own(choices, texts):
    assert [*lettered(choices).values()] == texts
    assert by_letter(dict(zip("abcd", choices, strict=False))) == dict(zip("ABCD", texts, strict=False))
    assert [*by_letter(dict(zip("1234", choices, strict=False))).values()] == texts


def test_there_are_no_more_choices_than_letters():
    assert len(lettered(map(str, range(26)))) == 26
    with pytest.raises(ValueError, match="27 choices"):
        lettered(map(str, range(27)))


def test_names_that_are_letters_are_the_labels_whatever_their_order():
    assert by_letter({"B": "B. cat", "A": "A. dog"}) == {"B": "cat", "A": "dog"}
    assert by_letter({"B": "A. cat", "A": "B. dog"}) == {"B": "A. cat", "A": "B. dog"}


def test_names_that_are_letters_stay_and_others_make_room_for_letters():
    assert by_letter({"b": "cat", "D": "dog"}) == {"B": "cat", "D": "dog"}
    for first, second in [("1", "2"), ("A", "a"), ("A", "None"), ("", "B")]:
        assert by_letter({first: "cat", second: "dog"}) == PETS


def test_choices_are_lines_behind_the_question_and_come_off_again():
    assert with_choices("Which?", PETS) == "Which?\nA. cat\nB. dog"
    assert without_choices("Which?\nA. cat\nB. dog", PETS) == "Which?"
    assert without_choices("Which? A. cat", PETS) == "Which? A. cat"
    assert with_choices("Which?", {}) == without_choices("Which?", {}) == "Which?"


@pytest.mark.parametrize(
    "text",
    [
        "Which?\nA. cat\nB. dog",
        "Which? (A) cat (B) dog",
        "A: cat; B: dog. Which?",
        "Which?\na) cat\nb) dog\nAnswer with the letter.",
        "Which? [A]cat, [B]dog",
        "Which?\nA. Cat\nB. DOG",
        "Which?\nA：cat\nB：dog",
        "Which? （a）cat （b）dog",
    ],
)
def test_a_text_that_lists_them_stays_as_it_is(text):
    assert with_choices(text, PETS) == text


@pytest.mark.parametrize(
    "text", ["Is it a cat or a dog?", "A. cat", "A. dogs B. cats", "A. cat\nB. dogma", "DNA. cat, RNB. dog"]
)
def test_a_text_that_lists_them_in_part_or_without_letters_does_not(text):
    assert with_choices(text, PETS) == f"{text}\nA. cat\nB. dog"


def test_choices_that_are_drawn_in_the_picture_are_not_listed():
    assert with_choices("Which?", {"A": "A", "B": "B"}) == "Which?"


def test_letters_in_another_order_are_texts_that_must_be_seen():
    assert with_choices("Which?", {"A": "B", "B": "A"}) == "Which?\nA. B\nB. A"
    assert without_choices("Which?\nA. B\nB. A", {"A": "B", "B": "A"}) == "Which?"
