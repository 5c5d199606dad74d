"""The boxes that a code cell cut out of the input pictures, read from its syntax tree; the code is never run.

A box is found where its four numbers can be told from the text: `image_1.crop((10, 20, 300, 200))`, or
`x, y = 10, 20` and then `image_1.crop((x, y, x + 64, y + 48))`. The picture may be a piece that was itself cut that way
and not resized since. What depends on anything else (a loop, a branch, a function, a computed value) is not guessed.
"""

import ast
import operator
from collections.abc import Iterator
from typing import NamedTuple

KEEPS_PIXELS = frozenset({"convert", "copy"})
"""Methods of a picture after which a pixel still has the same coordinates."""

ARITHMETIC = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}  # fmt: skip
MAX_NUMBER = 1e9
"""No picture is as large; larger numbers are not followed."""


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
        self._held: dict[str, _Origin | float | list[float]] = {
            f"image_{n}": _Origin(n, 0, 0) for n in range(1, num_images + 1)
        }

    def read(self, source: str) -> list[Box]:
        """The boxes that this cell cuts out, in the order in which they are written. Never raises for the code."""
        found: list[Box] = []
        try:
            for statement in ast.parse(source).body:
                self._statement(statement, found)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return found  # such a cell failed in the sandbox as well, and the page shows its traceback
        return found

    def _statement(self, statement: ast.stmt, found: list[Box]) -> None:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        own = {id(name) for target in targets for name in ast.walk(target)}
        for name in _bound(statement, own):
            self._held.pop(name, None)
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and (box := self._crop(node)) and box not in found:
                found.append(box)
        if isinstance(statement, ast.Assign):
            for target in targets:
                self._assign(target, statement.value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            held = [self._value(element) for element in value.elts]  # all of them before any name changes
            pairs = list(zip(target.elts, held, strict=True))
        elif isinstance(target, ast.Tuple | ast.List):
            pairs = [(element, None) for element in target.elts]
        else:
            pairs = [(target, self._value(value))]
        for name, new in pairs:
            if isinstance(name, ast.Name):
                self._held.pop(name.id, None)
                if new is not None:
                    self._held[name.id] = new

    def _value(self, node: ast.expr) -> "_Origin | float | list[float] | None":
        if (origin := self._origin(node)) is not None:
            return origin
        if (number := self._number(node)) is not None:
            return number
        return self._box(node)

    def _crop(self, call: ast.Call) -> Box | None:
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "crop":
            return None
        given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "box")]
        origin = self._origin(call.func.value)
        box = self._box(given[0]) if given else None
        if origin is None or box is None:
            return None
        left, top, right, bottom = box
        return Box(origin.image, origin.left + left, origin.top + top, origin.left + right, origin.top + bottom)

    def _origin(self, node: ast.expr) -> _Origin | None:
        if isinstance(node, ast.Name):
            held = self._held.get(node.id)
            return held if isinstance(held, _Origin) else None
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        if node.func.attr in KEEPS_PIXELS:
            return self._origin(node.func.value)
        box = self._crop(node)
        return _Origin(box.image, box.left, box.top) if box else None

    def _box(self, node: ast.expr) -> list[float] | None:
        if isinstance(node, ast.Name):
            held = self._held.get(node.id)
            return held if isinstance(held, list) else None
        if not isinstance(node, ast.Tuple | ast.List) or len(node.elts) != 4:
            return None
        numbers = [number for element in node.elts if (number := self._number(element)) is not None]
        return numbers if len(numbers) == 4 else None

    def _number(self, node: ast.expr) -> float | None:
        value: float | None = None
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            value = node.value  # type: ignore[assignment]  # the line above says so
        elif isinstance(node, ast.Name):
            held = self._held.get(node.id)
            value = held if isinstance(held, int | float) else None
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self._number(node.operand)
            value = None if inner is None else -inner
        elif isinstance(node, ast.BinOp) and (compute := ARITHMETIC.get(type(node.op))):
            left, right = self._number(node.left), self._number(node.right)
            if left is None or right is None or (right == 0 and isinstance(node.op, ast.Div | ast.FloorDiv)):
                return None
            value = compute(left, right)
        return value if value is not None and abs(value) <= MAX_NUMBER else None


def _bound(statement: ast.stmt, own: set[int]) -> Iterator[str]:
    """Names that a statement binds in any way but as its own plain targets: their values cannot be told."""
    for node in ast.walk(statement):
        if id(node) in own:
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.ExceptHandler | ast.MatchAs):
            yield node.name or ""
        elif isinstance(node, ast.MatchStar | ast.MatchMapping):
            yield (node.name if isinstance(node, ast.MatchStar) else node.rest) or ""
