"""Choices of a question: their letters, and how they are written behind its text.

A model is shown nothing but pictures and text. So raw question sets, benchmarks and samples of other programs all write
their choices there, in the same way; `meta.options` holds them for the rules of accuracy alone.
"""

import re
import string
from collections.abc import Iterable, Mapping

_LABEL = re.compile(r"(?<![^\W_])(?:\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])[.):])\s*")
"""A letter in front of a choice, wherever it stands: `A. `, `(A) `, `[a]`."""


def lettered(choices: Iterable[str]) -> dict[str, str]:
    """Choices by letter, in order; a letter in front of a text, as in `(A) cat` or `A. cat`, is taken off.

    Raises:
        ValueError: There are more choices than letters.
    """
    choices = list(choices)
    if len(choices) > len(string.ascii_uppercase):
        raise ValueError(f"{len(choices)} choices, and letters for {len(string.ascii_uppercase)}")
    return {
        letter: re.sub(rf"^\s*(?:\({letter}\)|（{letter}）|{letter}[.:)：])\s*", "", text).strip()
        for letter, text in zip(string.ascii_uppercase, choices, strict=False)
    }


def by_letter(named: Mapping[str, str]) -> dict[str, str]:
    """Choices that have names as choices by letter: the names, if all are letters, else by their order.

    Raises:
        ValueError: There are more choices than letters.
    """
    letters = {name.upper(): text for name, text in named.items()}
    if len(letters) == len(named) and all(re.fullmatch("[A-Z]", letter) for letter in letters):
        return letters
    return lettered(named.values())


def with_choices(text: str, choices: Mapping[str, str]) -> str:
    """A question with its choices, a line `A. cat` for each; unless it lists them with their letters already.

    Args:
        text: The question.
        choices: Letter to text.
    """
    return text if lists(text, choices) else text + _lines(choices)


def without_choices(text: str, choices: Mapping[str, str]) -> str:
    """The question alone, if `with_choices` has written its choices behind it; else the text as it is."""
    return text.removesuffix(_lines(choices))


def lists(text: str, choices: Mapping[str, str]) -> bool:
    """Whether a text lists all choices with their letters, in whatever form: `A. cat`, `(A) cat`, also in one line."""
    found = set()
    for label in _LABEL.finditer(text):
        letter = (label[1] or label[2] or label[3]).upper()
        said = choices.get(letter)
        if said is not None and text.startswith(said, label.end()):
            behind = text[label.end() + len(said) :][:1]
            found |= set() if behind.isalnum() else {letter}
    return found == set(choices)


def _lines(choices: Mapping[str, str]) -> str:
    # Choices that are drawn in the picture are written as their own letters: nothing to list.
    drawn = set(choices) == set(choices.values())
    return "" if drawn else "".join(f"\n{letter}. {text}" for letter, text in choices.items())
