"""Reward GOLD: the sheet's numbers, the definition, weighted cloning at u = 1, what is constant."""

from __future__ import annotations

import math

import alol_sheet as sheet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import gold as reference
from test_wbc import REWARDS, rewarded
from tiny import build

from homestretch.algorithms.base import Models
from homestretch.algorithms.gold import GOLD, gold_loss, gold_weight
from homestretch.algorithms.wbc import wbc_loss
from homestretch.config.gold import GOLDConfig
from homestretch.ops.reduce import aggregate
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk


def test_numbers_of_the_sheet() -> None:
    logp_BT, _, mask_BT = sheet.tensors()
    terms_BT = gold_loss(logp_BT, sheet.constant(sheet.REWARD), mask_BT, floor=sheet.FLOOR)
    assert terms_BT.sum(1).tolist() == pytest.approx(sheet.LOSS["gold"], abs=1e-6)
    assert terms_BT[2].tolist() == pytest.approx([0.24, 0.32, 0.0]), "both tokens of case 3 are floored"


@given(case=ragged(), seed=st.integers(0, 99), floor=st.floats(0.01, 1))
def test_equals_the_definition_row_by_row(case: tuple[torch.Tensor, list[int]], seed: int, floor: float) -> None:
    values, lengths = case
    logp_BT = -values.abs()
    reward_B = torch.rand(len(lengths), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got_B = gold_loss(logp_BT, reward_B, mask_of(logp_BT, lengths), floor=floor).sum(1)
    rows = zip(rows_of(logp_BT, lengths), reward_B.tolist(), strict=True)
    assert got_B.tolist() == pytest.approx([reference.loss(row, reward, floor) for row, reward in rows])


@given(ragged())
def test_a_floor_of_one_is_weighted_behaviour_cloning(case: tuple[torch.Tensor, list[int]]) -> None:
    values, lengths = case
    logp_BT, mask_BT = -values.abs(), mask_of(values, lengths)
    reward_B = torch.linspace(0.1, 2, len(lengths), dtype=torch.float64)
    torch.testing.assert_close(gold_loss(logp_BT, reward_B, mask_BT, floor=1.0), wbc_loss(logp_BT, reward_B, mask_BT))


def test_weight_is_constant() -> None:
    """The gradient is minus the weight itself; through the probability there would be w (1 + ln p) more."""
    logp_BT, _, mask_BT = sheet.tensors()
    reward_B = sheet.constant(0.8).requires_grad_()
    assert not gold_weight(logp_BT, reward_B, floor=0.1).requires_grad
    gold_loss(logp_BT, reward_B, mask_BT, floor=0.1).sum().backward()
    assert reward_B.grad is None and logp_BT.grad is not None
    expected = [[-w for w in reference.weights(row, 0.8, 0.1)] for row in sheet.LOGP]
    assert [row[: len(e)] for row, e in zip(logp_BT.grad.tolist(), expected, strict=True)] == [
        pytest.approx(e) for e in expected
    ]
    assert logp_BT.grad[2, 2] == 0


def test_gradcheck_where_every_weight_is_floored() -> None:
    """Elsewhere the gradient is not that of the printed loss: the weight follows p but is held constant."""
    logp_BT = torch.tensor([[-3.0, -4.0], [-2.5, -6.0]], dtype=torch.float64, requires_grad=True)
    reward_B, mask_BT = torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([[1, 1], [1, 0]])
    assert torch.autograd.gradcheck(lambda logp: gold_loss(logp, reward_B, mask_BT, floor=0.1), (logp_BT,))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_the_mean_over_examples_of_weighted_sums(name: str) -> None:
    models, batch = Models(policy=Policy(Trunk(build(name)), None, budget=1000)), rewarded()
    with torch.no_grad():
        terms = GOLD(GOLDConfig(floor=0.02)).loss(models, batch)
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
    assert logp_BT is not None
    rows = [row[:n].tolist() for row, n in zip(logp_BT, batch.length_B.tolist(), strict=True)]
    expected = [reference.loss(row, reward, 0.02) for row, reward in zip(rows, REWARDS.tolist(), strict=True)]
    got = aggregate(terms.terms, terms.mask, average=terms.average, denominator=len(batch))
    assert float(got) == pytest.approx(sum(expected) / 3, rel=1e-4)
    floored, mask_BT = terms.diagnostics["floored"]
    assert floored[mask_BT.bool()].tolist() == [float(math.exp(x) < 0.02) for row in rows for x in row]
    assert 0 < float(floored[mask_BT.bool()].mean()) < 1
