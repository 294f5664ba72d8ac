"""Proximal policy optimisation on tiny models with LoRA: sampling and training agree, and only what should learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_policies import PROMPTS, RESPONSES, batch_of
from tiny import EOS, build

from homestretch.algorithms.base import Models
from homestretch.algorithms.ppo import PPO
from homestretch.batch import LossTerms, RolloutBatch
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.generation.candidates import candidates
from homestretch.generation.engine import generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.ops.reduce import aggregate, denominator
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

NAMES = ["llama", "gpt2", "t5"]
SAMPLING = SamplingConfig(max_new_tokens=6)


def models_of(name: str, *, zero_value: bool = True, temperature: float = 1.0) -> Models:
    trunk = Trunk(build(name))
    trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    trunk.add_head("value", zero=zero_value)
    policy = Policy(trunk, "policy", budget=1000).at(temperature)

    def sample(prompts, number):
        made = generate(policy, PROMPTS, eos_ids=[EOS], sampling=SAMPLING, seed=number)
        return with_responses(prompts, [samples[0] for samples in made])

    return Models(
        policy=policy,
        reference=Policy(trunk, None, budget=1000).at(temperature),
        sample=sample,
        reward=lambda batch: (batch.length_B.float(), {}),
        candidates=lambda batch, k: candidates(policy, batch, k),
        end_ids=(EOS,),
    )


def prompts():
    return replace(batch_of(), index_B=torch.arange(3), terminated_B=torch.ones(3, dtype=torch.bool))


def value(terms: LossTerms) -> torch.Tensor:
    count = denominator(terms.mask, terms.average)
    return aggregate(terms.terms, terms.mask, average=terms.average, denominator=count)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_before_the_first_update_everything_agrees(name, temperature):
    """Sampling's log-probabilities are those of training, the divergence is 0.0 and every ratio is 1."""
    models = models_of(name, temperature=temperature)
    made = generate(models.policy, PROMPTS, eos_ids=[EOS], sampling=SAMPLING, seed=0)
    algorithm = PPO(PPOConfig(value_warmup_steps=0))
    rollout, stats = algorithm.collect(models, prompts(), 0)
    for row, (sample,) in enumerate(made):
        assert rollout.ids_BT[row, : len(sample.ids)].tolist() == sample.ids
        assert rollout.logp_old_BT[row, : len(sample.ids)].tolist() == pytest.approx(sample.logp, abs=1e-4)
    assert stats["objective/kl"] == 0.0
    assert torch.equal(rollout.logp_old_BT, rollout.logp_ref_BT)
    order = sorted(range(3), key=lambda i: -int(rollout.tokens_B[i]))
    diagnostics = algorithm.loss(models, rollout.select(order)).diagnostics
    ratio_BT, mask_BT = diagnostics["val/ratio"]
    assert (ratio_BT[mask_BT.bool()] == 1).all()
    for key in ("policy/clipfrac_avg", "policy/approxkl_avg", "val/clipfrac_avg", "val/ratio_tail"):
        assert not diagnostics[key][0][mask_BT.bool()].any(), key


@pytest.mark.parametrize("name", NAMES)
def test_in_the_warm_up_the_value_head_alone_learns(name):
    models = models_of(name)
    algorithm = PPO(PPOConfig(value_warmup_steps=2))
    trunk = models.policy.trunk
    for number, warm in ((1, True), (2, False)):
        (made,) = algorithm.stream(models, [(number, prompts())])
        batch = next(iter(made.updates))
        trunk.zero_grad(set_to_none=True)
        value(algorithm.loss(models, batch)).backward()
        learning = {key for key, p in trunk.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        touched = {key for key, p in trunk.named_parameters() if p.grad is not None}
        assert {"heads.value.linear.weight", "heads.value.linear.bias"} <= learning
        if warm:
            assert all(key.startswith("heads.value.") for key in touched)
        else:
            assert any("lora_B.policy" in key for key in learning)
            assert all("lora_" in key or key.startswith("heads.value.") for key in touched)


def test_the_warm_up_is_half_the_squared_error_of_the_value():
    models = models_of("llama", zero_value=False)
    algorithm = PPO(PPOConfig(value_warmup_steps=1))
    rollout, _ = algorithm.collect(models, prompts(), 0)
    terms, mask = algorithm.loss(models, rollout).terms, rollout.mask_BT.bool()
    expected = 0.5 * (rollout.value_old_BT - rollout.ret_BT) ** 2
    torch.testing.assert_close(terms[mask], expected[mask], atol=1e-5, rtol=1e-5)


def disturbed(rollout: RolloutBatch) -> RolloutBatch:
    """Other ids and numbers wherever a mask is 0."""
    changes = {}
    for key, tensor in rollout.flat().items():
        if key.endswith(("_BT", "_BTK", "_BP")) and "mask" not in key:
            mask = rollout.prompt_mask_BP if key.endswith("_BP") else rollout.mask_BT
            while mask.dim() < tensor.dim():
                mask = mask[..., None]
            changes[key] = torch.where(mask.bool(), tensor, torch.full_like(tensor, 9))
    return replace(rollout, **changes)


@pytest.mark.parametrize("name", ["llama", "t5"])
@pytest.mark.parametrize("lookahead_k", [None, 2])
@pytest.mark.parametrize("warm_up", [0, 1])
def test_what_stands_under_padding_changes_no_loss(name, lookahead_k, warm_up):
    models = models_of(name, zero_value=False)
    config = PPOConfig(value_warmup_steps=warm_up, lookahead_k=lookahead_k, reward_baseline="none")
    fixed = replace(models, sample=lambda prompts, number: prompts)
    algorithm = PPO(config)
    rollout, _ = algorithm.collect(fixed, prompts(), 0)
    other, _ = algorithm.collect(fixed, replace(prompts(), ids_BT=disturbed(rollout).ids_BT), 0)
    assert not rollout.mask_BT.all() and sum(map(len, RESPONSES)) == int(rollout.mask_BT.sum())
    expected = value(algorithm.loss(models, rollout))
    torch.testing.assert_close(value(algorithm.loss(models, disturbed(rollout))), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(value(algorithm.loss(models, other)), expected, atol=1e-4, rtol=1e-4)


def test_tokens_of_another_engine_count_by_their_ratio():
    """Its log-probabilities are 0.1 nats below the policy's: each token counts exp(0.1), after whitening."""
    models, algorithm = models_of("llama"), PPO(PPOConfig())
    own, _ = algorithm.collect(models, prompts(), 0)

    def drawn(prompts, number):
        responses = models.sample(prompts, number)
        return replace(responses, logp_drawn_BT=own.logp_old_BT - 0.1)

    batch, stats = algorithm.collect(replace(models, sample=drawn), prompts(), 0)
    valid = own.mask_BT.bool()
    assert stats["sampling/logp_difference"] == pytest.approx(0.1, abs=1e-4)
    assert batch.adv_BT[valid].tolist() == pytest.approx((own.adv_BT[valid] * 1.10517).tolist(), rel=1e-3, abs=1e-5)
    assert torch.equal(batch.ret_BT, own.ret_BT), "returns are what the values learn, not what the policy counts"
