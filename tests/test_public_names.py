"""Every public name says what it is, with its shapes and its errors, and every setting is read by something."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import Module, inside, read_house

from homestretch.config.base import Config
from homestretch.config.stages import STAGES

HOUSE = read_house()
DOCS = Path(__file__).resolve().parent.parent / "docs"
MATHEMATICS = ("ops", "algorithms")
SUFFIX = re.compile(r"_[A-Z][A-Z0-9]*$")
SHAPE = re.compile(r"\([A-Z.*][^)]*\)|one shape|any shape|[Ss]calar|elementwise")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(node: ast.AST) -> bool:
    return isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_")


def classes(house: dict[str, Module]) -> dict[str, ast.ClassDef]:
    trees = [ast.parse(module.text) for module in house.values()]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def documented_above(owner: ast.ClassDef, name: str, known: dict[str, ast.ClassDef]) -> bool:
    """Whether a base class, ours or the base of one, says what the method does."""
    for base in owner.bases:
        above = known.get(ast.unparse(base).partition("[")[0].rpartition(".")[2])
        if above is None:
            continue
        own = next((n for n in above.body if isinstance(n, Function) and n.name == name), None)
        if (own is not None and ast.get_docstring(own)) or documented_above(above, name, known):
            return True
    return False


def functions(tree: ast.Module) -> Iterator[tuple[Function, ast.ClassDef | None]]:
    """Public functions and methods of a module, each with its class."""
    for node in filter(public, tree.body):
        if isinstance(node, Function):
            yield node, None
        elif isinstance(node, ast.ClassDef):
            yield from ((inner, node) for inner in filter(public, node.body) if isinstance(inner, Function))


def said(node: Function | ast.ClassDef | None) -> str:
    """A docstring, empty where there is none."""
    return (ast.get_docstring(node) or "") if node is not None else ""


def is_protocol(owner: ast.ClassDef | None) -> bool:
    """A protocol says in its own docstring what its members are."""
    return owner is not None and any("Protocol" in ast.unparse(base) for base in owner.bases)


def undocumented(house: dict[str, Module]) -> list[str]:
    """Modules, classes, functions and methods that say nothing."""
    known, found = classes(house), []
    for name, module in house.items():
        tree = ast.parse(module.text)
        nodes = [node for node in tree.body if isinstance(node, ast.ClassDef) and public(node)]
        found += [name for _ in range(not ast.get_docstring(tree))]
        found += [f"{name}.{node.name}" for node in nodes if not ast.get_docstring(node)]
        for node, owner in functions(tree):
            if ast.get_docstring(node) or is_protocol(owner):
                continue
            if owner is None or not documented_above(owner, node.name, known):
                found.append(f"{name}.{f'{owner.name}.' if owner else ''}{node.name}")
    return found


def raised(node: Function) -> set[str]:
    """Names of the errors that a function raises by itself, those of functions inside it left out."""
    inner = {id(x) for f in ast.walk(node) if isinstance(f, Function) and f is not node for x in ast.walk(f)}
    calls = [x.exc for x in ast.walk(node) if isinstance(x, ast.Raise) and id(x) not in inner]
    names = {ast.unparse(call.func) for call in calls if isinstance(call, ast.Call)}
    return {name for name in names if name.endswith(("Error", "Dependency", "Diverged"))}


def kinds(error: str, known: dict[str, ast.ClassDef]) -> set[str]:
    """The error's own name and those of the errors of ours that it is one of."""
    bases = known[error].bases if error in known else []
    return {error}.union(*(kinds(ast.unparse(base), known) for base in bases))


def silent_errors(house: dict[str, Module]) -> list[str]:
    """Functions that raise what neither they nor their class mention."""
    known = classes(house)
    return [
        f"{name}.{node.name}: {error}"
        for name, module in house.items()
        for node, owner in functions(ast.parse(module.text))
        if not inside(name, "cli")  # their docstrings are help pages, and errors exit codes
        for error in sorted(raised(node))
        if not any(kind in said(node) + said(owner) for kind in kinds(error, known))
    ]


def shapeless(house: dict[str, Module]) -> list[str]:
    """Functions of the mathematics with a tensor whose name has no suffix of its shape and whose docstring none."""
    found = []
    for name, module in house.items():
        if any(inside(name, part) for part in MATHEMATICS):
            for node, owner in functions(ast.parse(module.text)):
                arguments = [*node.args.args, *node.args.kwonlyargs]
                tensors = [a.arg for a in arguments if a.annotation and ast.unparse(a.annotation) == "Tensor"]
                bare = [argument for argument in tensors if not SUFFIX.search(argument)]
                if bare and not is_protocol(owner) and not SHAPE.search(ast.get_docstring(node) or ""):
                    found.append(f"{name}.{node.name}: {', '.join(bare)}")
    return found


def unread(house: dict[str, Module]) -> list[str]:
    """Settings that nothing but the check of settings ever looks at."""
    known, reads = classes(house), set()
    for module in house.values():
        tree = ast.parse(module.text)
        checks = {
            id(x)
            for node in ast.walk(tree)
            if isinstance(node, Function) and any("validator" in ast.unparse(d) for d in node.decorator_list)
            for x in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in checks:
                reads.add(node.attr)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and len(node.args) > 1:
                reads |= {x.value for x in [node.args[1]] if isinstance(x, ast.Constant)}
    return [
        f"{owner.name}.{field.target.id}"
        for owner in known.values()
        if is_config(owner, known)
        for field in owner.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and "ClassVar" not in ast.unparse(field.annotation)
        and field.target.id not in reads
    ]


def is_config(owner: ast.ClassDef, known: dict[str, ast.ClassDef]) -> bool:
    """Whether a class holds settings."""
    names = [ast.unparse(base).partition("[")[0] for base in owner.bases]
    return "Config" in names or any(name in known and is_config(known[name], known) for name in names)


@pytest.mark.parametrize("rule", [undocumented, silent_errors, shapeless, unread])
def test_nothing_public_is_silent(rule) -> None:
    assert rule(HOUSE) == []


def test_settings_of_every_stage_are_on_a_page() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    shown = set(re.findall(r"^::: (homestretch\.config\.\w+)", text, re.MULTILINE))
    needed = {c.__module__ for s in STAGES.values() for c in s.__mro__ if issubclass(c, Config) and c is not Config}
    assert len(needed) >= 18
    assert needed <= shown


OFFENCES = {
    "a module": ("data.x", "x = 1", undocumented),
    "a function": ("data.x", '"""X."""\ndef f(): pass', undocumented),
    "a method": ("data.x", '"""X."""\nclass A:\n    """A."""\n    def f(self): pass', undocumented),
    "an error": ("data.x", '"""X."""\ndef f():\n    """F."""\n    raise InputError("no")', silent_errors),
    "a shape": ("ops.x", '"""X."""\ndef f(logp: Tensor):\n    """F."""', shapeless),
    "a setting": ("config.x", "class A(Config):\n    used: int = 1\n    idle: int = 2\ndef f(a): a.used", unread),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_each_rule_finds_its_offence(offence: str) -> None:
    name, text, rule = OFFENCES[offence]
    assert len(rule({name: Module(name, text)})) == 1


def test_what_is_fine_is_not_found() -> None:
    text = '''"""X."""
class A(Config):
    """A. Raises InputError."""
    beta: float = 1.0
    def f(self, logp_BT: Tensor) -> Tensor:
        """F."""
        raise InputError("no")
class B(A):
    """B."""
    def f(self, logp_BT: Tensor) -> Tensor:
        return self.beta * logp_BT
def _g(x: Tensor): raise InputError("private")
def h(x: Tensor):
    """Scalar of x (B, T)."""
'''
    house = {"ops.x": Module("ops.x", text)}
    assert [rule(house) for rule in (undocumented, silent_errors, shapeless, unread)] == [[], [], [], []]
