"""The bandit of the MODPO experiment: training ends where the closed form says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from scripts import loaded

FILE = Path(__file__).resolve().parent.parent / "experiments" / "modpo" / "bandit.py"


@pytest.fixture(scope="module")
def bandit() -> ModuleType:
    return loaded("modpo_bandit", "modpo/bandit.py")


@pytest.mark.parametrize("weights", [(0.1, 0.9), (0.5, 0.5), (0.9, 0.1), (0.2, 0.5, 0.3)])
def test_a_bandit_comes_to_the_closed_form(bandit: ModuleType, weights: tuple[float, ...]) -> None:
    problem = bandit.problem(outputs=12, objectives=len(weights), seed=3)
    assert bandit.total_variation(bandit.trained(problem, weights), bandit.optimum(problem, weights)) < 1e-3
    assert bandit.total_variation(problem.start, bandit.optimum(problem, weights)) > 0.1


def test_the_closed_form_is_that_of_the_sheet(bandit: ModuleType) -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.5], [-1.0, 1.0, 0.2]], dtype=torch.float64)
    made = bandit.Problem(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), rewards, beta=0.5)
    for weight, expected in {
        0.25: [0.098096, 0.717033, 0.184871],
        0.5: [0.290996, 0.474606, 0.234398],
        1.0: [0.814098, 0.066106, 0.119796],
    }.items():
        assert bandit.optimum(made, (weight, 1 - weight)).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_script_ends_with_a_line_of_json() -> None:
    done = subprocess.run([sys.executable, str(FILE), "--quick"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1])["max_total_variation"] < 1e-3
