"""Advantages and returns: the sheet's numbers, the definition, the identities, and the mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import returns as reference

from homestretch.ops.returns import gae, shaping_rewards, token_rewards

UNIT = st.floats(0, 1)
# three tokens and padding full of other numbers
REWARD, VALUE, MASK = torch.tensor([[0.0, 0, 1, 7]]), torch.tensor([[0.2, 0.4, 0.5, -8]]), torch.tensor([[1, 1, 1, 0]])


@pytest.mark.parametrize(
    ("lam", "want"), [(0.95, [0.74625, 0.575, 0.5]), (0.0, [0.2, 0.1, 0.5]), (1.0, [0.8, 0.6, 0.5])]
)
def test_advantages_of_the_sheet(lam: float, want: list[float]) -> None:
    adv, ret = gae(REWARD.double(), VALUE.double(), MASK, gamma=1.0, lam=lam)
    assert adv.tolist()[0] == pytest.approx([*want, 0], abs=1e-7)
    assert ret.tolist()[0] == pytest.approx([a + v for a, v in zip(want, [0.2, 0.4, 0.5], strict=True)] + [0], abs=1e-7)


def test_advantages_of_the_sheet_with_a_divergence_penalty() -> None:
    reward = REWARD.double() - 0.05 * torch.tensor([[0.1, -0.2, 0.3, 0]])
    adv, _ = gae(reward, VALUE.double(), MASK, gamma=1.0, lam=0.95)
    assert adv.tolist()[0] == pytest.approx([0.7372125, 0.57075, 0.485, 0], abs=1e-8)


@given(batch=ragged(), gamma=UNIT, lam=UNIT, seed=st.integers(0, 99))
def test_equals_the_definition(batch: tuple, gamma: float, lam: float, seed: int) -> None:
    reward, lengths = batch
    value = reward + torch.randn(reward.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    adv, ret = gae(reward, value, mask_of(reward, lengths), gamma=gamma, lam=lam)
    pairs = zip(rows_of(reward, lengths), rows_of(value, lengths), strict=True)
    for row, (reward_T, value_T) in enumerate(pairs):
        want, length = reference.advantages(reward_T, value_T, gamma=gamma, lam=lam), lengths[row]
        assert adv[row, :length].tolist() == pytest.approx(want, abs=1e-10)
        assert ret[row, :length].tolist() == pytest.approx(
            [a + v for a, v in zip(want, value_T, strict=True)], abs=1e-10
        )
        assert not adv[row, length:].any() and not ret[row, length:].any()


@given(batch=ragged(), gamma=UNIT)
def test_lam_one_is_the_monte_carlo_return_minus_the_value(batch: tuple, gamma: float) -> None:
    reward, lengths = batch
    adv, ret = gae(reward, reward.cos(), mask_of(reward, lengths), gamma=gamma, lam=1.0)
    for row, reward_T in enumerate(rows_of(reward, lengths)):
        want = torch.tensor(reference.monte_carlo(reward_T, gamma=gamma), dtype=torch.float64)
        torch.testing.assert_close(ret[row, : lengths[row]], want)
        torch.testing.assert_close(adv[row, : lengths[row]], want - reward[row, : lengths[row]].cos())


@given(batch=ragged(), gamma=UNIT)
def test_lam_zero_is_the_one_step_error(batch: tuple, gamma: float) -> None:
    reward, lengths = batch
    value = reward.cos()
    adv, _ = gae(reward, value, mask_of(reward, lengths), gamma=gamma, lam=0.0)
    for row, (reward_T, value_T) in enumerate(zip(rows_of(reward, lengths), rows_of(value, lengths), strict=True)):
        want = [reference.td_error(reward_T, value_T, t, gamma) for t in range(lengths[row])]
        assert adv[row, : lengths[row]].tolist() == pytest.approx(want, abs=1e-12)


def test_advantages_and_returns_are_constants() -> None:
    reward, value = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    adv, ret = gae(reward, value, torch.ones(1, 3), gamma=0.9, lam=0.9)
    assert not adv.requires_grad and not ret.requires_grad


def test_rewards_and_values_are_not_changed_in_place() -> None:
    reward, value = REWARD.clone(), VALUE.clone()
    gae(reward, value, MASK, gamma=1.0, lam=0.5)
    assert reward.equal(REWARD) and value.equal(VALUE)


def test_empty_batches() -> None:
    for shape in [(0, 3), (2, 0)]:
        adv, ret = gae(torch.zeros(shape), torch.zeros(shape), torch.zeros(shape), gamma=1.0, lam=1.0)
        assert adv.shape == shape and ret.shape == shape


@pytest.mark.parametrize("dtype", [torch.long, torch.bool, torch.float32])
def test_the_reward_stands_on_the_last_valid_token(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]]).to(dtype)
    got = token_rewards(torch.tensor([0.5, -2.0, 3.0, 4.0]), mask)
    assert got.tolist() == [[0, 0.5, 0], [0, 0, -2.0], [3.0, 0, 0], [0, 0, 0]]


@given(batch=ragged(), gamma=UNIT, seed=st.integers(0, 99))
def test_shaping_adds_up_to_minus_the_first_potential_whatever_is_done(batch: tuple, gamma: float, seed: int) -> None:
    reward, lengths = batch
    generator = torch.Generator().manual_seed(seed)
    potential = torch.randn(len(reward), reward.shape[1] + 1, generator=generator, dtype=torch.float64)
    mask = mask_of(reward, lengths)
    shaped = shaping_rewards(potential, mask, gamma=gamma)
    assert not shaped[~mask.bool()].any()
    for row, rewards in enumerate(rows_of(shaped, lengths)):
        for t, value in enumerate(rewards):
            following = float(potential[row, t + 1]) if t + 1 < len(rewards) else 0.0
            assert value == pytest.approx(gamma * following - float(potential[row, t]), abs=1e-12)
        total = sum(gamma**t * value for t, value in enumerate(rewards))
        assert total == pytest.approx(-float(potential[row, 0]) if rewards else 0.0, abs=1e-9)
