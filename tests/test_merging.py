"""The adapter merged for a rollout: the same model meanwhile, and afterwards the same tensors, bit for bit."""

from __future__ import annotations

import warnings

import pytest
import torch
from peft.tuners.lora import LoraLayer
from test_engine import ENDS, PROMPTS, SAMPLED, policy_of
from test_policies import batch_of
from tiny import BUILDERS, build
from torch import Tensor

from homestretch.config.training import TrainingConfig
from homestretch.generation.engine import generate, pad_left
from homestretch.policies.adapters import merged
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk


def bits(trunk: Trunk) -> dict[str, tuple[int, tuple[int, ...], Tensor]]:
    """Every weight and buffer: where it lies, its layout, and a copy of its bits."""
    named = {**dict(trunk.named_parameters(remove_duplicate=False)), **dict(trunk.named_buffers())}
    return {name: (t.data_ptr(), t.stride(), t.detach().clone()) for name, t in named.items()}


def assert_untouched(trunk: Trunk, before: dict[str, tuple[int, tuple[int, ...], Tensor]]) -> None:
    after = bits(trunk)
    assert after.keys() == before.keys()
    for name, (place, layout, values) in before.items():
        assert after[name][:2] == (place, layout), name
        found, expected = (t.flatten().view(torch.uint8) for t in (after[name][2], values))  # -0.0 is not 0.0
        assert torch.equal(found, expected), name


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_after_a_rollout_are_those_from_before_bit_for_bit(name):
    policy = policy_of(build(name), adapter=True)
    before, parameters = bits(policy.trunk), {id(p) for p in policy.trunk.parameters()}
    generate(policy, PROMPTS, eos_ids=ENDS, sampling=SAMPLED)
    assert_untouched(policy.trunk, before)
    assert {id(p) for p in policy.trunk.parameters()} == parameters, "an optimizer holds on to these"


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
def test_so_they_are_where_the_rollout_fails(name):
    policy = policy_of(build(name), adapter=True)
    before = bits(policy.trunk)

    def stop_here(done: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(policy, PROMPTS, eos_ids=ENDS, sampling=SAMPLED, on_done=stop_here)
    assert_untouched(policy.trunk, before)


def test_so_they_are_where_merging_itself_fails(monkeypatch):
    policy = policy_of(build("llama"), adapter=True)
    before, made = bits(policy.trunk), []
    [layer] = {type(m) for m in policy.trunk.modules() if isinstance(m, LoraLayer)}
    delta = layer.get_delta_weight

    def runs_out(self: LoraLayer, adapter: str) -> Tensor:
        made.append(adapter)
        if len(made) == 4:
            raise torch.OutOfMemoryError
        return delta(self, adapter)

    monkeypatch.setattr(layer, "get_delta_weight", runs_out)
    with pytest.raises(torch.OutOfMemoryError), policy.decoding():
        pass
    assert_untouched(policy.trunk, before)
    with torch.no_grad():
        mine = policy.score(batch_of(), want={"logp"}).logp_BT
        base = Policy(policy.trunk, None, budget=1000).score(batch_of(), want={"logp"}).logp_BT
    assert not torch.equal(mine, base), "the adapter is on again"


def test_weights_do_change_meanwhile():
    policy = policy_of(build("llama"), adapter=True)
    before = bits(policy.trunk)
    with torch.no_grad(), merged(policy.trunk.model, "policy"), pytest.raises(AssertionError):
        assert_untouched(policy.trunk, before)
    assert_untouched(policy.trunk, before)


@torch.no_grad()
def test_an_adapter_on_a_head_that_shares_its_weights_leaves_the_embeddings_alone():
    lm = build("gpt2")
    assert lm.lm_head.weight is lm.transformer.wte.weight
    trunk = Trunk(lm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's of tied weights
        trunk.add_adapter("policy", TrainingConfig(lora_r=4, lora_target_modules=["lm_head", "c_attn"]))
    for name, parameter in trunk.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.3)
    policy, before = Policy(trunk, "policy", budget=1000), bits(trunk)
    ids, mask = pad_left(PROMPTS)
    with trunk.using("policy"):
        expected = torch.stack([lm(torch.tensor([p])).logits[0, -1] for p in PROMPTS])
    with policy.decoding() as start:
        torch.testing.assert_close(policy.logits(start(ids, mask).hidden_BD), expected, atol=1e-4, rtol=1e-4)
    assert_untouched(trunk, before)
