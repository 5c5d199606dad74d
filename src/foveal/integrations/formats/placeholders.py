"""Messages as one text in which `<image>` stands for each picture: LLaMA-Factory's and verl's way.

These formats cannot tell a literal `<image>` from a picture, so a conversation that says it is not carried over. The
same holds for words that the tokenizers of Qwen-VL take for pictures, in every format that ends in a chat template.
"""

import re
from collections.abc import Iterable, Iterator

from foveal.integrations.formats.dialogue import Line, Picture, Role, Unfit

MARK = "<image>"
_MARKS = (MARK, "<video>", "<audio>")
_TOKENS = ("<|image_pad|>", "<|video_pad|>")


def refuse_tokens(lines: Iterable[Line]) -> None:
    """Refuse words that a processor would take for pictures.

    Raises:
        Unfit: There is one.
    """
    _refuse(lines, _TOKENS, "which the tokenizers of Qwen-VL take for a picture")


def joined(lines: Iterable[Line]) -> list[str]:
    """The texts of the messages, `<image>` for each picture.

    Raises:
        Unfit: A text holds a placeholder of its own.
    """
    lines = list(lines)
    _refuse(lines, _MARKS, "which stands for a picture, a film or a sound in this format")
    refuse_tokens(lines)
    return ["".join(piece if isinstance(piece, str) else MARK for piece in line.pieces) for line in lines]


def parted(texts: Iterable[tuple[Role, str]], pictures: Iterable[Picture]) -> tuple[Line, ...]:
    """Messages from their texts and the pictures of all of them.

    Raises:
        Unfit: There are more pictures than placeholders, or fewer.
    """
    texts, left = list(texts), list(pictures)
    marks = sum(text.count(MARK) for _, text in texts)
    if marks != len(left):
        raise Unfit(f"{marks} times {MARK} for {len(left)} pictures")
    give = iter(left)
    return tuple(Line(role, tuple(_pieces(text, give)) or ("",)) for role, text in texts)


def _pieces(text: str, pictures: Iterator[Picture]) -> Iterator[str | Picture]:
    for piece in re.split(f"({MARK})", text):
        if piece == MARK:
            yield next(pictures)
        elif piece:
            yield piece


def _refuse(lines: Iterable[Line], words: tuple[str, ...], why: str) -> None:
    for number, line in enumerate(lines, start=1):
        for piece in line.pieces:
            if isinstance(piece, str) and (found := [word for word in words if word in piece]):
                raise Unfit(f"message {number} ({line.role}) says {found[0]}, {why}")
