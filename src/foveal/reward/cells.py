"""Which code cells compute nothing: judged by what they say (their syntax tree) and by what came of them."""

import ast
import json
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from foveal.trajectory import CellResult, ToolCall, Trajectory

INERT = (
    *(ast.Module, ast.Expr, ast.Pass, ast.Constant, ast.JoinedStr, ast.FormattedValue, ast.Name, ast.Load, ast.Store),
    *(ast.Assign, ast.AnnAssign, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.keyword, ast.Import, ast.ImportFrom),
    *(ast.alias, ast.UnaryOp, ast.USub),
)
"""Syntax that only says what it already knows; besides it, calls of `print`."""


class ParsedCode(NamedTuple):
    """A cell's syntax tree and its normal form."""

    tree: ast.Module
    text: str
    """The same for cells that differ in comments and layout only."""


def parse_code(code: str) -> ParsedCode | None:
    """The syntax tree of a cell; None if it is not Python, or too deep to be read."""
    try:
        with warnings.catch_warnings():  # of the model's code, such as odd escapes in its strings
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
        return ParsedCode(tree, ast.unparse(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_placeholder(code: str, cell: CellResult, later: Sequence[str]) -> bool:
    """Whether a cell did nothing for the trajectory.

    True if no later cell uses a name that this one made or changed, and it either holds nothing but comments, literals,
    imports and prints of literals, or ran without output, result or picture. A cell that failed is no placeholder.

    Args:
        code: The cell.
        cell: What it gave back.
        later: Code of the later cells of the trajectory.
    """
    parsed = parse_code(code)
    if parsed is None or cell.status != "ok":
        return False
    silent = not (cell.stdout.strip() or cell.result or cell.images)
    if not (silent or _is_inert(parsed.tree)):
        return False
    touched = _touched(parsed.tree)
    return not any(touched & _loaded(after) for after in later)


def cells_of(trajectory: Trajectory) -> Iterator[tuple[str, CellResult]]:
    """Code and result of every cell that ran."""
    for turn in trajectory.turns:
        if turn.call is not None and turn.observation is not None and turn.observation.cell is not None:
            yield str(turn.call.arguments.get("code", "")), turn.observation.cell


def placeholders(cells: Sequence[tuple[str, CellResult]]) -> list[int]:
    """Numbers of the cells, of all that a trajectory ran, that did nothing."""
    codes = [code for code, _ in cells]
    return [number for number, (code, cell) in enumerate(cells) if is_placeholder(code, cell, codes[number + 1 :])]


def call_key(call: ToolCall) -> str:
    """The same for calls that do the same: comments and spacing in code do not count."""
    code = call.arguments.get("code")
    tree = parse_code(code) if call.tool == "code" and isinstance(code, str) else None
    if tree is not None:
        return tree.text
    return json.dumps([call.tool, call.arguments], sort_keys=True)


def _is_inert(tree: ast.Module) -> bool:
    """Whether a cell reads nothing from outside and computes nothing."""
    bound = {"print"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id == "print"):
                return False
        elif not isinstance(node, INERT) or (isinstance(node, ast.Name) and node.id not in bound):
            return False
    return True


def _touched(tree: ast.Module) -> set[str]:
    """Names that a cell binds, stores into, or calls methods of: `x = 1`, `x[0] = 1`, `x.append(1)`, `import x`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(_root(node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            names.add(_root(node.func))
    return names - {""}


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _loaded(code: str) -> set[str]:
    parsed = parse_code(code)
    nodes = ast.walk(parsed.tree) if parsed else ()
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
