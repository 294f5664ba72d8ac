"""Which stages' models are compared, and under which names."""

from __future__ import annotations

import pytest

from homestretch.training.stages.evaluate import arms


@pytest.mark.parametrize(
    ("finished", "expected"),
    [
        (["sft"], {"ml": "sft"}),
        (["ppo"], {"rl": "ppo"}),
        (["sft", "negatives", "reward", "ppo"], {"ml": "sft", "rl": "ppo"}),
        (["negatives", "reward"], {}),
    ],
)
def test_arms(finished: list[str], expected: dict[str, str]) -> None:
    assert arms(finished) == expected
