"""Direct preference optimisation: the definition, ln 2 where nothing counts, what is constant, whole responses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference import dpo as reference
from test_policies import PROMPTS, RESPONSES, batch_of, naive_logp
from tiny import build

from homestretch.algorithms.base import Models
from homestretch.algorithms.dpo import DPO, dpo_loss, dpo_margin, weighted_dpo_loss
from homestretch.batch import PairBatch
from homestretch.config.dpo import DPOConfig
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

LOGP = st.floats(-30, 0)
WORSE = [[30, 31], [32, 33, 34, 35, 1], [36]]
PLAIN = {"beta": 0.1, "label_smoothing": 0.0}


def leaves(*rows: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in rows]


def test_by_hand() -> None:
    """beta 0.1: h = 0.1 ((-10 + 12) - (-11 + 11.5)) = 0.15, and -ln s(0.15) = ln(1 + e^-0.15)."""
    sides = leaves([-10.0], [-12.0], [-11.0], [-11.5])
    assert dpo_margin(*sides).tolist() == [1.5]
    assert dpo_loss(*sides, **PLAIN).tolist() == pytest.approx([math.log(1 + math.exp(-0.15))])
    smooth = 0.75 * math.log(1 + math.exp(-0.15)) + 0.25 * math.log(1 + math.exp(0.15))
    assert dpo_loss(*sides, beta=0.1, label_smoothing=0.25).tolist() == pytest.approx([smooth])


@given(
    rows=st.lists(st.tuples(LOGP, LOGP, LOGP, LOGP), min_size=1, max_size=4),
    beta=st.floats(0, 0.5),
    label_smoothing=st.sampled_from([0.0, 0.1, 0.4]),
)
def test_equals_the_definition_pair_by_pair(
    rows: list[tuple[float, float, float, float]], beta: float, label_smoothing: float
) -> None:
    got_B = dpo_loss(*leaves(*map(list, zip(*rows, strict=True))), beta=beta, label_smoothing=label_smoothing)
    expected = [reference.loss(*row, beta=beta, label_smoothing=label_smoothing) for row in rows]
    assert got_B.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_nothing_counts_at_beta_zero_or_where_the_policy_is_its_reference(label_smoothing: float) -> None:
    chosen, rejected, ref_chosen, ref_rejected = leaves([-3.0, -20.0], [-9.0, -1.0], [-5.0, -6.0], [-7.0, -8.0])
    ln2 = pytest.approx([math.log(2)] * 2)
    none = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.0, label_smoothing=label_smoothing)
    assert none.tolist() == ln2
    same = dpo_loss(chosen, rejected, chosen.detach(), rejected.detach(), beta=0.7, label_smoothing=label_smoothing)
    assert same.tolist() == ln2
    assert not torch.autograd.grad(none.sum(), chosen)[0].any()


def test_no_gradient_through_the_reference() -> None:
    sides = leaves([-3.0], [-4.0], [-5.0], [-4.5])
    dpo_loss(*sides, beta=0.5, label_smoothing=0.1).sum().backward()
    assert sides[2].grad is None and sides[3].grad is None
    assert sides[0].grad is not None and sides[1].grad is not None
    assert float(sides[0].grad) < 0 < float(sides[1].grad)
    assert float(sides[0].grad) == -float(sides[1].grad)


def test_gradcheck() -> None:
    chosen, rejected, ref_chosen, ref_rejected = leaves([-3.0, -2.0], [-4.0, -6.0], [-5.0, -1.0], [-4.5, -3.0])
    fixed = ref_chosen.detach(), ref_rejected.detach()
    assert torch.autograd.gradcheck(
        lambda c, r: dpo_loss(c, r, *fixed, beta=0.5, label_smoothing=0.2), (chosen, rejected)
    )


def test_far_pairs_stay_finite() -> None:
    far = leaves([0.0, -9e4], [-9e4, 0.0], [0.0, 0.0], [0.0, 0.0])
    terms_B = dpo_loss(*far, beta=0.1, label_smoothing=0.0)
    assert terms_B.tolist() == pytest.approx([0.0, 9e3])


def pairs() -> PairBatch:
    rejected = batch_of(PROMPTS, WORSE)
    reference = torch.tensor([-20.0, -8.0, -17.0]), torch.tensor([-9.0, -26.0, -5.0])
    return PairBatch(
        chosen=batch_of(), rejected=rejected, logp_ref_chosen_B=reference[0], logp_ref_rejected_B=reference[1]
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_the_loss_compares_whole_responses_row_by_row(name: str) -> None:
    """The reference finds better and worse responses less probable by (2, -3, 1) and (0, 0, 4) nats."""
    lm = build(name)
    with torch.no_grad():
        chosen_B, rejected_B = (
            torch.stack([naive_logp(lm, p, r).sum() for p, r in zip(PROMPTS, side, strict=True)])
            for side in (RESPONSES, WORSE)
        )
        less = chosen_B - torch.tensor([2.0, -3.0, 1.0]), rejected_B - torch.tensor([0.0, 0.0, 4.0])
        batch = replace(pairs(), logp_ref_chosen_B=less[0], logp_ref_rejected_B=less[1])
        models = Models(Policy(Trunk(lm), None, budget=1000))
        terms = DPO(DPOConfig(beta=0.3, label_smoothing=0.1)).loss(models, batch)
    rows = zip(chosen_B.tolist(), rejected_B.tolist(), less[0].tolist(), less[1].tolist(), strict=True)
    expected = [reference.loss(*row, beta=0.3, label_smoothing=0.1) for row in rows]
    assert terms.terms.tolist() == pytest.approx(expected, rel=1e-4)
    assert terms.average == "sequence" and terms.mask.tolist() == [1, 1, 1]
    found = {key: values.tolist() for key, (values, _) in terms.diagnostics.items()}
    assert found["margin"] == pytest.approx([2, -3, -3], abs=1e-3)
    assert found["accuracy"] == [1, 0, 0]
    assert found["logp_chosen"] == pytest.approx(chosen_B.tolist(), abs=1e-3)
    assert found["logp_rejected"] == pytest.approx(rejected_B.tolist(), abs=1e-3)


def test_rows_keep_their_reference_when_they_are_chosen() -> None:
    batch = pairs()
    part = batch.select([2, 0])
    assert part.logp_ref_chosen_B.tolist() == [-17.0, -20.0] and part.logp_ref_rejected_B.tolist() == [-5.0, -9.0]
    models = Models(Policy(Trunk(build("llama")), None, budget=1000))
    algorithm = DPO(DPOConfig())
    whole = algorithm.loss(models, batch).terms
    torch.testing.assert_close(algorithm.loss(models, part).terms, whole[[2, 0]], atol=1e-5, rtol=1e-5)
    with pytest.raises(AssertionError):
        algorithm.loss(models, replace(batch, logp_ref_rejected_B=None))


def several(order: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards of one other objective, 3 apart, that prefer the better response (1), neither (0), the worse one (-1)."""
    difference_B1 = 3 * torch.tensor(order, dtype=torch.float64)[:, None]
    return 7 + difference_B1, torch.full_like(difference_B1, 7)


WEIGHED = {"beta": 0.3, "label_smoothing": 0.1}
SIDES = [-3.0, -20.0, -7.0], [-9.0, -1.0, -8.0], [-5.0, -6.0, -7.5], [-7.0, -8.0, -7.0]


def test_each_objective_orders_the_same_pairs_and_losses_are_weighed() -> None:
    found_B = weighted_dpo_loss(*leaves(*SIDES), *several([1, -1, 0]), **WEIGHED, weight=0.6, reward_weights=[0.4])
    found = found_B.tolist()
    for place, (row, order) in enumerate(zip(zip(*SIDES, strict=True), [1, -1, 0], strict=True)):
        chosen, rejected, ref_chosen, ref_rejected = row
        expected = 0.6 * reference.loss(*row, **WEIGHED)
        if order:
            turned = row if order > 0 else (rejected, chosen, ref_rejected, ref_chosen)
            expected += 0.4 * reference.loss(*turned, **WEIGHED)
        assert found[place] == pytest.approx(expected, abs=1e-9), place


def test_one_objective_alone_is_dpo_on_its_own_order() -> None:
    own_B = dpo_loss(*leaves(*SIDES), **WEIGHED)
    first_B = weighted_dpo_loss(*leaves(*SIDES), *several([-1, 1, 0]), **WEIGHED, weight=1.0, reward_weights=[0.0])
    assert torch.equal(first_B, own_B)
    chosen, rejected, ref_chosen, ref_rejected = leaves(*SIDES)
    turned_B = dpo_loss(rejected, chosen, ref_rejected, ref_chosen, **WEIGHED)
    other_B = weighted_dpo_loss(*leaves(*SIDES), *several([-1, -1, -1]), **WEIGHED, weight=0.0, reward_weights=[1.0])
    torch.testing.assert_close(other_B, turned_B)


def test_weighed_losses_have_no_gradient_through_rewards() -> None:
    sides, rewards = leaves(*SIDES), [reward.requires_grad_() for reward in several([1, -1, 1])]
    weighted_dpo_loss(*sides, *rewards, **WEIGHED, weight=0.5, reward_weights=[0.5]).sum().backward()
    assert all(reward.grad is None for reward in rewards) and sides[2].grad is None
    start = leaves([-3.0], [-9.0], [-3.0], [-9.0])
    weighted_dpo_loss(*start, *several([-1]), **WEIGHED, weight=0.5, reward_weights=[0.5]).sum().backward()
    assert start[0].grad is not None and float(start[0].grad) == pytest.approx(0), "a draw between two objectives"


def test_the_algorithm_weighs_by_its_settings() -> None:
    settings = DPOConfig(weight=0.6, rewards={"concise": 0.4})
    chosen_BM, rejected_BM = several([1, -1, 0])
    batch = replace(pairs(), reward_chosen_BM=chosen_BM.float(), reward_rejected_BM=rejected_BM.float())
    models = Models(Policy(Trunk(build("llama")), None, budget=1000))
    plain = DPO(DPOConfig()).loss(models, batch).terms.tolist()
    found = DPO(settings).loss(models, batch).terms.tolist()
    assert DPO(settings).needs == {"pairs", "negatives", "reference", "rewards"} and "rewards" not in DPO.needs
    assert found[0] == pytest.approx(plain[0], rel=1e-5), "both objectives say the same of it"
    assert found[2] == pytest.approx(0.6 * plain[2], rel=1e-5), "the other one says nothing of it"
    with pytest.raises(AssertionError):
        DPO(settings).loss(models, pairs())
