"""Choices of a question: their letters, and how they are written behind its text.

A model is shown nothing but pictures and text. So raw question sets, benchmarks and samples of other programs all write
their choices there, in the same way; `meta.options` holds them for the rules of accuracy alone.
"""

import re
import string
from collections.abc import Iterable, Mapping

_LABEL = re.compile(r"(?<![^\W_])(?:[(（\[]([A-Za-z])[)）\]]|([A-Za-z])[.):．：、）])\s*")
"""A letter in front of a choice, wherever it stands: `A. `, `(A) `, `[a]`, `A：`."""
_OWN = r"\s*(?:[(（\[]{0}[)）\]]|{0}[．：、）]|{0}[.):](?!\S))\s*"
"""That of one choice. `A.` needs a blank behind it: `A.D.` is a text."""


def lettered(choices: Iterable[str]) -> dict[str, str]:
    """Choices by letter, in order; their letters in front of the texts, as in `(A) cat` or `A. cat`, are taken off.

    They stay if not all have their own: `A. Lincoln` beside `G. Washington` is a name.

    Raises:
        ValueError: There are more choices than letters.
    """
    choices = list(choices)
    if len(choices) > len(string.ascii_uppercase):
        raise ValueError(f"{len(choices)} choices, and letters for {len(string.ascii_uppercase)}")
    return _without_labels(dict(zip(string.ascii_uppercase, choices, strict=False)))


def by_letter(named: Mapping[str, str]) -> dict[str, str]:
    """Choices that have names as choices by letter: the names, if all are letters, else by their order.

    Letters in front of the texts are taken off, as `lettered` does.

    Raises:
        ValueError: There are more choices than letters.
    """
    letters = {name.upper(): text for name, text in named.items()}
    if len(letters) == len(named) and all(re.fullmatch("[A-Z]", letter) for letter in letters):
        return _without_labels(letters)
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
    """Whether a text lists all choices with their letters, in whatever form: `A. cat`, `(a) Cat`, also in one line."""
    found = set()
    for label in _LABEL.finditer(text):
        letter = (label[1] or label[2]).upper()
        said = choices.get(letter)
        if said is not None and text[label.end() :][: len(said)].lower() == said.lower():
            behind = text[label.end() + len(said) :][:1]
            found |= set() if behind.isalnum() else {letter}
    return found == set(choices)


def _without_labels(choices: Mapping[str, str]) -> dict[str, str]:
    """The texts without their own letters in front, if all that are not blank have them."""
    texts = {letter: text.strip() for letter, text in choices.items()}
    labels = {letter: re.match(_OWN.format(letter), text, re.IGNORECASE) for letter, text in texts.items() if text}
    if not all(labels.values()):
        return texts
    return {letter: text[label.end() :] if (label := labels.get(letter)) else text for letter, text in texts.items()}


def _lines(choices: Mapping[str, str]) -> str:
    # Choices that are drawn in the picture are written as their own letters: nothing to list. In another order there
    # is: `A. B` must be seen by whoever is to answer with A.
    drawn = all(letter == text for letter, text in choices.items())
    return "" if drawn else "".join(f"\n{letter}. {text}" for letter, text in choices.items())
