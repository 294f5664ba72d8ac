"""Long runs with noisy golden signals: parts of a run are compared, not its luckiest rounds."""

from __future__ import annotations

import numpy as np
import pytest
from test_alarms_training import Rows

from homestretch.training.alarms import ALARMS, PARTS, Golden, Watched, means

JUDGE = Watched(goldens=(Golden("reward", "objective/golden/judge", "stop"),))


def run(rounds: int, *, fall: float, noise: float, seed: int) -> Rows:
    """A reward that rises, and a judge's score that falls by so much from the middle on."""
    noise_N = noise * np.random.default_rng(seed).standard_normal(rounds)
    shift_N = -fall * np.maximum(np.arange(rounds) / rounds - 0.5, 0) * 2
    return [
        {"step": step, "reward": step / rounds, "objective/golden/judge": float(value)}
        for step, value in enumerate(shift_N + noise_N, start=1)
    ]


def test_a_fall_within_the_noise_of_a_round_is_told_by_parts() -> None:
    rows = run(120, fall=1.0, noise=0.4, seed=0)
    (sentence,) = ALARMS["golden_signal"](rows, JUDGE).values()
    first = int(sentence.split("since round ")[1].split()[0])
    assert first % (120 // PARTS) == 0 and 10 <= first <= 70, "the last round of the best part"
    assert not ALARMS["golden_signal"](rows[: 2 * PARTS - 1], JUDGE), "too short for parts"


def test_the_luckiest_of_many_rounds_is_no_best() -> None:
    spoke = [
        any(ALARMS["golden_signal"](rows[:n], JUDGE) for n in range(10, 201))
        for rows in (run(200, fall=0.0, noise=0.4, seed=seed) for seed in range(20))
    ]
    assert sum(spoke) <= 1


@pytest.mark.parametrize(("size", "expected"), [(1, [1.0, 2.0, 3.0, 4.0, 6.0]), (2, [2.5, 5.0]), (5, [3.2])])
def test_means_end_with_the_newest(size: int, expected: list[float]) -> None:
    assert means([1.0, 2.0, 3.0, 4.0, 6.0], size) == pytest.approx(expected)
