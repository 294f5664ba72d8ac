"""The experiment of false alarms: its made-up runs turn where they say, and the script ends with its numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import loaded

from homestretch.training.alarms import ALARMS

FILE = Path(__file__).resolve().parent.parent / "experiments" / "alarms" / "false_alarms.py"


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return loaded("false_alarms", "alarms/false_alarms.py")


def test_each_alarm_has_healthy_runs_and_runs_that_turn(experiment: ModuleType) -> None:
    for quick in (False, True):
        kinds = {(c.alarm, c.make(np.random.default_rng(0))[1] is None) for c in experiment.cases(quick)}
        assert kinds == {(alarm, healthy) for alarm in ALARMS for healthy in (True, False)}


def test_a_loss_turns_where_it_says(experiment: ModuleType) -> None:
    rows, at = experiment.law(100, floor=0.5, noise=0.0, turn=0.6)(np.random.default_rng(0))
    losses = [row["loss"] for row in rows]
    assert at == 60 and losses[:61] == sorted(losses[:61], reverse=True) and losses[60:] == sorted(losses[60:])
    assert losses[0] == 1.5 and rows[0]["step"] == 1


@pytest.mark.parametrize("shape", ["best_of_n", "rl"])
def test_a_reward_has_its_peak_where_it_says(experiment: ModuleType, shape: str) -> None:
    rows, at = experiment.rewards(200, noise=0.0, shape=shape)(np.random.default_rng(0))
    best = max(rows, key=lambda row: row["reward"])
    assert best["objective/kl"] == pytest.approx(9, rel=0.1) and abs(best["step"] - at) < 20


def test_a_run_is_looked_at_with_each_of_its_rows(experiment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setitem(experiment.ALARMS, "over_optimisation", lambda rows, _: seen.append(len(rows)))
    long = next(c for c in experiment.cases(False) if c.name.startswith("line, 200 rounds"))
    assert experiment.hear(long, 0, seeds=1) == (1, 0, 0, []) and seen == list(range(1, 201))


def test_a_run_counts_once_and_an_alarm_before_the_turn_apart(experiment: ModuleType) -> None:
    cases = [c for c in experiment.cases(True) if c.alarm == "generalisation_gap" and c.name.startswith("40")]
    quiet, _, loud, _ = (experiment.hear(case, number, seeds=3) for number, case in enumerate(cases))
    assert quiet == (3, 0, 0, [])
    assert loud.spoke == len(loud.delays) == 3 and loud.early == 0 and all(0 < delay < 1 for delay in loud.delays)


@pytest.mark.slow
def test_the_script_ends_with_a_line_of_json() -> None:
    command = [sys.executable, str(FILE), "--quick", "--seeds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["false_alarms"].keys() == ALARMS.keys() and found["seeds"] == 2
    assert done.stdout.count("\n| ") == len(found["cases"]) + 1
