import pytest

from foveal.curate.choices import by_letter, lettered, with_choices, without_choices

PETS = {"A": "cat", "B": "dog"}


def test_a_letter_in_front_of_a_choice_is_taken_off():
    assert lettered(["(A) cat", "B. dog", "C", "A. cow"]) == {"A": "cat", "B": "dog", "C": "C", "D": "A. cow"}
    assert len(lettered(map(str, range(26)))) == 26
    with pytest.raises(ValueError, match="27 choices"):
        lettered(map(str, range(27)))


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
