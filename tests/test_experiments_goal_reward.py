"""The experiments on goal models: what their rules say of a text, and that steering walks ends with one object."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from scripts import EXPERIMENTS, loaded

FOLDER = EXPERIMENTS / "goal_reward"


@pytest.fixture(scope="module", autouse=True)
def beside() -> Iterator[None]:
    """Scripts import what lies beside them."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def steer(beside: None) -> ModuleType:
    return loaded("steer", "goal_reward/steer.py")


@pytest.mark.parametrize(
    ("steps", "ended", "end"),
    [
        ("uuuu", True, "success"),
        ("uduuuu", True, "success"),
        ("dddd", True, "failure"),
        ("uuuu", False, "broken"),  # it would have gone on
        ("uuuuu", True, "broken"),
        ("uuu", True, "broken"),
        ("", True, "broken"),
    ],
)
def test_what_becomes_of_a_walk(steer: ModuleType, steps: str, ended: bool, end: str) -> None:
    assert steer.end_of(steps, ended=ended) == end


def test_walks_to_learn_from_are_whole_and_half_of_them_succeed(steer: ModuleType) -> None:
    ends = [steer.end_of(steps, ended=True) for steps, _ in steer.walks(2000, 0)]
    assert "broken" not in ends and 0.45 < ends.count("success") / len(ends) < 0.55


def test_chains_are_right_and_a_wrong_last_digit_is_no_answer() -> None:
    live = loaded("live", "goal_reward/live.py")
    for seed in range(50):
        row = live.chain(random.Random(seed))
        assert eval(row["prompt"][:-1]) % 10 == int(row["answer"])
        assert live.answer(row["completion"]) == row["answer"]
        assert live.answer(row["completion"][:-1]) is None


@pytest.mark.slow
def test_a_quick_run_of_steering_ends_with_one_object(tmp_path) -> None:
    command = [sys.executable, FOLDER / "steer.py", "--quick", "--out", tmp_path]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["name"] == "goal_steer" and set(last["means"]) == set(last["runs"]) == {"plain", "contrast"}
    assert all(len(found) == len(last["steers"]) for found in last["means"].values())
    assert all(0 <= row[key] <= 1 for row in last["means"]["plain"] for key in ("success", "short", "whole"))


@pytest.mark.slow
def test_a_quick_run_of_votes_ends_with_one_object(tmp_path) -> None:
    command = [sys.executable, FOLDER / "live.py", "--quick", "--out", tmp_path]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    last = json.loads(done.stdout.splitlines()[-1])
    [run] = last["runs"]
    assert last["name"] == "goal_live" and last["speed"] == run["speed"] > 0
    assert list(run["areas"]) == [f"{tenth / 10:.1f}" for tenth in range(11)]
    assert run["filtered"]["tokens"] <= run["all"]["tokens"] and run["all"]["given_up"] == 0
