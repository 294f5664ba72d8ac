"""Online methods without a critic on tiny models: sampling and training agree, no pass is wasted, padding is inert."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from tables import value
from test_policies import batch_of
from tiny import EOS, build
from toy import prompts_of

from homestretch.algorithms.base import Models
from homestretch.algorithms.grpo import GRPO
from homestretch.algorithms.rloo import RLOO
from homestretch.config.grpo import GRPOConfig
from homestretch.config.rloo import RLOOConfig
from homestretch.config.training import TrainingConfig
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk

METHODS = {"rloo": lambda: RLOO(RLOOConfig()), "grpo": lambda: GRPO(GRPOConfig())}
SAMPLING = SamplingConfig(max_new_tokens=6)


def models_of(name: str, *, use_peft: bool = True, temperature: float = 1.0) -> Models:
    trunk = Trunk(build(name))
    if use_peft:
        trunk.add_adapter("policy", TrainingConfig(lora_r=4))
    policy = Policy(trunk, "policy" if use_peft else None, budget=1000).at(temperature)
    reference = Policy(trunk if use_peft else Trunk(build(name)), None, budget=1000).at(temperature)
    return Models(
        policy=policy,
        reference=reference,
        sample=lambda prompts, number: rollout(policy, prompts, eos_ids=[EOS], sampling=SAMPLING, seed=number),
        reward=lambda batch: (batch.ids_BT.remainder(7).mul(batch.mask_BT).sum(1).float(), {}),
    )


@contextmanager
def counted(policy: Policy):
    """How often a policy scores."""
    calls: list[set[str]] = []
    inner = policy.score
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "score", lambda *args, want: calls.append(want) or inner(*args, want=want))
        yield calls


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("use_peft", [True, False])
def test_before_the_first_update_everything_agrees(name, method, temperature, use_peft):
    """Divergence 0 and ratio 1 but for rounding, with what decoding said of its samples in place of a pass."""
    models, algorithm = models_of(name, use_peft=use_peft, temperature=temperature), METHODS[method]()
    with counted(models.policy) as policy:
        batch, stats = algorithm.collect(models, prompts_of(0, size=8), 3)
    assert policy == []
    assert stats["objective/kl"] == pytest.approx(0, abs=1e-4)
    assert batch.logp_old_BT[batch.mask_BT.bool()].max() < 0
    assert (batch.adv_B.reshape(-1, 4).sum(1).abs() < 1e-3).all(), "advantages of a prompt add up to nothing"
    assert batch.adv_B.abs().max() > 0.1
    terms = algorithm.loss(models, batch)
    ratio_BT, mask_BT = terms.diagnostics["val/ratio"]
    assert ratio_BT[mask_BT.bool()].tolist() == pytest.approx([1.0] * int(mask_BT.sum()), abs=1e-4)
    for key in ("policy/clipfrac_avg", "val/ratio_tail"):
        assert not terms.diagnostics[key][0].any()
    value(terms).backward()
    learning = [n for n, p in models.policy.trunk.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert learning and all(("lora_B" in n) == use_peft for n in learning)


@pytest.mark.parametrize("method", METHODS)
def test_where_decoding_rounds_otherwise_a_pass_is_made(method):
    models = models_of("llama")
    models.policy.autocast = lambda: torch.autocast("cpu", torch.bfloat16)
    with counted(models.policy) as passes:
        batch, _ = METHODS[method]().collect(models, prompts_of(0, size=8), 3)
    assert passes == [{"logp"}] and batch.logp_sampled_BT is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_what_stands_under_padding_changes_no_loss(name, method):
    models, algorithm = models_of(name), METHODS[method]()
    fixed = replace(batch_of(), index_B=torch.zeros(3, dtype=torch.long), terminated_B=torch.ones(3, dtype=torch.bool))
    models = replace(models, sample=lambda prompts, number: prompts)
    batch, stats = algorithm.collect(models, fixed, 0)
    mask_BT = batch.mask_BT.bool()
    assert not mask_BT.all()
    other_BT = torch.where(mask_BT, batch.ids_BT, 9)
    again, others = algorithm.collect(models, replace(fixed, ids_BT=other_BT), 0)
    assert others == pytest.approx(stats, abs=1e-4)
    junk = {k: torch.where(mask_BT, v, -9.0) for k, v in batch.flat().items() if k.startswith("logp")}
    expected = value(algorithm.loss(models, batch))
    for disturbed in (again, replace(batch, ids_BT=other_BT, **junk)):
        torch.testing.assert_close(value(algorithm.loss(models, disturbed)), expected, atol=1e-4, rtol=1e-4)


def test_each_epoch_replays_every_prompt_with_all_its_samples_once():
    models = models_of("llama")
    algorithm = RLOO(RLOOConfig(num_ppo_epochs=2, train_batch_size=8, rollout_batch_size=16, num_generations=4))
    made = next(algorithm.stream(models, [(4, prompts_of(0, size=16))]))
    groups = [sorted(batch.index_B.tolist()) for batch in made.updates]
    assert [len(rows) for rows in groups] == [8] * 4
    assert all(rows[:4] == [rows[0]] * 4 and rows[4:] == [rows[4]] * 4 for rows in groups)
    assert [sorted(groups[i] + groups[i + 1]) for i in (0, 2)] == [sorted(list(range(4)) * 4)] * 2


@pytest.mark.parametrize("method", METHODS)
def test_samples_of_another_engine_count_by_the_ratio_of_their_texts(method):
    """Its log-probabilities are 0.05 nats a token above the policy's: a text of T tokens counts exp(-0.05 T)."""
    models, algorithm = models_of("llama"), METHODS[method]()
    prompts = prompts_of(0, size=8)
    own, stats = algorithm.collect(models, prompts, 3)
    assert "sampling/logp_difference" not in stats

    def drawn(prompts, number):
        made = rollout(models.policy, prompts, eos_ids=[EOS], sampling=SAMPLING, seed=number)
        return replace(made, logp_drawn_BT=made.logp_sampled_BT + 0.05, logp_sampled_BT=None)

    batch, stats = algorithm.collect(replace(models, sample=drawn), prompts, 3)
    assert stats["sampling/logp_difference"] == pytest.approx(0.05, abs=1e-4)
    want_B = own.adv_B * (-0.05 * own.mask_BT.sum(1)).exp()
    assert batch.adv_B.tolist() == pytest.approx(want_B.tolist(), rel=1e-3, abs=1e-5)
