"""What every stage has in common that learns from samples of its own policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from homestretch.algorithms.base import Algorithm, Models
from homestretch.batch import SequenceBatch
from homestretch.config.rollouts import RolloutConfig
from homestretch.config.stages import kind_of
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches
from homestretch.data.tokenize import TokenizedExample
from homestretch.generation.candidates import candidates
from homestretch.generation.rollout import rollout, rollout_elsewhere
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.vllm_engine import VLLMEngine
from homestretch.policies.load import end_ids, resolve
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.progress import say
from homestretch.results import StageFolder
from homestretch.rewards.model import RewardModel
from homestretch.seeds import fold
from homestretch.training.ahead import Ahead
from homestretch.training.context import ROLE, Context
from homestretch.training.loop import Progress
from homestretch.training.policy_stage import train_policy
from homestretch.training.precomputed import once
from homestretch.training.terminal_reward import StageRewards, spreads, stage_rewards, terminal_reward


def train_online(
    context: Context,
    config: RolloutConfig,
    folder: Path,
    algorithm: Algorithm,
    *,
    head: str | None = None,
    value: Callable[[Trunk, RewardModel | None], Policy | None] = lambda *_: None,
    potential: Callable[[RewardModel | None], Callable[[SequenceBatch], Tensor] | None] = lambda _: None,
) -> Progress:
    """Train the current model on its own samples, keep the best checkpoint, and save its model.

    A value `head` of that name starts from nothing and learns with the policy: on the policy's states, or on those of
    the view that `value` makes of trunk and reward model, whose adapter learns beside the policy's.
    """
    trunk = context.load_trunk()
    reward = judge(context, config, trunk)
    learner = context.learner(config, kind_of(config), ROLE, trunk=trunk)
    if head is not None:
        trunk.add_head(head, zero=True)
    own_value = value(trunk, reward)
    policy = learner.policy.at(config.temperature)
    reference_trunk = trunk if config.use_peft else context.load_trunk()
    rows = context.tokens(context.splits.train, is_encoder_decoder=trunk.is_encoder_decoder)
    ahead = Ahead(context.splits.train, context.tokenizer, policy.device)
    sample = sampler(context, policy, config, head if own_value is None else None, ahead)
    prompts = prompts_of(rows, config, context.recipe.seed)
    scales = scales_of(context, config, reward, folder, lambda: sample(prompts(0), 0)) if config.standardise else None
    own = stage_rewards(context, config, scales)
    rewards = StageRewards(ahead.over(own.named), ahead.over(own.golden))
    # Golden rewards are logged with rollouts; of held-out prompts they would be asked for nothing.
    proxy, others = own._replace(golden=[]), context.splits.validation
    held_out = terminal_reward(context, reward, config, rows, proxy, scales=scales, examples=others)
    models = Models(
        policy=policy,
        reference=context.policy(reference_trunk, None, config).at(config.temperature),
        value=own_value,
        sample=sample,
        reward=terminal_reward(context, reward, config, rows, rewards, scales=scales),
        potential=potential(reward),
        candidates=None if head is None else lambda batch, k: candidates(policy, batch, k),
        end_ids=tuple(end_ids(trunk.lm, context.tokenizer)),
    )
    return train_policy(
        context,
        config,
        folder,
        learner,
        algorithm,
        models,
        batch_of=prompts,
        rounds=config.rounds_of(len(rows)),
        head=head,
        beside=own_value.adapter if own_value else None,
        keep_start=True,
        rewarded=lambda outputs: held_out(outputs)[0],
    )


def scales_of(
    context: Context,
    config: RolloutConfig,
    reward: RewardModel | None,
    folder: Path,
    sample: Callable[[], SequenceBatch],
) -> dict[str, float]:
    """Standard deviations of the rewards over samples of the start, computed once and kept in `scales/`."""
    found = once(folder / "scales", lambda: spreads(context, reward, config, sample()))
    scales = {name: float(value) for name, value in found.items()}
    stage = StageFolder(folder).name
    for name, scale in scales.items():
        say(f"{stage}: `{name}` is divided by {scale:.4g}, its standard deviation over samples of the start.")
    return scales


def judge(context: Context, config: RolloutConfig, trunk: Trunk) -> RewardModel | None:
    """The run's reward model at the stage's precision; None where the stage's own rewards stand for it."""
    if config.stands_alone and not context.has_reward_model:
        return None
    reward = context.reward_model(trunk if config.use_peft else None)
    reward.policy = context.policy(reward.policy.trunk, reward.policy.adapter, config)
    return reward


def prompts_of(rows: list[TokenizedExample], config: RolloutConfig, seed: int) -> Callable[[int], SequenceBatch]:
    """The prompts of a round: each `num_generations` times, copies side by side, without repeats in a pass."""
    distinct = config.rollout_batch_size // config.num_generations
    passes = epoch_batches(range(len(rows)), 1, seed=seed)

    def batch_of(number: int) -> SequenceBatch:
        first = number * distinct
        chosen = [rows[i] for position in range(first, first + distinct) for i in passes(position)]
        return collate([row for row in chosen for _ in range(config.num_generations)])

    return batch_of


def sampler(
    context: Context, policy: Policy, config: RolloutConfig, head: str | None, ahead: Ahead
) -> Callable[[SequenceBatch, int], SequenceBatch]:
    """Draws one response a row from the current policy, and its values; the round's number seeds it. Rewards may be
    asked `ahead` of the whole round."""
    longest = config.max_completion_length or context.recipe.dataset.max_completion_length
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=longest)  # the policy itself is at the stage's
    eos_ids = end_ids(policy.trunk.lm, context.tokenizer)
    if config.use_vllm:
        return vllm_sampler(context, policy, config, eos_ids, longest)
    value = None if head is None else policy.trunk.heads[head]

    def sample(prompts: SequenceBatch, number: int) -> SequenceBatch:
        seed = fold("rollout", context.recipe.seed, number)
        assert prompts.index_B is not None
        index = prompts.index_B.tolist()
        drawn = rollout(
            policy,
            prompts,
            eos_ids=eos_ids,
            sampling=sampling,
            seed=seed,
            head=value,
            on_sample=lambda row, made: ahead.begin(index[row], made),
        )
        return drawn.to(policy.device)

    return sample


def vllm_sampler(
    context: Context, policy: Policy, config: RolloutConfig, eos_ids: Sequence[int], longest: int
) -> Callable[[SequenceBatch, int], SequenceBatch]:
    """Like `sampler`, by vLLM; values and the policy's own log-probabilities are computed afterwards."""
    engine = VLLMEngine(
        resolve(context.model),
        policy,
        max_length=context.max_prompt_length + longest,
        memory_share=config.vllm_gpu_memory_utilization,
    )

    def sample(prompts: SequenceBatch, number: int) -> SequenceBatch:
        seed = fold("rollout", context.recipe.seed, number)
        how = {"eos_ids": eos_ids, "max_new_tokens": longest, "seed": seed}
        drawn = rollout_elsewhere(prompts, lambda lists, k: engine.draw(policy, lists, num_samples=k, **how))
        return drawn.to(policy.device)

    return sample
