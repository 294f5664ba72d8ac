"""Stage `ppo`: reinforcement learning from the current model against a reward with a length term."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from homestretch.algorithms.base import Models
from homestretch.algorithms.ppo import PPO
from homestretch.batch import SequenceBatch
from homestretch.collectives import mapped
from homestretch.config.ppo import PPOConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_order
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import RecipeError
from homestretch.generation.candidates import candidates
from homestretch.generation.rollout import rollout
from homestretch.generation.sampling import SamplingConfig
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.rewards.base import Reward
from homestretch.rewards.model import RewardModel
from homestretch.rewards.rules import REWARDS
from homestretch.rewards.shaping import length_penalty, shaped_reward
from homestretch.seeds import fold
from homestretch.training.context import ROLE, Context
from homestretch.training.doctor import Doctor
from homestretch.training.export import save_model
from homestretch.training.loop import Plan, Progress, fit
from homestretch.training.validation import Validator

VALUE = "value"
LENGTH_COEF = {"ratio": 1.0, "linear": 0.01, "budget": 0.05, "none": 0.0}
BUDGET_OF_MEDIAN = 1.2


def run(context: Context, config: PPOConfig, folder: Path) -> Progress:
    """Train, keep the best checkpoint, and make its model the run's current one."""
    trunk = context.load_trunk()
    reward = context.reward_model(trunk if config.use_peft else None)
    learner = context.learner(config, "ppo", ROLE, trunk=trunk)
    reward.policy = context.policy(reward.policy.trunk, reward.policy.adapter, config)
    trunk.add_head("value", zero=True)
    value = value_function(context, reward, config, trunk)
    policy = learner.policy.at(config.temperature)
    reference_trunk = trunk if config.use_peft else context.load_trunk()
    rows = context.tokens(context.splits.train, is_encoder_decoder=trunk.is_encoder_decoder)
    models = Models(
        policy=policy,
        reference=context.policy(reference_trunk, None, config).at(config.temperature),
        value=value,
        sample=sampler(context, policy, None if value else trunk.heads["value"], config),
        reward=terminal_reward(context, reward, config, rows),
        candidates=lambda batch, k: candidates(policy, batch, k),
    )
    doctor = Doctor(config.metric_for_best_model, stop=config.doctor == "stop")
    plan = Plan(
        label="ppo",
        folder=folder,
        config=config,
        rounds=config.rounds(math.ceil(len(rows) * config.num_generations / config.rollout_batch_size)),
        batch_of=prompts_of(rows, config, context.recipe.seed),
        parameters=learner.parameters(head="value", beside=value.adapter if value else None),
        seed=context.recipe.seed,
        budget=context.budget(config),
        validate=Validator(context, policy, config.eval_examples).metrics,
        keep_start=True,
        watch=None if config.doctor == "off" else doctor.watch,
    )
    progress = fit(PPO(config), models, plan, learner.accelerator)
    save_model(trunk, learner.adapter, context.tokenizer, folder / "model")
    return progress


def prompts_of(rows: list[TokenizedExample], config: PPOConfig, seed: int) -> Callable[[int], SequenceBatch]:
    """The prompts of a round: each `num_generations` times, copies side by side, without repeats in a pass."""
    distinct = config.rollout_batch_size // config.num_generations

    def batch_of(number: int) -> SequenceBatch:
        first = number * distinct
        chosen = []
        for position in range(first, first + distinct):
            epoch, at = divmod(position, len(rows))
            chosen.append(rows[epoch_order(len(rows), seed=seed, epoch=epoch)[at]])
        return collate([row for row in chosen for _ in range(config.num_generations)])

    return batch_of


def value_function(context: Context, reward: RewardModel, config: PPOConfig, trunk: Trunk) -> Policy | None:
    """The value function's view of the trunk where it has an adapter of its own, a copy of the reward model's.

    Raises RecipeError where the reward model is not an adapter on the trunk.
    """
    if config.value_init == "policy":
        return None
    if reward.policy.trunk is not trunk or reward.policy.adapter is None:
        raise RecipeError(
            "ppo.value_init=reward copies the reward model's adapter, and this reward model has none on the model that "
            "learns: train it with reward.use_peft=true behind the last stage that changes the model, or leave "
            "ppo.value_init at policy."
        )
    trunk.copy_adapter(reward.policy.adapter, VALUE)
    return context.policy(trunk, VALUE, config)


def sampler(
    context: Context, policy: Policy, head: nn.Module | None, config: PPOConfig
) -> Callable[[SequenceBatch, int], SequenceBatch]:
    """Draws one response a row from the current policy, and what a value `head` says of its states; the round's number
    seeds it."""
    longest = config.max_completion_length or context.recipe.dataset.max_completion_length
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=longest)  # the policy itself is at the stage's
    eos_ids = end_ids(policy.trunk.lm, context.tokenizer)

    def sample(prompts: SequenceBatch, number: int) -> SequenceBatch:
        seed = fold("rollout", context.recipe.seed, number)
        return rollout(policy, prompts, eos_ids=eos_ids, sampling=sampling, seed=seed, head=head)

    return sample


def terminal_reward(
    context: Context, reward: RewardModel, config: PPOConfig, rows: list[TokenizedExample]
) -> Callable[[SequenceBatch], tuple[Tensor, dict[str, Tensor]]]:
    """The shaped reward of responses (sheet 2.4) and its parts for the log."""
    coef = LENGTH_COEF[config.length_penalty] if config.length_coef is None else config.length_coef
    budget = config.length_budget or BUDGET_OF_MEDIAN * statistics.median(row.ref_length for row in rows)

    def score(responses: SequenceBatch) -> tuple[Tensor, dict[str, Tensor]]:
        score_B = reward.score_ids(responses)
        assert responses.ref_length_B is not None and responses.terminated_B is not None
        ruled = by_rule(context, responses, config.rewards)
        penalty_B = length_penalty(
            responses.length_B, responses.ref_length_B, form=config.length_penalty, coef=coef, budget=budget
        )
        shaped_B = shaped_reward(
            score_B,
            penalty_B,
            responses.terminated_B,
            reward_clip_range=config.reward_clip_range,
            missing_eos_penalty=config.missing_eos_penalty,
        )
        return sum(ruled.values(), shaped_B), {"scores": score_B, "length_penalty": penalty_B, **ruled}

    return score


def by_rule(context: Context, responses: SequenceBatch, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Weighted rewards (B,) of `rewards.rules` by name, with the references of the responses' training rows."""
    if not any(weights.values()):
        return {}
    assert responses.index_B is not None
    examples = [context.splits.train[i] for i in responses.index_B.tolist()]
    texts = [
        context.tokenizer.decode(ids[mask.bool()], skip_special_tokens=True)
        for ids, mask in zip(responses.ids_BT, responses.mask_BT, strict=True)
    ]
    rows = [(e.source, text, e.references) for e, text in zip(examples, texts, strict=True)]

    def rewards(reward: Reward) -> Tensor:
        def of_rows(some: list[tuple[str, str, Sequence[str]]]) -> Sequence[float | None]:
            sources, texts, references = (list(column) for column in zip(*some, strict=True))
            return reward(sources, texts, references=references)

        return torch.tensor(mapped(of_rows, rows), device=responses.ids_BT.device)

    return {name: weight * rewards(REWARDS[name]) for name, weight in weights.items() if weight}
