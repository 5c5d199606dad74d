"""HTML that escapes by construction: text is escaped unless it is already `Html`.

A trajectory is text that a model and the web wrote, so nothing of it may reach a page as markup. Only `tag` and `join`
make `Html`; everything else that they are given is escaped.
"""

from collections.abc import Iterable
from html import escape

VOID = frozenset({"img", "meta", "input", "link"})


class Html(str):
    """A piece of finished markup."""


def tag(name: str, /, *children: str | None, **attributes: str | int | float | bool | None) -> Html:
    """One element.

    Args:
        name: Element name, written by us.
        children: `Html` is taken as it is, other text is escaped, None is left out.
        attributes: `class_` for `class`, `data_x` for `data-x`. True gives a bare attribute; False and None none.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Markup of several children, one after the other."""
    return Html("".join(c if isinstance(c, Html) else escape(c) for c in children if c is not None))


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
