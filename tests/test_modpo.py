"""Multi-objective DPO: the sheet's numbers, DPO at one end, what cancels, what is constant."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import modpo as reference
from test_dpo import leaves, pairs
from tiny import build

from homestretch.algorithms.base import Models
from homestretch.algorithms.dpo import DPO, dpo_loss
from homestretch.algorithms.modpo import MODPO, modpo_logits, modpo_loss
from homestretch.config.dpo import DPOConfig
from homestretch.config.modpo import MODPOConfig
from homestretch.errors import RecipeError
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

SHEET = {
    (0.5, 0.5): (-0.1, 0.0, 0.744397),
    (0.9, 0.1): (0.166667, -0.088889, 0.573511),
    (0.1, 0.9): (-2.5, 0.8, 3.336219),
    (1.0, 0.0): (0.2, -0.1, 0.554355),
}
LOGP, REWARD = st.floats(-30, 0), st.floats(-3, 3)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(("weights", "expected"), SHEET.items())
def test_numbers_of_the_sheet(weights: tuple[float, float], expected: tuple[float, float, float]) -> None:
    sides = *leaves([-20.0], [-25.0], [-22.0], [-24.0]), column(0.5), column(-0.2)
    settings = {"beta": 0.1, "weight": weights[0], "reward_weights": [weights[1]]}
    better, worse, loss = expected
    assert modpo_logits(*sides, **settings).tolist() == pytest.approx([better - worse], abs=2e-6)
    assert modpo_loss(*sides, **settings).tolist() == pytest.approx([loss], abs=1e-6)
    hinge = modpo_loss(*sides, **settings, loss_type="hinge")
    assert hinge.tolist() == pytest.approx([max(0.0, 1 - (better - worse))], abs=2e-6)


def test_a_length_penalty_of_the_sheet() -> None:
    sides = *leaves([-20.0], [-25.0], [-22.0], [-24.0]), column(-30), column(-50)
    assert modpo_logits(*sides, beta=0.1, weight=1.0, reward_weights=[0.1]).tolist() == pytest.approx([3.2 - 4.9])
    assert modpo_loss(*sides, beta=0.1, weight=1.0, reward_weights=[0.1]).tolist() == pytest.approx(
        [1.867786], abs=1e-6
    )


@given(
    rows=st.lists(st.tuples(LOGP, LOGP, LOGP, LOGP, REWARD, REWARD, REWARD, REWARD), min_size=1, max_size=4),
    beta=st.floats(0.01, 0.3),
    weights=st.sampled_from([[0.5, 0.3, 0.2], [0.9, 0.0, 0.1], [0.2, 0.5, 0.3]]),
)
def test_equals_the_definition_pair_by_pair(rows: list[tuple[float, ...]], beta: float, weights: list[float]) -> None:
    columns = list(map(list, zip(*rows, strict=True)))
    reward_BM = torch.tensor(rows, dtype=torch.float64)[:, 4:]
    got_B = modpo_loss(
        *leaves(*columns[:4]),
        reward_BM[:, :2],
        reward_BM[:, 2:],
        beta=beta,
        weight=weights[0],
        reward_weights=weights[1:],
    )
    expected = [
        reference.loss((c, rc, [a, b]), (r, rr, [d, e]), beta=beta, weights=weights)
        for c, r, rc, rr, a, b, d, e in rows
    ]
    assert got_B.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_without_other_objectives_it_is_dpo_to_the_bit_in_value_and_gradient() -> None:
    sides = leaves([-3.0, -20.0], [-9.0, -1.0], [-5.0, -6.0], [-7.0, -8.0])
    rewards = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    ours = modpo_loss(*sides, *rewards, beta=0.3, weight=1.0, reward_weights=[0.0, 0.0, 0.0])
    none = modpo_loss(*sides, *(r[:, :0] for r in rewards), beta=0.3, weight=1.0, reward_weights=[])
    theirs = dpo_loss(*sides, beta=0.3, label_smoothing=0.0)
    assert torch.equal(ours, theirs) and torch.equal(none, theirs)
    gradients = [torch.autograd.grad(loss.sum(), sides[:2]) for loss in (ours, theirs)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_what_only_the_prompt_decides_cancels_and_exchanged_sides_negate() -> None:
    chosen, rejected, ref_chosen, ref_rejected = leaves([-3.0, -20.0], [-9.0, -1.0], [-5.0, -6.0], [-7.0, -8.0])
    better, worse = column(0.5, -1.0), column(-0.25, 2.0)
    settings = {"beta": 0.25, "weight": 0.5, "reward_weights": [0.5]}
    plain = modpo_logits(chosen, rejected, ref_chosen, ref_rejected, better, worse, **settings)
    offset = column(8.0, -4.0)
    moved = modpo_logits(chosen, rejected, ref_chosen, ref_rejected, better + offset, worse + offset, **settings)
    assert torch.equal(plain, moved)
    turned = modpo_logits(rejected, chosen, ref_rejected, ref_chosen, worse, better, **settings)
    assert torch.equal(turned, -plain)
    scaled = modpo_logits(
        chosen, rejected, ref_chosen, ref_rejected, 4 * better, 4 * worse, **{**settings, "beta": 1.0}
    )
    assert torch.equal(scaled, 4 * plain)
    at_start = modpo_logits(chosen, rejected, chosen.detach(), rejected.detach(), better, worse, **settings)
    assert torch.equal(at_start, -(better - worse).squeeze(1))


def test_a_pair_in_both_orders_teaches_the_other_rewards_alone() -> None:
    """Both losses together are least where beta times the margin is the others' difference: 0.3 * 4 = 0.4 * 3."""
    chosen, rejected, ref_chosen, ref_rejected = leaves([-3.0], [-9.0], [-5.0], [-7.0])
    settings = {"beta": 0.3, "weight": 0.6, "reward_weights": [0.4]}
    better, worse = column(2.0), column(-1.0)
    loss = modpo_loss(chosen, rejected, ref_chosen, ref_rejected, better, worse, **settings)
    turned = modpo_loss(rejected, chosen, ref_rejected, ref_chosen, worse, better, **settings)
    (loss + turned).sum().backward()
    assert chosen.grad is not None and float(chosen.grad) == pytest.approx(0, abs=1e-12)


def test_no_gradient_through_reference_and_rewards() -> None:
    sides = [*leaves([-3.0], [-4.0], [-5.0], [-4.5]), column(0.5).requires_grad_(), column(0.1).requires_grad_()]
    modpo_loss(*sides, beta=0.5, weight=0.5, reward_weights=[0.5]).sum().backward()
    assert all(side.grad is None for side in sides[2:])
    assert float(sides[0].grad) < 0 < float(sides[1].grad)


def test_gradcheck() -> None:
    chosen, rejected, ref_chosen, ref_rejected = leaves([-3.0, -2.0], [-4.0, -6.0], [-5.0, -1.0], [-4.5, -3.0])
    fixed = ref_chosen.detach(), ref_rejected.detach(), column(1.0, -0.5), column(0.3, 2.0)
    assert torch.autograd.gradcheck(
        lambda c, r: modpo_loss(c, r, *fixed, beta=0.5, weight=0.4, reward_weights=[0.6]), (chosen, rejected)
    )


def test_the_method_passes_its_settings_on() -> None:
    rewards = torch.tensor([[1.0, 0.0], [2.0, -1.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 3.0]])
    batch = replace(pairs(), reward_chosen_BM=rewards[0], reward_rejected_BM=rewards[1])
    models = Models(Policy(Trunk(build("llama")), None, budget=1000))
    config = MODPOConfig(weight=0.5, rewards={"concise": 0.2, "coverage": 0.3}, beta=0.3)
    with torch.no_grad():
        terms = MODPO(config).loss(models, batch)
        alone = DPO(DPOConfig(beta=0.3)).loss(models, batch)
        difference_B = (rewards[0] - rewards[1]) @ torch.tensor([0.2, 0.3])
        expected = -torch.nn.functional.logsigmoid((0.3 * alone.diagnostics["margin"][0] - difference_B) / 0.5)
    torch.testing.assert_close(terms.terms, expected)
    assert terms.average == "sequence" and terms.diagnostics.keys() == alone.diagnostics.keys()
    hinge = MODPO(config.model_copy(update={"loss_type": "hinge"})).loss(models, batch).terms
    torch.testing.assert_close(hinge, (1 + torch.expm1(terms.terms).log()).clamp(min=0))
    part = MODPO(config).loss(models, batch.select([2, 0])).terms
    torch.testing.assert_close(part, terms.terms[[2, 0]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"weight": 0.5, "rewards": {"concise": 0.3}},
            "the shares (weight 0.5, concise 0.3) sum to 0.8; make them sum to 1",
        ),
        ({"weight": 0.0, "rewards": {"concise": 1.0}}, "weight 0 leaves the order of the pairs out, by which the loss"),
        ({"weight": 0.0, "rewards": {"concise": 0.3}}, "weight 0, the other objectives alone, is learnt by `dpo` of"),
        (
            {"weight": 0.0, "rewards": {"safe": {"weight": 0.3, "policy": "runs/{seed}/model"}}},
            "use 0.01 or more; weight 0 is the margin policy itself, `runs/{seed}/model`",
        ),
        (
            {"weight": 0.5, "rewards": {"safe": {"weight": 0.5, "policy": "runs/{sed}/model"}}},
            "`{sed}` stands for nothing; the one placeholder is `{seed}`, the run's seed",
        ),
        ({"weight": 1.5, "rewards": {"concise": -0.5}}, "less than or equal to 1"),
        ({"weight": 1.0, "rewards": {"concise": -0.5}}, "greater than or equal to 0"),
        ({"weight": 0.5, "rewards": {"short": 0.5}}, "`short` is no reward"),
        ({"weight": 0.5, "rewards": {"safe": {"weight": 0.5, "policy": "a", "column": "b"}}}, "two rewards"),
        ({"weight": 0.5, "rewards": {"concise": {"policy": "a"}}}, "missing"),
        ({"weight": 0.5, "rewards": {"concise": {"policy": "a", "weight": 0.5}}}, "is the name of a reward of ours"),
    ],
)
def test_shares_that_are_none(settings: dict, sentence: str) -> None:
    with pytest.raises(RecipeError) as error:
        MODPOConfig.parse(settings, where="here")
    assert sentence in str(error.value)
