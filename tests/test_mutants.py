"""The table of mistakes fits the code, and the runner tells a killed mutant from one that survives or says nothing."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest
from mutant_table import MUTANTS, Mutant


def test_each_text_is_found_once_and_its_tests_exist() -> None:
    assert len(MUTANTS) >= 90
    assert [m for m in MUTANTS if mutants.times_found(m, mutants.ROOT) != 1] == []
    assert [m for m in MUTANTS if not all((mutants.ROOT / "tests" / name).is_file() for name in m.tests)] == []
    assert [m for m in MUTANTS if m.find == m.put] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("find", "put", "verdict"),
    [
        ("a + b", "a - b", "killed"),
        ("a + b", "b + a", "SURVIVED"),
        ("a + b", "a +", "ERROR: pytest exits with 2"),
        ("a * b", "a", "ERROR: text found 0 times"),
        ("b", "a", "ERROR: text found 2 times"),
    ],
)
def test_verdicts(tmp_path: Path, find: str, put: str, verdict: str) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "tests").mkdir()
    text = "def f(a, b):\n    return a + b\n"
    (tmp_path / "src" / "add.py").write_text(text)
    (tmp_path / "tests" / "test_add.py").write_text("from add import f\n\n\ndef test_add():\n    assert f(1, 2) == 3\n")
    outcome = mutants.judge(Mutant("src/add.py", find, put, ("test_add.py",)), tmp_path)
    assert outcome.verdict == verdict
    assert (tmp_path / "src" / "add.py").read_text() == text


def test_quick_is_a_fixed_sample() -> None:
    assert mutants.chosen("", True) == mutants.chosen("", True)
    assert len(mutants.chosen("", True)) == mutants.QUICK < len(mutants.chosen("", False)) == len(MUTANTS)
