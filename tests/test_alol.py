"""A-LoL: every number of the sheet, the definition, identities between the forms, and what is constant."""

from __future__ import annotations

import alol_sheet as sheet
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged import mask_of, ragged, rows_of
from reference import alol as reference
from test_policies import batch_of
from tiny import build
from torch import Tensor

from homestretch.algorithms.alol import ALOL, RATIO, alol_loss, alol_weight, importance_ratio
from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import nll_loss
from homestretch.batch import AdvantageBatch
from homestretch.config.alol import ALOLConfig
from homestretch.ops.reduce import aggregate
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

VARIANTS = sorted(RATIO)


def terms(
    variant: str, logp_BT: Tensor, ref_BT: Tensor, mask_BT: Tensor, reward_B: Tensor, adv_B: Tensor, *,
    eps: float | None = sheet.CLIPRANGE, beta: float = sheet.BETA, clamp: bool = True,
) -> Tensor:  # fmt: skip
    credit_B = reward_B if variant == "r_lol" else adv_B
    weight_BT = alol_weight(
        logp_BT, ref_BT, credit_B, mask_BT, ratio=RATIO[variant], cliprange=eps, clamp_advantage=clamp
    )
    return alol_loss(logp_BT, weight_BT, mask_BT, ref_BT, beta=beta if variant == "a_lol_kl" else 0.0)


def of_the_sheet(variant: str, *, adv: float = sheet.REWARD - sheet.VALUE, **changes: float) -> tuple[Tensor, Tensor]:
    logp_BT, ref_BT, mask_BT = sheet.tensors()
    reward_B, adv_B = sheet.constant(sheet.REWARD), sheet.constant(adv)
    return terms(variant, logp_BT, ref_BT, mask_BT, reward_B, adv_B, **changes), logp_BT


def gradient(variant: str, **changes: float) -> Tensor:
    terms_BT, logp_BT = of_the_sheet(variant, **changes)
    return torch.autograd.grad(terms_BT.sum(), logp_BT)[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_of_the_sheet(variant: str) -> None:
    terms_BT, _ = of_the_sheet(variant)
    assert terms_BT.sum(1).tolist() == pytest.approx(sheet.LOSS[variant], abs=1e-6)


@pytest.mark.parametrize("variant", sheet.GRADIENT_OF_CASE_1)
def test_gradients_of_the_sheet(variant: str) -> None:
    assert gradient(variant)[0].tolist() == pytest.approx(sheet.GRADIENT_OF_CASE_1[variant], abs=1e-6)


def test_ratios_of_the_sheet() -> None:
    logp_BT, ref_BT, mask_BT = sheet.tensors()
    ratio_BT = importance_ratio(logp_BT, ref_BT, mask_BT, ratio="sequence")
    assert ratio_BT[:, 0].tolist() == pytest.approx(sheet.LOSS["ratio"], abs=1e-6)
    assert (ratio_BT == ratio_BT[:, :1]).all()
    ones_B = sheet.constant(1.0)
    clipped_BT = alol_weight(logp_BT, ref_BT, ones_B, mask_BT, ratio="sequence", cliprange=0.9, clamp_advantage=True)
    assert clipped_BT[:, 0].tolist() == pytest.approx(sheet.LOSS["clipped"], abs=1e-6)


@given(case=ragged(), seed=st.integers(0, 99), eps=st.sampled_from([None, 0.2, 0.9]))
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_definition_row_by_row(
    variant: str, case: tuple[Tensor, list[int]], seed: int, eps: float | None
) -> None:
    values, lengths = case
    logp_BT, mask_BT = -values.abs(), mask_of(values, lengths)
    generator = torch.Generator().manual_seed(seed)
    ref_BT = logp_BT + 0.3 * torch.randn(logp_BT.shape, generator=generator, dtype=torch.float64)
    reward_B = torch.rand(len(lengths), generator=generator, dtype=torch.float64)
    adv_B = torch.randn(len(lengths), generator=generator, dtype=torch.float64)
    got_B = terms(variant, logp_BT, ref_BT, mask_BT, reward_B, adv_B, eps=eps).sum(1)
    rows = zip(rows_of(logp_BT, lengths), rows_of(ref_BT, lengths), reward_B.tolist(), adv_B.tolist(), strict=True)
    expected = [
        reference.loss(variant, logp, ref, reward=reward, adv=adv, eps=eps, beta=sheet.BETA)
        for logp, ref, reward, adv in rows
    ]
    assert got_B.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("variant", ["a_lol", "a_lol_seq"])
def test_a_policy_that_is_its_reference_needs_no_ratio(variant: str) -> None:
    """Value and gradient are those of the reference-free form, max(A, 0) times the likelihood's."""
    logp_BT, _, mask_BT = sheet.tensors()
    reward_B, adv_B = sheet.constant(0.8), torch.tensor([0.3, -0.4, 1.2], dtype=torch.float64)
    found = {}
    for form in (variant, "a_lol_ref_free"):
        terms_BT = terms(form, logp_BT, logp_BT.detach().clone(), mask_BT, reward_B, adv_B)
        found[form] = terms_BT, torch.autograd.grad(terms_BT.sum(), logp_BT, retain_graph=True)[0]
    for mine, other in zip(found[variant], found["a_lol_ref_free"], strict=True):
        torch.testing.assert_close(mine, other)
    expected_BT = adv_B.clamp(min=0)[:, None] * nll_loss(logp_BT, mask_BT)
    torch.testing.assert_close(found[variant][0], expected_BT)


def test_no_divergence_is_reference_free() -> None:
    torch.testing.assert_close(of_the_sheet("a_lol_kl", beta=0.0)[0], of_the_sheet("a_lol_ref_free")[0])
    torch.testing.assert_close(gradient("a_lol_kl", beta=0.0), gradient("a_lol_ref_free"))


@pytest.mark.parametrize("adv", [0.3, 0.1, -0.5])
def test_the_divergence_lowers_every_advantage(adv: float) -> None:
    """Below beta the gradient turns round: the response is pushed down."""
    shifted = gradient("a_lol_ref_free", adv=max(adv, 0) - sheet.BETA, clamp=False)
    torch.testing.assert_close(gradient("a_lol_kl", adv=adv), shifted)
    assert (shifted[0] < 0).all() == (adv > sheet.BETA)


@pytest.mark.parametrize("variant", ["a_lol", "a_lol_seq", "a_lol_ref_free"])
def test_a_response_that_earns_less_than_expected_teaches_nothing(variant: str) -> None:
    assert not of_the_sheet(variant, adv=-0.2)[0].any() and not gradient(variant, adv=-0.2).any()
    assert gradient(variant, adv=-0.2, clamp=False)[0].min() > 0


def test_no_gradient_through_ratio_advantage_and_reference() -> None:
    logp_BT, ref_BT, mask_BT = sheet.tensors()
    ref_BT, adv_B = ref_BT.requires_grad_(), sheet.constant(0.3).requires_grad_()
    for ratio in ("sequence", "token", "none"):
        weight_BT = alol_weight(logp_BT, ref_BT, adv_B, mask_BT, ratio=ratio, cliprange=None, clamp_advantage=True)
        assert not weight_BT.requires_grad
        assert not importance_ratio(logp_BT, ref_BT, mask_BT, ratio=ratio).requires_grad
    live_BT = torch.ones_like(logp_BT, requires_grad=True)
    alol_loss(logp_BT, live_BT, mask_BT, ref_BT, beta=0.5).sum().backward()
    assert logp_BT.grad is not None and [live_BT.grad, ref_BT.grad, adv_B.grad] == [None] * 3


def test_gradcheck_with_the_weight_held() -> None:
    logp_BT, ref_BT, mask_BT = sheet.tensors()
    logp_BT, ref_BT = logp_BT.detach().nan_to_num().requires_grad_(), ref_BT.nan_to_num()
    weight_BT = alol_weight(logp_BT, ref_BT, sheet.constant(0.3), mask_BT, ratio="token", cliprange=0.9,
                            clamp_advantage=True)  # fmt: skip
    assert torch.autograd.gradcheck(lambda logp: alol_loss(logp, weight_BT, mask_BT, ref_BT, beta=0.2), (logp_BT,))


def test_a_ratio_out_of_range_is_cut_and_not_infinite() -> None:
    logp_BT, ref_BT = torch.zeros(1, 2), torch.full((1, 2), -100.0)
    ones = torch.ones(1), torch.ones(1, 2, dtype=torch.long)
    weight_BT = alol_weight(logp_BT, ref_BT, *ones, ratio="sequence", cliprange=0.9, clamp_advantage=True)
    assert weight_BT.tolist() == [[pytest.approx(1.9)] * 2]


def stored() -> AdvantageBatch:
    constants = {"reward_B": torch.tensor([0.5, 0.1, 0.9]), "adv_B": torch.tensor([0.2, -0.3, 0.6])}
    batch = AdvantageBatch(**(vars(batch_of()) | constants))
    generator = torch.Generator().manual_seed(1)
    return AdvantageBatch(**(vars(batch) | {"logp_ref_BT": -4 - torch.rand(batch.ids_BT.shape, generator=generator)}))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_the_loss_is_the_mean_over_examples(name: str, variant: str) -> None:
    models, batch = Models(policy=Policy(Trunk(build(name)), None, budget=1000)), stored()
    config = ALOLConfig(variant=variant, cliprange=0.5, **({"beta": 0.3} if variant == "a_lol_kl" else {}))
    with torch.no_grad():
        made = ALOL(config).loss(models, batch)
        logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
    assert logp_BT is not None and batch.logp_ref_BT is not None
    n_B = batch.length_B.tolist()
    rows = [
        reference.loss(
            variant, logp_BT[i, :n].tolist(), batch.logp_ref_BT[i, :n].tolist(),
            reward=float(batch.reward_B[i]), adv=float(batch.adv_B[i]), eps=0.5, beta=0.3,
        )
        for i, n in enumerate(n_B)
    ]  # fmt: skip
    got = aggregate(made.terms, made.mask, average=made.average, denominator=len(batch))
    assert float(got) == pytest.approx(sum(rows) / 3, rel=1e-4)


def test_the_log_says_how_many_ratios_are_cut() -> None:
    models, batch = Models(policy=Policy(Trunk(build("llama")), None, budget=1000)), stored()
    logp_BT = models.policy.score(batch, want={"logp"}).logp_BT
    expected = ((logp_BT - batch.logp_ref_BT).exp() - 1).abs() > 0.5
    clipped, mask_BT = ALOL(ALOLConfig(variant="a_lol_seq", cliprange=0.5)).loss(models, batch).diagnostics["clipped"]
    where = mask_BT.bool()
    assert clipped[where].tolist() == expected[where].float().tolist()
    assert 0 < float(clipped[where].mean()) < 1
    assert "clipped" not in ALOL(ALOLConfig(variant="a_lol_ref_free")).loss(models, batch).diagnostics


def test_each_form_says_what_it_needs() -> None:
    needs = {variant: ALOL(ALOLConfig(variant=variant)).needs for variant in VARIANTS}
    everything = {"pairs", "rewards", "value", "reference"}
    assert needs == {
        "a_lol": everything,
        "a_lol_kl": everything,
        "a_lol_seq": everything,
        "a_lol_ref_free": everything - {"reference"},
        "r_lol": everything - {"value"},
    }
    assert [v for v in VARIANTS if ALOLConfig(variant=v).stands_alone] == ["r_lol"]
