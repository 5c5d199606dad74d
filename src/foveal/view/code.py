"""Python source as coloured markup."""

from typing import Any

from pygments.lexers import PythonLexer
from pygments.token import STANDARD_TYPES, Comment, Keyword, Name, Number, Operator, String

from foveal.view.html import Html, join, tag

CLASSES = {
    Comment: "co",
    Keyword: "kw",
    Operator.Word: "kw",
    String: "st",
    Number: "nu",
    Name.Function: "fn",
    Name.Class: "fn",
    Name.Builtin: "bi",
    Name.Exception: "bi",
}
"""The few kinds that get a colour; a kind that is not named here takes that of its parent."""


def highlight(source: str) -> Html:
    """Python source as coloured markup; any text is accepted and none is lost."""
    return join(_colour(kind, text) for _, kind, text in PythonLexer().get_tokens_unprocessed(source))


def _colour(kind: Any, text: str) -> str:
    while kind not in CLASSES and kind in STANDARD_TYPES and kind.parent is not None:
        kind = kind.parent
    return tag("span", text, class_=CLASSES[kind]) if kind in CLASSES else text
