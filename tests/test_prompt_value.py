"""V of a prompt: a pooled head on its states, blind to padding and responses, and without chance in eval mode."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from test_policies import PROMPTS, RESPONSES, batch_of
from tiny import BUILDERS, build

from homestretch.config.training import TrainingConfig
from homestretch.policies.heads import PooledValueHead
from homestretch.policies.modes import evaluating
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

WANT = {"prompt_value"}


def trunk_of(name: str, *, r_max: float = 1.0) -> Trunk:
    trunk = Trunk(build(name))
    torch.manual_seed(1)
    head = trunk.add_prompt_head(r_max=r_max)
    torch.nn.init.normal_(head.linear.weight)
    return trunk


def values(trunk: Trunk, batch=None, *, adapter: str | None = None, budget: int = 1000) -> torch.Tensor:
    with torch.no_grad(), evaluating(trunk):
        made = Policy(trunk, adapter, budget=budget).score(batch or batch_of(), want=WANT)
    assert made.logp_BT is None and made.hidden_BSD is None
    return made.prompt_value_B


def naive_states(trunk: Trunk, prompt: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt])
    if trunk.is_encoder_decoder:
        return trunk.lm.get_encoder()(input_ids=ids).last_hidden_state[0]
    return trunk.lm(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]


def naive_value(head: PooledValueHead, states_PD: torch.Tensor) -> float:
    """Attention written out, head by head, in float64."""
    attention, width = head.attention.double(), states_PD.shape[1]
    states_PD = torch.nn.functional.layer_norm(states_PD.double(), (width,))
    w, b = attention.in_proj_weight.view(3, width, width), attention.in_proj_bias.view(3, width)
    query = w[0] @ head.query_D.double() + b[0]
    keys, contents = states_PD @ w[1].T + b[1], states_PD @ w[2].T + b[2]
    pooled, size = [], width // attention.num_heads
    for at in range(0, width, size):
        part = slice(at, at + size)
        share_P = (keys[:, part] @ query[part] / math.sqrt(size)).softmax(0)
        pooled.append(share_P @ contents[:, part])
    out = attention.out_proj(torch.cat(pooled))
    logit = float(head.linear.weight.double() @ out + head.linear.bias.double())
    attention.float()
    return head.r_max / (1 + math.exp(-logit))


@pytest.mark.parametrize("name", BUILDERS)
def test_it_is_the_attention_of_one_query_over_the_prompt_row_by_row(name: str) -> None:
    trunk = trunk_of(name, r_max=5.0)
    got_B = values(trunk).tolist()
    with torch.no_grad():
        expected = [naive_value(trunk.heads["prompt_value"], naive_states(trunk, p)) for p in PROMPTS]
    assert got_B == pytest.approx(expected, abs=1e-4)
    assert max(got_B) - min(got_B) > 0.05 and all(0 < v < 5 for v in got_B)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_neither_padding_nor_neighbours_nor_the_response_change_it(name: str) -> None:
    trunk, batch = trunk_of(name), batch_of()
    expected = values(trunk)
    for other in (
        batch_of(left=False),
        batch_of(junk=3),
        batch_of(responses=[[9], [8, 7, 6], [5, 5]]),
        replace(batch, mask_BT=torch.zeros_like(batch.mask_BT)),
    ):
        torch.testing.assert_close(values(trunk, other), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values(trunk, budget=1), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values(trunk, batch.select([2, 0])), expected[[2, 0]], atol=1e-5, rtol=1e-5)
    shared = batch_of([PROMPTS[0], PROMPTS[0], PROMPTS[1]], RESPONSES)
    torch.testing.assert_close(values(trunk, shared), expected[[0, 0, 1]], atol=1e-5, rtol=1e-5)


def test_it_comes_with_other_quantities_or_alone() -> None:
    trunk = trunk_of("llama")
    with torch.no_grad(), evaluating(trunk):
        both = Policy(trunk, None, budget=1000).score(batch_of(), want={"prompt_value", "logp"})
    torch.testing.assert_close(both.prompt_value_B, values(trunk))
    assert both.logp_BT is not None


def test_it_reads_the_reference_and_not_the_adapter() -> None:
    trunk = trunk_of("llama")
    before = values(trunk)
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    with torch.no_grad():
        for key, parameter in trunk.named_parameters():
            if "lora_B" in key:
                parameter.normal_()
    torch.testing.assert_close(values(trunk), before)
    assert not torch.allclose(values(trunk, adapter="policy"), before)


def test_heads_only_lets_no_gradient_into_the_trunk() -> None:
    trunk = trunk_of("llama")
    made = Policy(trunk, None, budget=1000).score(batch_of(), want=WANT, heads_only=True)
    made.prompt_value_B.sum().backward()
    touched = {key for key, p in trunk.named_parameters() if p.grad is not None}
    assert touched == {f"heads.prompt_value.{key}" for key, _ in trunk.heads["prompt_value"].named_parameters()}


def test_dropout_acts_in_training_mode_alone_and_modes_come_back() -> None:
    trunk = trunk_of("llama")
    policy, head = Policy(trunk, None, budget=1000), trunk.heads["prompt_value"]
    assert head.training and not trunk.lm.training
    draws = [policy.score(batch_of(), want=WANT).prompt_value_B for _ in range(2)]
    assert not torch.equal(*draws)
    assert torch.equal(values(trunk), values(trunk))
    assert head.training and head.dropout.training and not trunk.lm.training
    with pytest.raises(KeyError), evaluating(trunk):
        raise KeyError
    assert head.training


@pytest.mark.parametrize(("width", "count"), [(1024, 4_200_449), (1600, 10_249_601), (4096, 67_133_441)])
def test_parameters_of_the_sheet(width: int, count: int) -> None:
    with torch.device("meta"):
        head = PooledValueHead(width, r_max=1.0)
    assert sum(p.numel() for p in head.parameters()) == count
    assert head.attention.num_heads == 8


def test_it_starts_near_a_value() -> None:
    torch.manual_seed(0)
    head = PooledValueHead(32, r_max=4.0)
    head.start_at(3.0)
    made = head(torch.randn(6, 5, 32), torch.ones(6, 5))
    assert made.tolist() == pytest.approx([3.0] * 6, abs=0.1)
