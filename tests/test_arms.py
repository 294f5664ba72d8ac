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
        (["ift"], {"ml": "ift"}),
        (["sft", "ift"], {"ml": "sft", "rl": "ift"}),
        (["ift", "value", "alol"], {"ml": "ift", "rl": "alol"}),
        (["sft", "negatives", "reward", "alol", "ppo"], {"ml": "sft", "rl": "ppo"}),
        (["sft", "ppo", "dpo"], {"ml": "sft", "rl": "dpo"}),
        (["sft", "ppo", "ppo-2", "evaluate"], {"ml": "sft", "rl": "ppo-2"}),
        (["sft", "ppo", "sft-2"], {"ml": "sft", "rl": "sft-2"}),
        (["ift", "sft"], {"ml": "sft"}),
    ],
)
def test_arms(finished: list[str], expected: dict[str, str]) -> None:
    assert arms(finished) == expected
