"""The look-ahead's candidates against an evaluation of every prefix by itself."""

from __future__ import annotations

import pytest
import torch
from test_policies import PROMPTS, RESPONSES, batch_of
from tiny import BUILDERS, VOCAB, build

from homestretch.config.training import TrainingConfig
from homestretch.generation.candidates import candidates
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

PLACES = [(b, t) for b, response in enumerate(RESPONSES) for t in range(len(response))]


def policy_of(name: str) -> Policy:
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    trunk.add_head("value", zero=False)
    with torch.no_grad():
        for parameter_name, parameter in trunk.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=0.1)
    return Policy(trunk, "policy", budget=1000)


@torch.no_grad()
def all_logp(policy: Policy, b: int, t: int) -> torch.Tensor:
    """ln p of every token of the vocabulary at one place."""
    batch = batch_of([PROMPTS[b]], [RESPONSES[b][: t + 1]])
    every = torch.arange(VOCAB).expand(1, t + 1, VOCAB)
    return policy.score(batch, want=(), candidate_BTK=every).logp_BTK[0, t]


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("masks", [True, False])
def test_each_candidate_is_scored_as_its_prefix_would_be(name, k, masks, monkeypatch):
    policy = policy_of(name)
    if not masks:  # a model that takes causal ones alone
        monkeypatch.setattr("homestretch.generation.candidates.packs", lambda lm: False)
    elif not policy.trunk.is_encoder_decoder:
        monkeypatch.setattr("homestretch.generation.candidates._walk", None)
    token_BTK, logp_BTK, value_BTK = candidates(policy, batch_of(), k, rows=2)
    assert token_BTK.shape == logp_BTK.shape == value_BTK.shape == (3, 4, k)
    prompts, responses, at = [], [], []
    for b, t in PLACES:
        expected = all_logp(policy, b, t)
        torch.testing.assert_close(logp_BTK[b, t], expected[token_BTK[b, t]], atol=1e-4, rtol=1e-4)
        likely, sampled = expected.topk(k).indices.tolist(), RESPONSES[b][t]
        wanted = likely if sampled in likely else [*likely[:-1], sampled]
        assert token_BTK[b, t].tolist() == wanted
        for j in range(k):
            prompts.append(PROMPTS[b])
            responses.append([*RESPONSES[b][:t], int(token_BTK[b, t, j]), 7])
            at.append((b, t, j))
    with torch.no_grad():
        naive_BT = policy.score(batch_of(prompts, responses), want={"value"}).value_BT
    for row, (b, t, j) in enumerate(at):
        torch.testing.assert_close(value_BTK[b, t, j], naive_BT[row, t + 1], atol=1e-4, rtol=1e-4)


def test_nothing_of_it_is_differentiable_and_the_policy_is_as_before():
    policy = policy_of("llama")
    with torch.no_grad():
        before = policy.score(batch_of(), want={"logp"}).logp_BT
    made = candidates(policy, batch_of(), 2)
    assert not any(tensor.requires_grad for tensor in made)
    with torch.no_grad():
        assert torch.equal(policy.score(batch_of(), want={"logp"}).logp_BT, before)
