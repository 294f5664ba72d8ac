"""A value function with an adapter of its own: it starts as the reward model's, learns beside the policy, and touches
nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from offline_runs import SMALL, recipe, same_after_being_killed
from safetensors.torch import load_file
from test_policies import batch_of
from test_ppo_models import SAMPLING, prompts, value
from tiny import EOS, build

from homestretch.algorithms.base import Models
from homestretch.algorithms.ppo import PPO
from homestretch.config.ppo import PPOConfig
from homestretch.config.training import TrainingConfig
from homestretch.errors import RecipeError
from homestretch.generation.rollout import rollout
from homestretch.policies.adapters import belongs
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.training.pipeline import run_recipe

NAMES = ["llama", "gpt2", "t5"]
CONFIG = PPOConfig(value_init="reward", value_warmup_steps=1, kl_coef=0.3)


def trunk_of(name: str) -> Trunk:
    """A trunk with a trained reward adapter of rank 3, a copy of it called `value`, and a policy adapter of rank 2."""
    trunk = Trunk(build(name))
    trunk.add_adapter("reward", TrainingConfig(lora_r=3, lora_alpha=7))
    torch.manual_seed(1)
    with torch.no_grad():
        for key, parameter in trunk.named_parameters():
            if belongs(key, "reward"):
                parameter.normal_(std=0.1)
    trunk.add_adapter("policy", TrainingConfig(lora_r=2))
    trunk.copy_adapter("reward", "value")
    trunk.add_head("value", zero=False)
    for key, parameter in trunk.named_parameters():
        parameter.requires_grad_(belongs(key, "policy") or belongs(key, "value") or key.startswith("heads.value."))
    return trunk


def models_of(name: str, *, checkpointing: bool = False) -> Models:
    trunk = trunk_of(name)
    if checkpointing:
        trunk.checkpoint_activations()
    policy = Policy(trunk, "policy", budget=1000)
    return Models(
        policy=policy,
        value=Policy(trunk, "value", budget=1000),
        reference=Policy(trunk, None, budget=1000),
        sample=lambda batch, number: rollout(policy, batch, eos_ids=[EOS], sampling=SAMPLING, seed=number),
        reward=lambda batch: (batch.length_B.float(), {}),
    )


def gradients(models: Models, config: PPOConfig, *, number: int) -> dict[str, torch.Tensor]:
    """Of the loss of a round, by parameter."""
    algorithm, trunk = PPO(config), models.policy.trunk
    (made,) = algorithm.stream(models, [(number, prompts())])
    trunk.zero_grad(set_to_none=True)
    value(algorithm.loss(models, next(iter(made.updates)))).backward()
    return {key: p.grad.clone() for key, p in trunk.named_parameters() if p.grad is not None and p.grad.any()}


def owner(key: str) -> str:
    """The adapter or the head that a parameter is part of."""
    found = [name for name in ("policy", "reward", "value") if belongs(key, name)]
    return found[0] if found else key.rpartition(".linear")[0]


@pytest.mark.parametrize("name", NAMES)
def test_it_starts_with_the_states_of_the_reward_model_and_leaves_them_alone(name: str) -> None:
    trunk = trunk_of(name)
    copied, source, policy = (Policy(trunk, adapter, budget=1000) for adapter in ("value", "reward", "policy"))
    with torch.no_grad():
        states = source.score(batch_of(), want={"hidden"}).hidden_BSD
        assert torch.equal(copied.score(batch_of(), want={"hidden"}).hidden_BSD, states)
        assert not torch.allclose(policy.score(batch_of(), want={"hidden"}).hidden_BSD, states)
        for key, parameter in trunk.named_parameters():
            if belongs(key, "value"):
                parameter.add_(1.0)
        assert torch.equal(source.score(batch_of(), want={"hidden"}).hidden_BSD, states)
        assert not torch.allclose(copied.score(batch_of(), want={"hidden"}).hidden_BSD, states)


@pytest.mark.parametrize("name", NAMES)
def test_before_the_first_update_everything_agrees(name: str) -> None:
    """Log-probabilities are those of sampling, values those of the value function's own pass, and every ratio is 1."""
    models = models_of(name)
    assert models.sample and models.value
    responses = models.sample(prompts(), 0)
    made, stats = PPO(CONFIG).collect(models, prompts(), 0)
    assert torch.equal(made.logp_old_BT, responses.logp_sampled_BT)
    with torch.no_grad():
        expected = models.value.score(responses, want={"value"}).value_BT
        elsewhere = models.policy.score(responses, want={"value"}).value_BT
    assert torch.equal(made.value_old_BT, expected)
    assert not torch.allclose(expected, elsewhere)
    assert stats["objective/kl"] == pytest.approx(0.0, abs=1e-4)
    diagnostics = PPO(after_warm_up(0)).loss(models, made).diagnostics
    ratio_BT, mask_BT = diagnostics["val/ratio"]
    torch.testing.assert_close(ratio_BT[mask_BT.bool()], torch.ones(int(mask_BT.sum())), atol=1e-4, rtol=0)
    assert not diagnostics["val/clipfrac_avg"][0][mask_BT.bool()].any()


def after_warm_up(rounds: int, **changes: Any) -> PPOConfig:
    return CONFIG.model_copy(update={"value_warmup_steps": rounds, **changes})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("number", "learning"), [(0, {"value", "heads.value"}), (1, {"policy", "value", "heads.value"})]
)
def test_what_learns(name: str, number: int, learning: set[str]) -> None:
    """In the warm-up the whole value function and nothing of the policy; afterwards both, and never the reward."""
    assert {owner(key) for key in gradients(models_of(name), CONFIG, number=number)} == learning


def test_the_policys_gradient_knows_nothing_of_the_value_loss() -> None:
    models = models_of("llama")
    none, much = (gradients(models, after_warm_up(0, vf_coef=c), number=1) for c in (0.0, 10.0))
    policy = [key for key in much if belongs(key, "policy")]
    assert policy and all(torch.equal(none[key], much[key]) for key in policy)
    assert not any(belongs(key, "value") for key in none)


@pytest.mark.parametrize("name", NAMES)
def test_activations_computed_again_are_those_of_their_own_adapter(name: str) -> None:
    """Two adapters have passes in one backward pass, which computes each layer again with the adapter it had."""
    plain, again = (gradients(models_of(name, checkpointing=c), CONFIG, number=1) for c in (False, True))
    assert plain.keys() == again.keys()
    for key in plain:
        torch.testing.assert_close(again[key], plain[key], atol=1e-4, rtol=1e-3)


STAGES = ["negatives", {"reward": {**SMALL, "lora_r": 3}}]
PPO_STAGE = {
    **SMALL,
    "value_init": "reward",
    "value_warmup_steps": 1,
    "rollout_batch_size": 8,
    "num_generations": 2,
    "doctor": "off",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path, name: str) -> None:
    made = recipe(tmp_path, name, [*STAGES, {"ppo": PPO_STAGE}])
    run = same_after_being_killed(made, tmp_path, "03-ppo")
    rows = [json.loads(line) for line in (run.path / "stages/03-ppo/metrics.jsonl").read_text().splitlines()]
    assert any("loss/value_avg" in row for row in rows)
    kept = next((run.path / "stages/03-ppo/checkpoints").glob("checkpoint-*/tensors.safetensors"))
    names = [key for key in load_file(kept) if not key.startswith("optimizer.")]
    assert {owner(key) for key in names} == {"policy", "value", "heads.value"}


def test_a_reward_model_without_an_adapter_here_is_refused(tmp_path: Path) -> None:
    stages = ["negatives", {"reward": {**SMALL, "use_peft": False, "max_steps": 1}}, {"ppo": PPO_STAGE}]
    with pytest.raises(RecipeError, match=r"ppo\.value_init=reward copies the reward model's adapter"):
        run_recipe(recipe(tmp_path, "llama", stages), tmp_path / "run")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [({"use_peft": False}, "set use_peft=true"), ({"lookahead_k": 2}, "use value_init `policy` with it")],
)
def test_what_it_cannot_be_combined_with(other: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PPOConfig(value_init="reward", **other)
    PPOConfig(**other)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("model.layers.0.q_proj.lora_A.value.weight", True),
        ("model.embed_tokens.lora_embedding_B.value", True),
        ("model.attention.self.value.lora_A.policy.weight", False),
        ("model.attention.self.value.weight", False),
        ("heads.value.linear.weight", False),
        ("model.layers.0.q_proj.lora_A.value_2.weight", False),
    ],
)
def test_a_parameter_is_told_by_its_adapter_not_by_its_module(name: str, inside: bool) -> None:
    assert belongs(name, "value") is inside
