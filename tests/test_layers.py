"""The house: which part may lean on which. The tables are the picture; everything below them only reads it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from house import ROOT, SRC, House, Module, inside, ours, read_house

# From the roof to the cellar; a part imports from its own floor and the floors below. A module at the top of the
# package that is not named here is a small tool and lives in the cellar.
FLOORS = [
    ["cli", "__main__"],
    ["verbs"],
    ["training.pipeline", "training.stages", "evaluate"],
    ["training"],
    ["algorithms", "policies", "generation", "rewards", "negatives", "data", "metrics", "report"],
    ["ops", "batch", "config", "results", "compared", "lab", "ordered"],
    ["errors"],
]

# These know even less than their floor allows: nothing of ours but what stands here (and their own files).
ONLY = {
    "ops": [],
    "batch": ["ops"],
    "errors": [],
    "config": ["errors"],
    "results": ["writing", "errors"],
    "writing": ["ranks", "errors"],
    "compared": ["results", "errors"],
    "lab": ["results", "errors"],
    "ordered": ["results"],
    "algorithms": ["ops", "batch", "config", "errors"],
    "report": ["results", "writing", "compared", "lab", "ordered", "alarms", "pairing", "errors"],
    "pairing": [],
    "alarms": [],
    "rewards.shaping": [],
}

# Each of these packages is imported in these parts and nowhere else.
MODEL_PARTS = ["training", "policies", "generation", "rewards", "data", "metrics.learned", "metrics.bleurt"]
HOMES = {"transformers": MODEL_PARTS, "peft": MODEL_PARTS, "accelerate": MODEL_PARTS}

# Never torch, neither directly, nor in a function, nor through anything that is imported.
NO_TORCH = ["errors", "config", "costs", "alarms", "results", "compared", "lab", "ordered", "report", "negatives"]
NO_TORCH += ["data.records", "metrics.text", "metrics.stats", "metrics.failures", "metrics.agreement"]

# No torch when imported; a function may load it when work starts. "" is `import homestretch`.
LAZY_TORCH = ["", "cli", "data.sources"]

BRINGS_TORCH = {"torch", "transformers", "peft", "accelerate", "safetensors.torch"}
FORBIDDEN_NAMES = {"utils.py", "util.py", "helpers.py", "misc.py"}
FILE_LINES = 300
FUNCTION_LINES = 60
OPS_LINES = 30  # without the docstring
AT_LEAST_FILES = 120


def floor(name: str) -> int:
    """Index in FLOORS; the longest part that fits decides."""
    fits = [(len(part), level) for level, parts in enumerate(FLOORS) for part in parts if inside(name, part)]
    return max(fits)[1] if fits else len(FLOORS) - 1


def wrong_directions(house: House) -> list[str]:
    """Imports from a floor above, or of something that ONLY does not list."""
    found = []
    for name, module in house.items():
        for imported in module.imports():
            target = ours(house, imported.target)
            if target is None or not name:
                continue
            place = f"{name}:{imported.line} imports {target or 'homestretch'}"
            if floor(target) < floor(name) or not target:
                found.append(f"{place}, from a floor above")
            for part, allowed in ONLY.items():
                if inside(name, part) and not any(inside(target, a) for a in [part, *allowed]):
                    found.append(f"{place}; {part} may import only {allowed}")
    return found


def strangers(house: House) -> list[str]:
    """Packages imported outside their homes."""
    return [
        f"{name}:{imported.line} imports {imported.target}"
        for name, module in house.items()
        for imported in module.imports()
        for package, homes in HOMES.items()
        if inside(imported.target, package) and not any(inside(name, home) for home in homes)
    ]


def path_to_torch(house: House, name: str, *, also_lazy: bool, seen: set[str] | None = None) -> list[str]:
    """Modules from `name` to the one that imports torch, ending in what it imports; empty if there is no such way."""
    seen = seen if seen is not None else set()
    if name in seen:
        return []
    seen.add(name)
    above = [name.rpartition(".")[0]] if name else []
    for imported in house[name].imports() if name in house else []:
        if imported.lazy and not also_lazy:
            continue
        if any(inside(imported.target, heavy) for heavy in BRINGS_TORCH):
            return [name, imported.target]
        target = ours(house, imported.target)
        above += [] if target is None else [target]
    for target in above:
        if way := path_to_torch(house, target, also_lazy=False, seen=seen):
            return [name, *way]
    return []


def torch_reached(house: House) -> list[str]:
    """Ways to torch from parts that must not know it."""
    found = []
    for name in house:
        strict = any(inside(name, part) for part in NO_TORCH)
        if strict or any(inside(name, part) if part else not name for part in LAZY_TORCH):
            way = path_to_torch(house, name, also_lazy=strict)
            found += [" -> ".join(step or "homestretch" for step in way)] if way else []
    return found


def long_functions(name: str, text: str) -> list[str]:
    """Functions that do not fit a screen; in ops the docstring does not count and the screen is smaller."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            docstring = node.body[0] if ast.get_docstring(node) is not None else None
            bare = lines - ((docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0)
            if lines > FUNCTION_LINES or (inside(name, "ops") and bare > OPS_LINES):
                found.append(f"{name}:{node.lineno} {node.name} has {lines} lines")
    return found


HOUSE = read_house()


def test_the_whole_house_was_read() -> None:
    parts = {part for floor_parts in FLOORS for part in floor_parts} | set(NO_TORCH) | set(LAZY_TORCH) | set(ONLY)
    missing = [part for part in parts if part not in HOUSE]
    assert missing == [], "a rule speaks of modules that are not there"
    assert len(HOUSE) >= AT_LEAST_FILES
    on_disk = sum(name.endswith(".py") for _, _, names in os.walk(SRC / "homestretch") for name in names)
    assert len(HOUSE) == on_disk


def test_imports_point_downwards() -> None:
    assert wrong_directions(HOUSE) == []


def test_model_libraries_stay_in_their_parts() -> None:
    assert strangers(HOUSE) == []


def test_parts_without_torch_cannot_reach_it() -> None:
    assert torch_reached(HOUSE) == []


def test_importing_them_loads_no_torch() -> None:
    light = [m for m in HOUSE if any(inside(m, part) if part else not m for part in NO_TORCH + LAZY_TORCH)]
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = [m for m in ('torch', 'transformers', 'peft', 'accelerate') if m in sys.modules]\n"
        "    if heavy: sys.exit(f'{name} loads {heavy}')\n"
    )
    names = [f"homestretch.{name}".rstrip(".") for name in light if not name.endswith("__main__")]
    assert {"homestretch", "homestretch.config"} <= set(names)
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", program, *names], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_that_plots_nothing_does_not_wait_for_plotting() -> None:
    program = (
        "import sys, transformers.generation.candidate_generator\n"  # older ones load scikit-learn themselves
        "slow = {'sklearn', 'pandas', 'matplotlib'} - set(sys.modules)\n"
        "import homestretch.training.pipeline\n"
        "sys.exit(str(sorted(slow & set(sys.modules)) or ''))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_files_and_functions_are_small() -> None:
    paths = [*SRC.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {str(path): lines for path, lines in lengths.items() if lines > FILE_LINES} == {}
    assert [str(path) for path in lengths if path.name in FORBIDDEN_NAMES] == []
    assert [line for name, module in HOUSE.items() for line in long_functions(name, module.text)] == []


OFFENCES = {
    "an upper floor": ("data.x", "from homestretch.training import loop", wrong_directions),
    "the command line": ("training.stages", "import homestretch.cli.main", wrong_directions),
    "in a function": ("policies.x", "def f():\n    from homestretch.training.stages import run", wrong_directions),
    "a relative path": ("ops.x", "from .. import batch", wrong_directions),
    "the package itself": ("data.x", "import homestretch", wrong_directions),
    "not listed": ("report.x", "from homestretch.metrics import text", wrong_directions),
    "a tool that knows a part": ("seeds", "from homestretch.data import records", wrong_directions),
    "a model library": ("algorithms.x", "import peft.tuners", strangers),
    "torch": ("results", "import torch.nn", torch_reached),
    "torch in a function": ("negatives.x", "def f():\n    from torch import Tensor", torch_reached),
    "torch further down": ("report.x", "from homestretch.batch import LossTerms", torch_reached),
    "torch in the package above": ("data.records", "import json", torch_reached),
    "torch at the first import": ("cli.main", "from homestretch.ops import masks", torch_reached),
}


@pytest.mark.parametrize("offence", OFFENCES)
def test_each_rule_finds_its_offence(offence: str) -> None:
    name, text, rule = OFFENCES[offence]
    above = "import torch" if offence == "torch in the package above" else ""
    around = ["", "ops", "cli", "cli.main", "data", "data.records", "metrics", "metrics.text", "training"]
    around += ["training.loop", "training.stages", "report", "negatives", "policies", "seeds", "results"]
    house = {part: Module(part, "", part not in {"cli.main", "data.records"}) for part in around}
    house |= {part: Module(part, "import torch") for part in ["ops.masks", "batch"]}
    assert rule(house) == []
    house |= {"data": Module("data", above, True), name: Module(name, text)}
    assert len(rule(house)) == 1


def test_what_is_allowed_is_not_found() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n    import homestretch.cli"
    lazy = "def f():\n    import torch"
    house = {name: Module(name, text) for name, text in {"report.x": typed, "cli.main": lazy, "ops.x": ""}.items()}
    house |= {name: Module(name, "", True) for name in ["", "report", "cli", "ops"]}
    for rule in (wrong_directions, strangers, torch_reached):
        assert rule(house) == []


def test_a_long_function_is_found() -> None:
    body = "    x = 1\n"
    assert long_functions("data.x", "def f():\n" + body * 59) == []
    assert len(long_functions("data.x", "def f():\n" + body * 60)) == 1
    assert len(long_functions("ops.x", "def f():\n" + body * 30)) == 1
    assert long_functions("ops.x", 'def f():\n    """One\n    two.\n    """\n' + body * 29) == []
