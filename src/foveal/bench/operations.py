"""What calls were for, in the kinds of the paper (appendix A.6): crop, mark, numeric, other; and searches.

The paper does not say how a cell is told to be of a kind. Here a cell is of the first of these kinds that its syntax
tree shows, so one that cuts out a piece and then draws on it is a crop.
"""

import ast
from collections.abc import Iterator

from foveal.reward.cells import parse_code
from foveal.trajectory import ToolCall, Trajectory

SEARCHES = ("search", "image_search", "visit")
"""Tools whose calls are a kind of their own; the paper has no visits."""

OPERATIONS = ("crop", "mark", "numeric", "other", *SEARCHES)
"""Kinds of calls; the first four are kinds of code cells."""

MARKS = frozenset({
    "Draw", "rectangle", "rounded_rectangle", "ellipse", "polygon", "polylines", "line", "arrowedLine", "circle",
    "drawMarker", "putText", "arc", "pieslice", "axvline", "axhline", "axvspan", "axhspan", "annotate", "add_patch",
})  # fmt: skip
"""Methods that draw onto a picture: of Pillow, OpenCV and matplotlib."""

NUMERIC_MODULES = frozenset(
    {"math", "cmath", "numpy", "scipy", "sympy", "statistics", "fractions", "decimal", "pandas"}
)
COMPUTING = frozenset({"sum", "round", "divmod", "pow"})
"""Builtin functions that compute."""


REFUSED = ("format", "unknown_tool", "arguments", "limit")
"""Errors of calls that were not carried out."""


def carried_out(trajectory: Trajectory) -> Iterator[ToolCall]:
    """The calls that were carried out, in order. One that failed on the way was; one that was refused was not."""
    for turn in trajectory.turns:
        seen = turn.observation
        if turn.call is not None and seen is not None and (seen.error is None or seen.error.kind not in REFUSED):
            yield turn.call


def operation(call: ToolCall) -> str:
    """The kind of a call; a tool that is not known here is `other`."""
    if call.tool in SEARCHES:
        return call.tool
    code = call.arguments.get("code") if call.tool == "code" else None
    return cell_kind(code) if isinstance(code, str) else "other"


def cell_kind(code: str) -> str:
    """`crop`, `mark`, `numeric` or `other`; code that is no Python is `other`."""
    parsed = parse_code(code)
    nodes = list(ast.walk(parsed.tree)) if parsed is not None else []
    for kind, shows in (("crop", _crops), ("mark", _marks), ("numeric", _computes)):
        if any(map(shows, nodes)):
            return kind
    return "other"


def _crops(node: ast.AST) -> bool:
    """`picture.crop(...)`, or a piece of an array: `a[10:50, 20:80]`."""
    if isinstance(node, ast.Call):
        return _method(node) == "crop"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        return sum(isinstance(one, ast.Slice) and bool(one.lower or one.upper) for one in node.slice.elts) >= 2
    return False


def _marks(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _method(node) in MARKS


def _computes(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(left=left, op=op):
            text = isinstance(left, ast.JoinedStr) or (isinstance(left, ast.Constant) and isinstance(left.value, str))
            return (
                isinstance(op, ast.Add | ast.Sub | ast.Mult | ast.Div | ast.FloorDiv | ast.Mod | ast.Pow) and not text
            )
        case ast.AugAssign():
            return True
        case ast.Import(names=names):
            return any(name.name.partition(".")[0] in NUMERIC_MODULES for name in names)
        case ast.ImportFrom(module=str(module)):
            return module.partition(".")[0] in NUMERIC_MODULES
        case ast.Call(func=ast.Name(id=name)):
            return name in COMPUTING
        case _:
            return False


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
