"""Supervised fine-tuning: the likelihood of references, end marker included, and nothing of padding."""

from __future__ import annotations

import torch
from hypothesis import given
from ragged import mask_of, ragged, rows_of
from test_policies import PROMPTS, RESPONSES, batch_of, naive_logp
from tiny import build

from homestretch.algorithms.base import Models
from homestretch.algorithms.sft import SFT, nll_loss
from homestretch.batch import LossTerms, SequenceBatch
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk


def value(terms: LossTerms) -> torch.Tensor:
    count = denominator(terms.mask, terms.average)
    return aggregate(terms.terms, terms.mask, average=terms.average, denominator=count)


def loss_of(policy: Policy, batch: SequenceBatch) -> torch.Tensor:
    return value(SFT().loss(Models(policy=policy), batch))


@given(ragged())
def test_terms_are_minus_logp_where_the_mask_is_and_zero_elsewhere(case: tuple[torch.Tensor, list[int]]) -> None:
    logp_BT, lengths = case
    terms_BT = nll_loss(logp_BT, mask_of(logp_BT, lengths))
    assert rows_of(terms_BT, lengths) == [[-x for x in row] for row in rows_of(logp_BT, lengths)]
    assert not terms_BT[~mask_of(logp_BT, lengths).bool()].any()


def test_the_gradient_is_minus_one_on_tokens_and_zero_on_padding() -> None:
    logp_BT = torch.zeros(2, 3, requires_grad=True)
    nll_loss(logp_BT, torch.tensor([[1, 1, 0], [1, 0, 0]])).sum().backward()
    assert logp_BT.grad is not None and logp_BT.grad.tolist() == [[-1, -1, 0], [-1, 0, 0]]


def test_the_loss_is_the_mean_over_all_tokens_row_by_row() -> None:
    for name in ("llama", "t5"):
        lm = build(name)
        with torch.no_grad():
            naive = torch.cat([naive_logp(lm, p, r) for p, r in zip(PROMPTS, RESPONSES, strict=True)])
            got = loss_of(Policy(Trunk(lm), None, budget=1000), batch_of())
        torch.testing.assert_close(got, -naive.mean(), atol=2e-5, rtol=1e-5)


def test_the_end_marker_is_learned() -> None:
    """One step down the gradient makes the end marker itself more probable."""
    lm = build("llama")
    policy = Policy(Trunk(lm), None, budget=1000)
    one = batch_of([[5, 6]], [[1]])
    before = loss_of(policy, one)
    before.backward()
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.grad is not None:
                parameter -= 1e-3 * parameter.grad
        assert loss_of(policy, one) < before - 1e-4


def test_prompt_tokens_are_not_learned_and_padding_changes_nothing() -> None:
    policy = Policy(Trunk(build("gpt2")), None, budget=1000)
    with torch.no_grad():
        terms = SFT().loss(Models(policy=policy), batch_of())
        assert int(denominator(terms.mask, terms.average)) == sum(map(len, RESPONSES))
        for other in (batch_of(left=False), batch_of(junk=3)):
            torch.testing.assert_close(loss_of(policy, other), value(terms), atol=2e-5, rtol=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole_in_value_and_gradient() -> None:
    lm = build("llama")
    policy, batch = Policy(Trunk(lm), None, budget=1000), batch_of()
    whole = loss_of(policy, batch)
    whole.backward()
    expected = lm.lm_head.weight.grad.clone()
    lm.zero_grad()
    total = 0.0
    for rows in ([2], [0, 1]):
        terms = SFT().loss(Models(policy=policy), batch.select(rows))
        part = aggregate(terms.terms, terms.mask, average="token", denominator=float(sum(map(len, RESPONSES))))
        part.backward()
        total += float(part.detach())
    torch.testing.assert_close(torch.tensor(total), whole.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lm.lm_head.weight.grad, expected, atol=1e-5, rtol=1e-4)


def test_a_stream_is_one_update_a_round_and_nothing_is_kept() -> None:
    batch = batch_of()
    (made,) = SFT().stream(Models(policy=Policy(Trunk(build("llama")), None, budget=1)), [(7, batch)])
    assert list(made.updates) == [batch] and made.stats == {}
    assert SFT().state() == {} and SFT().needs == {"pairs"}


def test_the_logged_entropy_is_that_of_the_predictions() -> None:
    lm = build("llama")
    with torch.no_grad():
        terms = SFT().loss(Models(policy=Policy(Trunk(lm), None, budget=1000)), batch_of([PROMPTS[0]], [RESPONSES[0]]))
        logits = lm(input_ids=torch.tensor([PROMPTS[0] + RESPONSES[0]])).logits[0, len(PROMPTS[0]) - 1 : -1]
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(terms.diagnostics["entropy"][0][0], expected, atol=2e-5, rtol=1e-4)
