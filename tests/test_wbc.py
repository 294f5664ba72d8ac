"""Weighted behaviour cloning: the sheet's numbers, the definition, maximum likelihood at R = 1, what is constant."""

from __future__ import annotations

import alol_sheet as sheet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import wbc as reference
from test_policies import batch_of
from tiny import build

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import nll_loss
from homestretch.algorithms.wbc import WBC, wbc_loss
from homestretch.batch import SequenceBatch
from homestretch.ops.reduce import aggregate
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

REWARDS = torch.tensor([0.5, 0.0, 2.0])


def rewarded() -> SequenceBatch:
    batch = batch_of()
    return SequenceBatch(**(vars(batch) | {"reward_B": REWARDS}))


def test_numbers_of_the_sheet() -> None:
    logp_BT, _, mask_BT = sheet.tensors()
    assert nll_loss(logp_BT, mask_BT).sum(1).tolist() == pytest.approx(sheet.LOSS["nll"])
    terms_BT = wbc_loss(logp_BT, sheet.constant(sheet.REWARD), mask_BT)
    assert terms_BT.sum(1).tolist() == pytest.approx(sheet.LOSS["wbc"])
    terms_BT.sum().backward()
    assert logp_BT.grad is not None and logp_BT.grad.tolist() == [[-0.8] * 3, [-0.8] * 3, [-0.8, -0.8, 0.0]]


@given(case=ragged(), seed=st.integers(0, 99))
def test_equals_the_definition_row_by_row(case: tuple[torch.Tensor, list[int]], seed: int) -> None:
    logp_BT, lengths = case
    reward_B = torch.rand(len(lengths), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    got_B = wbc_loss(logp_BT, reward_B, mask_of(logp_BT, lengths)).sum(1)
    rows = zip(rows_of(logp_BT, lengths), reward_B.tolist(), strict=True)
    assert got_B.tolist() == pytest.approx([reference.loss(row, reward) for row, reward in rows])


@given(ragged())
def test_a_reward_of_one_is_maximum_likelihood(case: tuple[torch.Tensor, list[int]]) -> None:
    logp_BT, lengths = case
    mask_BT = mask_of(logp_BT, lengths)
    ones_B = torch.ones(len(lengths), dtype=torch.float64)
    torch.testing.assert_close(wbc_loss(logp_BT, ones_B, mask_BT), nll_loss(logp_BT, mask_BT))


def test_no_gradient_through_the_reward() -> None:
    logp_BT, _, mask_BT = sheet.tensors()
    reward_B = sheet.constant(0.8).requires_grad_()
    wbc_loss(logp_BT, reward_B, mask_BT).sum().backward()
    assert reward_B.grad is None and logp_BT.grad is not None


def test_gradcheck() -> None:
    logp_BT, _, mask_BT = sheet.tensors()
    logp_BT = logp_BT.detach().nan_to_num().requires_grad_()
    reward_B = torch.tensor([0.5, -1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logp: wbc_loss(logp, reward_B, mask_BT), (logp_BT,))


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_the_mean_over_examples_of_weighted_sums(name: str) -> None:
    models, batch = Models(policy=Policy(Trunk(build(name)), None, budget=1000)), rewarded()
    with torch.no_grad():
        terms = WBC().loss(models, batch)
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
    assert logp_BT is not None
    got = aggregate(terms.terms, terms.mask, average=terms.average, denominator=len(batch))
    assert float(got) == pytest.approx(-float((REWARDS * (logp_BT * batch.mask_BT).sum(1)).sum()) / 3, rel=1e-5)
    nll, mask_BT = terms.diagnostics["nll"]
    assert torch.equal(nll[mask_BT.bool()], -logp_BT[mask_BT.bool()]) and torch.equal(mask_BT, batch.mask_BT)
    assert torch.equal(terms.diagnostics["reward"][0], REWARDS)
