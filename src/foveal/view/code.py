"""What a page shows of a code cell: the highlighted source, and the boxes that it cut out of the pictures.

Boxes are read from the syntax tree, the code is never run. A box is found where the code cuts a literal box
(`image_1.crop((10, 20, 300, 200))`, or a name that holds such a box) out of an input picture, or out of a piece of one
that was itself cut with a literal box and not resized since. Computed boxes are not guessed.
"""

import ast
from typing import Any, NamedTuple

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

KEEPS_PIXELS = frozenset({"convert", "copy"})
"""Methods of a picture after which a pixel still has the same coordinates."""


def highlight(source: str) -> Html:
    """Python source as coloured markup; any text is accepted and none is lost."""
    return join(_colour(kind, text) for _, kind, text in PythonLexer().get_tokens_unprocessed(source))


def _colour(kind: Any, text: str) -> str:
    while kind not in CLASSES and kind in STANDARD_TYPES and kind.parent is not None:
        kind = kind.parent
    return tag("span", text, class_=CLASSES[kind]) if kind in CLASSES else text


class Box(NamedTuple):
    """A box on an input picture, in its pixels."""

    image: int
    """Number of the picture: 1 for `image_1`."""
    left: float
    top: float
    right: float
    bottom: float


class _Origin(NamedTuple):
    """Where a picture in the session came from: input picture and the position of its corner there."""

    image: int
    left: float
    top: float


class CropReader:
    """Reads the cells of one trajectory in order; what a name holds carries over, as in the session."""

    def __init__(self, num_images: int):
        self._pictures = {f"image_{n}": _Origin(n, 0, 0) for n in range(1, num_images + 1)}
        self._boxes: dict[str, tuple[float, ...]] = {}

    def read(self, source: str) -> list[Box]:
        """The boxes that this cell cuts out, in the order in which they are written. Never raises for the code."""
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []  # the cell failed in the sandbox as well, and the page shows its traceback
        found: list[Box] = []
        for statement in tree.body:
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and (box := self._crop(node)) and box not in found:
                    found.append(box)
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                self._assign(statement.targets[0].id, statement.value)
        return found

    def _assign(self, name: str, value: ast.expr) -> None:
        self._pictures.pop(name, None)
        self._boxes.pop(name, None)
        if origin := self._origin(value):
            self._pictures[name] = origin
        elif box := self._literal(value):
            self._boxes[name] = box

    def _crop(self, call: ast.Call) -> Box | None:
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "crop":
            return None
        given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "box")]
        origin = self._origin(call.func.value)
        box = self._literal(given[0]) if given else None
        if origin is None or box is None:
            return None
        left, top, right, bottom = box
        return Box(origin.image, origin.left + left, origin.top + top, origin.left + right, origin.top + bottom)

    def _origin(self, node: ast.expr) -> _Origin | None:
        if isinstance(node, ast.Name):
            return self._pictures.get(node.id)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        if node.func.attr in KEEPS_PIXELS:
            return self._origin(node.func.value)
        box = self._crop(node)
        return _Origin(box.image, box.left, box.top) if box else None

    def _literal(self, node: ast.expr) -> tuple[float, ...] | None:
        if isinstance(node, ast.Name):
            return self._boxes.get(node.id)
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, RecursionError, MemoryError):
            return None
        is_box = isinstance(value, tuple | list) and len(value) == 4
        return tuple(value) if is_box and all(type(v) in (int, float) for v in value) else None
