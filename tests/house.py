"""Reading the package as text: its modules and what each imports. The rules are in test_layers.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"


@dataclass(frozen=True)
class Import:
    """One imported name: `target` is a dotted path, `lazy` is True inside a function."""

    target: str
    line: int
    lazy: bool


@dataclass(frozen=True)
class Module:
    """A module by its name under the package ("" is the package itself), its text, and whether it is an __init__."""

    name: str
    text: str
    package: bool = False

    def imports(self) -> list[Import]:
        """Everything it imports, except under `if TYPE_CHECKING`, where a name is no dependency."""
        return list(self._walk(ast.parse(self.text), lazy=False))

    def _walk(self, node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = self._base(child)
                yield from (Import(f"{base}.{alias.name}", child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
                yield from self._walk(ast.Module(child.orelse, []), lazy)
            else:
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._walk(child, lazy or inside)

    def _base(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        here = ["homestretch", *filter(None, self.name.split("."))]
        up = node.level - self.package
        return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


House = dict[str, Module]


def read_house() -> House:
    """Every module under src, by name."""
    house = {}
    for path in sorted((SRC / "homestretch").rglob("*.py")):
        parts = path.relative_to(SRC / "homestretch").with_suffix("").parts
        package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if package else parts)
        house[name] = Module(name, path.read_text(encoding="utf-8"), package)
    return house


def inside(name: str, part: str) -> bool:
    """Whether the module is the part or lies in it."""
    return name == part or name.startswith(f"{part}.")


def ours(house: House, target: str) -> str | None:
    """Name of our module that a dotted path means; None for a path outside the package."""
    if target.split(".")[0] != "homestretch":
        return None
    name = target.removeprefix("homestretch").removeprefix(".")
    while name not in house and name:
        name = name.rpartition(".")[0]
    return name
