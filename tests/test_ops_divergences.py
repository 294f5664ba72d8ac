"""Estimators of the divergence: unbiased, of the right sign, and differentiable in both arguments."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import divergences as reference

from homestretch.ops.divergences import kl_k1, kl_k3

LOGITS = st.lists(st.floats(-4, 4), min_size=4, max_size=4)


def distribution(logits: list[float]) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float64).log_softmax(-1)


@given(p=LOGITS, q=LOGITS)
def test_the_expectation_of_both_is_the_exact_divergence(p: list[float], q: list[float]) -> None:
    logp, logp_ref = distribution(p), distribution(q)
    exact = reference.kl(logp.exp().tolist(), logp_ref.exp().tolist())
    for estimator in (kl_k1, kl_k3):
        tokens = estimator(logp, logp_ref).tolist()
        assert reference.expectation(logp.exp().tolist(), tokens.__getitem__) == pytest.approx(exact, abs=1e-9)


@given(logp=st.floats(-6, 0), logp_ref=st.floats(-6, 0))
def test_k3_equals_its_definition_and_is_never_negative(logp: float, logp_ref: float) -> None:
    got = kl_k3(torch.tensor(logp, dtype=torch.float64), torch.tensor(logp_ref, dtype=torch.float64)).item()
    assert got == pytest.approx(reference.k3(math.exp(logp), math.exp(logp_ref)), abs=1e-9)
    assert got >= 0


def test_k1_has_the_sign_of_the_log_ratio() -> None:
    got = kl_k1(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0]))
    assert got.tolist() == [0.5, -1.0]


def test_gradcheck() -> None:
    logp = torch.tensor([-0.5, -2.0], dtype=torch.float64, requires_grad=True)
    logp_ref = torch.tensor([-1.0, -1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kl_k1, (logp, logp_ref))
    assert torch.autograd.gradcheck(kl_k3, (logp, logp_ref))
