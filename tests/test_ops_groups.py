"""Rewards compared with those of the same prompt: by hand, and by the definition."""

from __future__ import annotations

import statistics

import pytest
import torch

from homestretch.ops.groups import group_scaled, others_mean

REWARDS = torch.tensor([1.0, 2.0, 6.0, 5.0, 7.0, 9.0])
GROUPS = torch.tensor([3, 3, 3, 8, 8, 1])


def test_mean_of_the_others_by_hand() -> None:
    assert others_mean(REWARDS, GROUPS).tolist() == [4.0, 3.5, 1.5, 7.0, 5.0, 0.0]


def test_centred_rewards_by_hand() -> None:
    assert group_scaled(REWARDS, GROUPS, scale=False).tolist() == [-2.0, -1.0, 3.0, -1.0, 1.0, 0.0]


def test_scaled_rewards_are_in_standard_deviations_of_the_group() -> None:
    found = group_scaled(REWARDS, GROUPS, scale=True, eps=0.0)
    spread = statistics.pstdev([1.0, 2.0, 6.0])
    assert found[:5].tolist() == pytest.approx([-2 / spread, -1 / spread, 3 / spread, -1.0, 1.0])
    # a spread of 1 becomes 1 + eps
    assert group_scaled(REWARDS, GROUPS, scale=True, eps=0.25)[3:5].tolist() == pytest.approx([-0.8, 0.8])


@pytest.mark.parametrize("scale", [True, False])
def test_a_group_that_agrees_gives_nothing(scale: bool) -> None:
    equal = torch.full((4,), 0.1)
    assert group_scaled(equal, torch.zeros(4), scale=scale).abs().max() < 1e-6
    torch.testing.assert_close(others_mean(equal, torch.zeros(4)), equal)


def test_small_spreads_on_a_high_level_are_not_lost() -> None:
    rewards = 1000 + torch.tensor([0.0, 0.25, 0.5, 0.75])
    level = group_scaled(rewards - 1000, torch.zeros(4), scale=True)
    torch.testing.assert_close(group_scaled(rewards, torch.zeros(4), scale=True), level)


def test_the_order_of_the_rows_does_not_matter() -> None:
    order = torch.tensor([4, 0, 5, 2, 3, 1])
    for function in (others_mean, lambda r, i: group_scaled(r, i, scale=True)):
        torch.testing.assert_close(function(REWARDS[order], GROUPS[order]), function(REWARDS, GROUPS)[order])
