"""Mistakes on purpose: each flips a sign, drops a mask, removes a detach or changes a denominator in a copy of the
tree, and the named tests must turn red.

    python tests/mutants.py             all of them
    python tests/mutants.py --quick     a fixed sample
    python tests/mutants.py gae         those whose file or text contains a word

Exits with 1 if one survives, is not found exactly once, or breaks the tests instead of failing them.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mutant_table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parent.parent
QUICK = 12
PYTEST_FAILED = 1  # other codes: no tests, an error while collecting, a wrong call


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `killed`, `survived`, or why it says nothing."""

    mutant: Mutant
    verdict: str
    seconds: float


def copy_tree(target: Path) -> None:
    """What the tests need, without anything that is built or cached."""
    leave = shutil.ignore_patterns("__pycache__", ".hypothesis", ".pytest_cache")
    for folder in ("src", "tests", "recipes", "launch", "docs"):
        shutil.copytree(ROOT / folder, target / folder, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", target)


def run_tests(tree: Path, tests: tuple[str, ...]) -> int:
    """Exit code of pytest on the copy; the same examples of hypothesis every time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    files = [str(Path("tests") / name) for name in tests]
    return subprocess.run([*command, *files], cwd=tree, env=environment, capture_output=True).returncode


def times_found(mutant: Mutant, tree: Path) -> int:
    """How often the text to replace stands in its file."""
    path = tree / mutant.file
    return path.read_text(encoding="utf-8").count(mutant.find) if path.is_file() else 0


def judge(mutant: Mutant, tree: Path) -> Outcome:
    """Apply the mutant to the copy, run its tests, and put the file back."""
    start, path = time.perf_counter(), tree / mutant.file
    if (count := times_found(mutant, tree)) != 1:
        return Outcome(mutant, f"ERROR: text found {count} times", 0.0)
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutant.find, mutant.put), encoding="utf-8")
    try:
        code = run_tests(tree, mutant.tests)
    finally:
        path.write_text(original, encoding="utf-8")
    verdict = {0: "SURVIVED", PYTEST_FAILED: "killed"}.get(code, f"ERROR: pytest exits with {code}")
    return Outcome(mutant, verdict, time.perf_counter() - start)


def chosen(word: str, quick: bool) -> list[Mutant]:
    """The mutants to try."""
    found = [m for m in MUTANTS if word in m.file + m.find]
    return random.Random(0).sample(found, min(QUICK, len(found))) if quick else found


def main() -> int:
    """Try them and print the table."""
    parser = argparse.ArgumentParser(description="Apply mistakes on purpose; every one must turn a test red.")
    parser.add_argument("word", nargs="?", default="", help="only mutants whose file or text contains this")
    parser.add_argument("--quick", action="store_true", help=f"a fixed sample of {QUICK}")
    options = parser.parse_args()
    mutants = chosen(options.word, options.quick)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        tests = tuple(sorted({name for mutant in mutants for name in mutant.tests}))
        if not mutants or run_tests(tree, tests) != 0:
            print(f"The tests must pass before anything is broken: {', '.join(tests) or 'no mutant fits'}.")
            return 1
        outcomes = []
        for mutant in mutants:
            outcomes.append(judge(mutant, tree))
            last = outcomes[-1]
            change = f"{mutant.find.strip()}  =>  {mutant.put.strip() or '(nothing)'}"
            print(f"{last.verdict:10s} {last.seconds:5.1f} s  {mutant.file}: {' '.join(change.split())}", flush=True)
    alive = [outcome for outcome in outcomes if outcome.verdict != "killed"]
    print(f"{len(outcomes) - len(alive)} of {len(outcomes)} killed.")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
