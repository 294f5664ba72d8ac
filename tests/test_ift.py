"""Intuitive fine-tuning: the golden vector of the sheet, definitions, invariants, what is live and what constant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import ift as reference
from torch import Tensor

from homestretch.algorithms.ift import discounted_future, ift_inputs, ift_loss, ift_weights, noisy_lam, rising_lam
from homestretch.algorithms.sft import nll_loss

LOSS, GAMMA = [2.0, 0.5, 0.1, 1.5, 0.05], 0.95
FORMULAS = ["authors", "eq21", "alg1"]


def leaf(loss: list[float]) -> tuple[Tensor, Tensor]:
    return -torch.tensor([loss], dtype=torch.float64).requires_grad_(), torch.ones(1, len(loss), dtype=torch.long)


def objective(
    logp_BT: Tensor, mask_BT: Tensor, *, gamma: float = GAMMA, formula: str = "authors", detach: bool = False
):
    weight_BT = ift_weights(logp_BT, mask_BT, gamma=gamma, formula=formula)
    terms_BT = ift_loss(logp_BT, weight_BT.detach() if detach else weight_BT, mask_BT)
    return terms_BT.sum(1) / mask_BT.sum(1) if formula == "authors" else terms_BT.sum(1)


def gradient_of_losses(**options: object) -> list[float]:
    loss_BT = torch.tensor([LOSS], dtype=torch.float64, requires_grad=True)
    objective(-loss_BT, torch.ones(1, 5, dtype=torch.long), **options).sum().backward()
    assert loss_BT.grad is not None
    return loss_BT.grad[0].tolist()


def test_weights_and_loss_of_the_golden_vector() -> None:
    logp_BT, mask_BT = leaf(LOSS)
    weights = ift_weights(logp_BT, mask_BT, gamma=GAMMA, formula="authors")[0].tolist()
    assert weights == pytest.approx([2.149993, 1.100186, 0.867350, 0.854851, 0.027620], abs=1e-6)
    assert objective(logp_BT, mask_BT).item() == pytest.approx(1.2440942669, abs=1e-10)


def test_gradients_of_the_golden_vector() -> None:
    live = [0.513512, 0.217166, 0.044341, 0.076571, -0.216081]
    assert gradient_of_losses() == pytest.approx(live, abs=1e-6)
    assert reference.gradient(LOSS, GAMMA) == pytest.approx(live, abs=1e-6)
    detached = [0.429999, 0.220037, 0.173470, 0.170970, 0.005524]
    assert gradient_of_losses(detach=True) == pytest.approx(detached, abs=1e-6)


def test_printed_forms_of_the_golden_vector() -> None:
    logp_BT, mask_BT = leaf(LOSS)
    assert objective(logp_BT, mask_BT, gamma=1.0, formula="eq21").item() == pytest.approx(9.55)
    assert objective(logp_BT, mask_BT, formula="eq21").item() == pytest.approx(9.0512815625)
    weights = ift_weights(logp_BT, mask_BT, gamma=GAMMA, formula="alg1")[0].tolist()
    assert weights == pytest.approx([3.380201, 1.843356, 1.489125, 1.4725, 0.05], abs=1e-6)
    assert objective(logp_BT, mask_BT, formula="alg1").item() == pytest.approx(10.0422425)


def test_the_other_exponent_of_algorithm_1_is_the_sum_before_it_is_normalised() -> None:
    future_BT = discounted_future(torch.tensor([LOSS], dtype=torch.float64), gamma=GAMMA)
    assert future_BT[0].tolist() == pytest.approx([3.892038, 1.991619, 1.570125, 1.5475, 0.05], abs=1e-6)
    assert float(future_BT[0] @ torch.tensor(LOSS, dtype=torch.float64)) == pytest.approx(11.2606475)


@given(case=ragged(min_length=1), gamma=st.sampled_from([0.0, 0.3, 0.95, 1.0]))
@pytest.mark.parametrize("formula", FORMULAS)
def test_equal_the_definition_row_by_row(formula: str, case: tuple[Tensor, list[int]], gamma: float) -> None:
    values, lengths = case
    logp_BT, mask_BT = -values.abs(), mask_of(values, lengths)
    weight_BT = ift_weights(logp_BT, mask_BT, gamma=gamma, formula=formula)
    losses = [[-x for x in row] for row in rows_of(logp_BT, lengths)]
    for row, loss in zip(rows_of(weight_BT, lengths), losses, strict=True):
        assert row == pytest.approx(reference.weights(loss, gamma, formula))
    assert not weight_BT[~mask_BT.bool()].any()
    got = objective(logp_BT, mask_BT, gamma=gamma, formula=formula).tolist()
    assert got == pytest.approx([reference.objective(loss, gamma, formula) for loss in losses])


@given(case=ragged(min_length=1), gamma=st.floats(0.01, 1))
def test_the_gradient_has_the_closed_form_and_the_loss_degree_one(case: tuple[Tensor, list[int]], gamma: float) -> None:
    """sum_k l_k dL/dl_k = L, because scaling all losses leaves the weights as they are."""
    values, lengths = case
    loss_BT, mask_BT = values.abs().nan_to_num().requires_grad_(), mask_of(values, lengths)
    total = objective(-loss_BT, mask_BT, gamma=gamma)
    (gradient,) = torch.autograd.grad(total.sum(), loss_BT)
    for row, loss in zip(rows_of(gradient, lengths), rows_of(loss_BT.detach(), lengths), strict=True):
        assert row == pytest.approx(reference.gradient(loss, gamma), abs=1e-9)
    torch.testing.assert_close((loss_BT * gradient).sum(1), total)
    scaled = ift_weights(-7 * loss_BT, mask_BT, gamma=gamma, formula="authors")
    torch.testing.assert_close(scaled, ift_weights(-loss_BT, mask_BT, gamma=gamma, formula="authors"))


@given(case=ragged(min_length=1), gamma=st.floats(0, 1))
def test_weights_average_one(case: tuple[Tensor, list[int]], gamma: float) -> None:
    values, lengths = case
    weight_BT = ift_weights(-values.abs(), mask_of(values, lengths), gamma=gamma, formula="authors")
    assert [sum(row) / len(row) for row in rows_of(weight_BT, lengths)] == pytest.approx([1.0] * len(lengths))


@given(ragged(min_length=1))
def test_without_decay_every_weight_is_one(case: tuple[Tensor, list[int]]) -> None:
    """So the terms, with lam = 0, are those of maximum likelihood, in value and gradient."""
    values, lengths = case
    logp_BT, mask_BT = (-values.abs()).nan_to_num().requires_grad_(), mask_of(values, lengths)
    terms_BT = ift_loss(logp_BT, ift_weights(logp_BT, mask_BT, gamma=0.0, formula="authors"), mask_BT)
    plain_BT = nll_loss(logp_BT, mask_BT)
    torch.testing.assert_close(terms_BT, plain_BT)
    mine, other = (torch.autograd.grad(t.sum(), logp_BT, retain_graph=True)[0] for t in (terms_BT, plain_BT))
    torch.testing.assert_close(mine, other)


def test_no_loss_at_all_weighs_one_and_has_a_gradient() -> None:
    logp_BT = torch.zeros(2, 3, requires_grad=True)
    mask_BT = torch.tensor([[1, 1, 0], [0, 0, 0]])
    weight_BT = ift_weights(logp_BT, mask_BT, gamma=GAMMA, formula="authors")
    assert weight_BT.tolist() == [[1, 1, 0], [0, 0, 0]]
    ift_loss(logp_BT, weight_BT, mask_BT).sum().backward()
    assert logp_BT.grad is not None and logp_BT.grad.tolist() == [[-1, -1, 0], [0, 0, 0]]


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_side_of_the_padding_does_not_matter(formula: str) -> None:
    row, padded = torch.tensor([LOSS]), torch.zeros(1, 3)
    ones, zeros = torch.ones(1, 5, dtype=torch.long), torch.zeros(1, 3, dtype=torch.long)
    left = ift_weights(-torch.cat([padded, row], 1), torch.cat([zeros, ones], 1), gamma=GAMMA, formula=formula)
    right = ift_weights(-torch.cat([row, padded], 1), torch.cat([ones, zeros], 1), gamma=GAMMA, formula=formula)
    torch.testing.assert_close(left[:, 3:], right[:, :5])
    assert not left[:, :3].any() and not right[:, 5:].any()


def test_a_gap_has_no_loss_but_decays() -> None:
    """As between the assistant's turns of a conversation (sheet 2.2)."""
    logp_BT, mask_BT = torch.tensor([[-1.0, -9.0, -2.0]]), torch.tensor([[1, 0, 1]])
    weights = ift_weights(logp_BT, mask_BT, gamma=0.5, formula="authors")[0].tolist()
    future = [1 + 0.5 * (0 + 0.5 * 2), 2]
    assert weights == pytest.approx([2 * future[0] / sum(future), 0, 2 * future[1] / sum(future)])


@pytest.mark.parametrize("formula", FORMULAS)
def test_gradcheck(formula: str) -> None:
    logp_BT, mask_BT = leaf([0.3, 1.2, 0.7, 0.4])
    assert torch.autograd.gradcheck(
        lambda x: objective(x, mask_BT, formula=formula), (logp_BT.detach().requires_grad_(),)
    )


def test_sums_over_time_are_full_precision() -> None:
    logp_BT = torch.full((1, 400), -0.01, dtype=torch.bfloat16)
    weight_BT = ift_weights(logp_BT, torch.ones(1, 400), gamma=1.0, formula="authors")
    assert weight_BT.dtype == torch.float32 and weight_BT[0, -1].item() == pytest.approx(2 / 401, rel=1e-3)


EMBED, GREEDY = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
TARGETS = torch.tensor([[0, 1, 1], [0, 0, 1]])


@pytest.mark.parametrize("lam", [0.0, 0.2, 1.0])
def test_inputs_are_mixed_on_responses_alone(lam: float) -> None:
    made = ift_inputs(EMBED, GREEDY, TARGETS, lam=lam)
    for row in range(2):
        for place in range(3):
            own, predicted = EMBED[row, place].tolist(), GREEDY[row, place].tolist()
            expected = reference.mixed(own, predicted, lam) if TARGETS[row, place] else own
            assert made[row, place].tolist() == pytest.approx(expected, abs=1e-6)


def test_either_end_of_the_mix_is_exact_and_so_is_a_right_prediction() -> None:
    where = TARGETS.bool()
    assert torch.equal(ift_inputs(EMBED, GREEDY, TARGETS, lam=0.0), EMBED)
    assert torch.equal(ift_inputs(EMBED, GREEDY, TARGETS, lam=1.0)[where], GREEDY[where])
    assert torch.equal(ift_inputs(EMBED, EMBED, TARGETS, lam=0.3), EMBED)


def test_gradcheck_of_the_mix() -> None:
    sides = [t.double().requires_grad_() for t in (EMBED, GREEDY)]
    assert torch.autograd.gradcheck(lambda e, g: ift_inputs(e, g, TARGETS, lam=0.3), sides)


def test_lam_rises_in_a_straight_line() -> None:
    made = [rising_lam(n, start=0.1, end=0.5, steps=4) for n in range(6)]
    assert made == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5])
    assert rising_lam(0, start=0.1, end=0.5, steps=0) == 0.5


def test_noise_on_lam_is_half_of_it_and_stays_in_range() -> None:
    assert [noisy_lam(0.2, z) for z in (0.0, 1.0, -1.0, -3.0)] == pytest.approx([0.2, 0.3, 0.1, 0.0])
    assert noisy_lam(0.8, 2.0) == 1.0
