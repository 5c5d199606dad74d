"""The layout is a direction: a module imports only what stands before it in `ORDER`."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"

ORDER = [
    *("errors", "files", "config", "retry", "trajectory", "records", "prompts", "parse", "protocol"),
    *("tools", "policy", "agent", "reward", "asking", "curate", "train", "view", "bench", "micro"),
    *("integrations", "serve", "cli"),
]

NEIGHBOURS_APART = {("tools", "policy"), ("policy", "tools")}
"""Stand side by side: neither knows of the other."""

VIEW_MAY_IMPORT = {"config", "errors", "trajectory", "records"}

HEAVY = {"torch", "transformers", "accelerate", "peft", "safetensors"}

MAY_IMPORT_HEAVY = (
    "foveal.train.",
    "foveal.micro.",
    *(
        f"foveal.policy.{name}"
        for name in ("transformers", "tower", "engine", "cache", "sampling", "encoding", "patches")
    ),
)
"""The whole of `foveal.micro` trains and runs its own model; `LIGHT_MICRO` is what has to do without it."""

NOT_INSTALLED = {"foveal.integrations.inspect"}
"""Imports inspect-ai, which cannot stand beside the packages of development: `make check-inspect`."""

LIGHT_MICRO = {f"foveal.micro.{name}" for name in ("facts", "scenes", "questions", "teacher", "library")}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SRC / "foveal").rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str, source: str, is_package: bool) -> Iterator[str]:
    """Absolute names of everything that a module imports at any level, functions included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            # `from foveal import x` names the module x; `from foveal.x import y` already names it in the base.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def top(name: str) -> str:
    """`tools` of `foveal.tools.session`; `` of `foveal`."""
    return [*name.split("."), ""][1]


def back_edges(module: str, source: str, is_package: bool = False) -> list[str]:
    own = top(module)
    wrong = []
    for name in imported(module, source, is_package):
        if not name.startswith("foveal.") or name == "foveal.__version__":
            continue
        other = top(name)
        if own == other:
            continue
        # The package itself (`own` is empty) imports nothing, or importing any part would import everything.
        forbidden = not own or ORDER.index(other) > ORDER.index(own) or (own, other) in NEIGHBOURS_APART
        if forbidden or (own == "view" and other not in VIEW_MAY_IMPORT):
            wrong.append(f"{module} imports {name}")
    return wrong


def heavy_imports(module: str, source: str, is_package: bool = False) -> list[str]:
    # A command may import inside its function; that nothing heavy is loaded before that is tested by loading it.
    if module.startswith("foveal.cli.") or (module.startswith(MAY_IMPORT_HEAVY) and module not in LIGHT_MICRO):
        return []
    return [f"{module} imports {name}" for name in imported(module, source, is_package) if name.split(".")[0] in HEAVY]


def test_every_package_has_its_place():
    assert {top(module) for module in modules()} <= {"", *ORDER}


def test_imports_go_one_way():
    wrong = [
        edge
        for module, path in modules().items()
        for edge in back_edges(module, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]
    assert wrong == []


def test_only_the_permitted_modules_import_torch():
    wrong = [
        name
        for module, path in modules().items()
        for name in heavy_imports(module, path.read_text(encoding="utf-8"), path.name == "__init__.py")
    ]
    assert wrong == []


def test_the_walk_finds_back_edges():
    assert back_edges("foveal.tools.session", "from foveal.agent import Agent")
    assert back_edges("foveal.tools.session", "from foveal import agent")
    assert back_edges("foveal.tools.session", "def f():\n    import foveal.policy.base")
    assert back_edges("foveal.policy.openai", "from ..tools import session")
    assert back_edges("foveal.policy", "from ..tools import session", is_package=True)
    assert back_edges("foveal.policy", "from .. import agent", is_package=True)
    assert back_edges("foveal.policy", "from . import base", is_package=True) == []
    assert back_edges("foveal.view.pages", "from foveal.protocol import parse_turn")
    assert back_edges("foveal", "from foveal.agent import Agent", is_package=True)
    assert back_edges("foveal.agent", "from foveal.tools.session import Tools\nfrom foveal import __version__") == []
    assert heavy_imports("foveal.agent", "def f():\n    from torch import nn")
    assert heavy_imports("foveal.micro.facts", "import torch")
    assert heavy_imports("foveal.train.loss", "import torch") == []


def test_light_modules_load_no_torch():
    modest = modules().keys() - NOT_INSTALLED
    light = sorted(name for name in modest if not name.startswith(MAY_IMPORT_HEAVY) or name in LIGHT_MICRO)
    program = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = {HEAVY!r} & set(sys.modules)\n"
        "    assert not loaded, f'{name} loads {loaded}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
