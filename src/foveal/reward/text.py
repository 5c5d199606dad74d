"""Answers as they are compared: without the wrapping that says nothing."""

import re
import unicodedata

_SUPERSCRIPT = {ord(raised): plain for raised, plain in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)}
_POWER = re.compile(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LEAD = re.compile(
    r"(?:so |thus,? |therefore,? )?(?:the )?(?:correct |final |right )?(?:answer|option|choice)(?: is)?\s*[:：]?\s+|"
    r"(?:the )?(?:final )?answer\s*[:：]",
    re.IGNORECASE,
)
_WRAPS = (
    re.compile(r"\\boxed\{(.*)\}", re.DOTALL),
    re.compile(r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}"),
    re.compile(r"\\\((.*)\\\)", re.DOTALL),
    re.compile(r"\$\$?([^$]*)\$\$?"),
    re.compile(r"\*\*([^*]*)\*\*"),
    re.compile(r"`([^`]*)`"),
    re.compile(r"[\"“]([^\"“”]*)[\"”]"),
)


def normalise(text: str) -> str:
    """The text as `exact` compares it.

    NFKC with raised digits as powers (10⁵ is not 105), case folded, white space collapsed, one full stop at the end
    dropped.
    """
    return " ".join(unicodedata.normalize("NFKC", with_powers(text)).casefold().split()).removesuffix(".")


def with_powers(text: str) -> str:
    """The text with raised digits written as powers: m² is m^2."""
    return _POWER.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPT), text)


def unwrapped(text: str) -> str:
    r"""The text without what is put around a final answer: "The answer is ", `**`, `$`, `\boxed{}`, a full stop."""
    text = text.strip()
    while True:
        before = text
        text = _LEAD.sub("", text, count=1) if _LEAD.match(text) else text
        text = text.strip().removesuffix(".").rstrip()
        for wrap in _WRAPS:
            if whole := wrap.fullmatch(text):
                text = whole[1].strip()
        if text == before:
            return text
