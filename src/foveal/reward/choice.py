"""Multiple choice: which option does an answer name, if it names one and nothing else?"""

import re
from collections.abc import Mapping, Sequence

from foveal.reward.text import normalise, unwrapped
from foveal.trajectory import Question

_ALONE = re.compile(r"\(([A-Za-z])\)|\[([A-Za-z])\]|([A-Za-z])[.):]?")
"""A letter and nothing else: B, (B), [B], b)."""
_CAPITAL = re.compile(r"\(?[A-Z]\)?")
_LABELLED = re.compile(r"(?:\(([A-Z])\)|\[([A-Z])\]|([A-Z])[.):])\s*(\S.*)", re.DOTALL)
"""A letter, its mark, and text: `B. cat`, `(B) cat`. Without a mark a letter is a word: `A cat`."""
_OPTION_LINE = re.compile(r"[ \t]*(?:\(([A-Z])\)|([A-Z])[.):])[ \t]+(\S.*)")


def options_of(question: Question) -> dict[str, str]:
    """The options of a question, letter to text; empty if none are known.

    They are `question.meta["options"]`: a list of texts, or a dictionary from letter to text. Without it they are the
    lines `A. text` or `(A) text` of the question, if these run from A without a gap and there are two or more.
    """
    given = question.meta.get("options")
    if isinstance(given, Mapping):
        return {str(letter).strip().upper(): str(text) for letter, text in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str):
        return {chr(ord("A") + number): str(text) for number, text in enumerate(given[:26])}
    found = [(m[1] or m[2], m[3].strip()) for line in question.text.splitlines() if (m := _OPTION_LINE.fullmatch(line))]
    in_order = [chr(ord("A") + number) for number in range(len(found))]
    return dict(found) if len(found) >= 2 and [letter for letter, _ in found] == in_order else {}


def read_choice(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter that the answer names, or None if it does not plainly name one.

    Read are, after `unwrapped`: a letter alone (`B`, `(B)`, `b.`); a letter with its mark and the text of that option
    (`B. cat`); the text of exactly one option (`cat`). Letters in prose are not.

    Args:
        answer: What the model answered.
        options: Letter to text; empty if the texts are unknown, and then any letter will do.
    """
    text = unwrapped(answer)
    if alone := _ALONE.fullmatch(text):
        letter = (alone[1] or alone[2] or alone[3]).upper()
        if not options or letter in options:
            return letter
    if labelled := _LABELLED.fullmatch(text):
        letter = labelled[1] or labelled[2] or labelled[3]
        if not options or (letter in options and _same(labelled[4], options[letter])):
            return letter
        return None
    named = [letter for letter, option in options.items() if _same(text, option)]
    return named[0] if len(named) == 1 else None


def choice(answer: str, question: Question) -> bool | None:
    """Whether the answer names the right option; None if the question is no multiple choice, or no option was read.

    A question is multiple choice if each of its gold answers names one of its options; or, if its options are not
    known, is one capital letter.
    """
    options = options_of(question)
    plain = bool(options) or all(_CAPITAL.fullmatch(gold.strip()) for gold in question.gold)
    right = {read_choice(gold, options) for gold in question.gold} if plain else {None}
    if not right or None in right:
        return None
    letter = read_choice(answer, options)
    return None if letter is None else letter in right


def _same(text: str, option: str) -> bool:
    return normalise(unwrapped(text)) == normalise(unwrapped(option))
