"""One mistake on purpose: in this file, this text, replaced by that, must turn these tests red."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`find` stands exactly once in `file`; `tests` are files of this folder."""

    file: str
    find: str
    put: str
    tests: tuple[str, ...]


def of(module: str, test: str, *changes: tuple[str, str]) -> list[Mutant]:
    """Mutants of one module; `test` names files of this folder without their ending."""
    tests = tuple(f"{name}.py" for name in test.split())
    return [Mutant(f"src/homestretch/{module}.py", find, put, tests) for find, put in changes]
