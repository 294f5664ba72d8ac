"""Pairs out of source files, parsed in a few processes; nothing is imported, so no package's code runs.

The processes are started as `python -m homestretch.data.docstring_harvest`, and not by multiprocessing, whose children
would run the user's script again.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from homestretch.data.docstring_filters import BODY_WORDS, SUMMARY_WORDS, Pair, pair_of

STDLIB = "python"
_SKIPPED_FOLDERS = {"tests", "test", "testing", "_testing", "site-packages", "dist-packages", "idlelib", "lib2to3",
                    "turtledemo", "ensurepip", "__pycache__", "_vendor", "vendor"}  # fmt: skip
_SKIPPED_PATHS = ("transformers/models",)  # four fifths of its bytes, and mostly one text copied many times
_QUOTED = re.compile(rb'(?:"""|\'\'\')(.*?)(?:"""|\'\'\')', re.DOTALL)
_MAX_WORKERS = 8


def harvest(packages: list[str]) -> dict[str, list[Pair]]:
    """Pairs of each package that is installed, in the order of file names and lines.

    `Pair.name` is `package/path.py:line` of the docstring.
    """
    files = {name: file for package in packages for name, file in _files(package)}
    by_size = sorted(files, key=lambda name: (-files[name].stat().st_size, name))
    shares = [by_size[i :: _workers()] for i in range(_workers())]
    running = [_start() for _ in shares]
    for process, share in zip(running, shares, strict=True):
        assert process.stdin is not None
        process.stdin.write("".join(json.dumps([name, str(files[name])]) + "\n" for name in share))
        process.stdin.close()
    pairs = [Pair(*json.loads(line)) for process in running for line in _output(process)]
    order = {name: i for i, name in enumerate(files)}
    pairs.sort(key=lambda pair: (order[_file(pair)], int(pair.name.rpartition(":")[2])))
    return {package: [p for p in pairs if p.name.split("/")[0] == package] for package in packages}


def _file(pair: Pair) -> str:
    return pair.name.rpartition(":")[0]


def _workers() -> int:
    return max(1, min(os.cpu_count() or 1, _MAX_WORKERS))


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """(`package/path.py`, file) of every source file of an installed package, sorted."""
    for root in _roots(package):
        if root.suffix == ".py":
            yield f"{package}/{root.name}", root
            continue
        for folder, folders, names in os.walk(root):
            here = package / Path(folder).relative_to(root)
            folders[:] = sorted(
                f for f in set(folders) - _SKIPPED_FOLDERS if (here / f).as_posix() not in _SKIPPED_PATHS
            )
            for name in sorted(names):
                if name.endswith(".py") and not name.startswith("test_") and name != "conftest.py":
                    yield (here / name).as_posix(), Path(folder, name)


def _roots(package: str) -> list[Path]:
    if package == STDLIB:
        return [Path(sysconfig.get_paths()["stdlib"])]
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(p) for p in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


def _start() -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or str(Path.cwd()) for p in sys.path)}
    command = [sys.executable, "-m", "homestretch.data.docstring_harvest"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _output(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    lines = process.stdout.readlines()
    process.stdout.close()
    if process.wait():
        raise RuntimeError(f"a process that parses docstrings ended with {process.returncode}; its message is above.")
    return lines


def pairs_of_file(name: str, file: str) -> Iterator[Pair]:
    """Pairs of one source file; a file that is not valid Python has none."""
    source = Path(file).read_bytes()
    quoted = (m[1].decode("utf-8", "replace") for m in _QUOTED.finditer(source))
    if not any(pair_of(text, name) for text in quoted):  # half of the files need no parsing
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    for node in _documented(tree):
        text = ast.get_docstring(node, clean=False)
        if text and len(text.split()) >= SUMMARY_WORDS.start + BODY_WORDS.start:
            pair = pair_of(text, f"{name}:{node.body[0].lineno}")
            if pair:
                yield pair


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Nodes that may have a docstring. Looks into statements only: expressions are most of a tree and have none."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        for block in ("body", "orelse", "handlers", "finalbody"):
            inside = getattr(node, block, [])
            waiting.extend(inside if isinstance(inside, list) else [])


def _work() -> None:
    """Names and files in, pairs out, all at the end: a full pipe must not stop the parsing."""
    pairs = [pair for line in sys.stdin.readlines() for pair in pairs_of_file(*json.loads(line))]
    sys.stdout.write("".join(json.dumps(pair) + "\n" for pair in pairs))


if __name__ == "__main__":
    _work()
