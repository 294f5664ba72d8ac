"""Stage `value`: fit what the current model would earn for a prompt, and what stored responses earn beyond that."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from homestretch.algorithms.base import Models
from homestretch.algorithms.value import ValueFit, advantage, value_loss
from homestretch.batch import SequenceBatch
from homestretch.config.rewards import MODEL
from homestretch.config.value import ValueConfig
from homestretch.data.collate import collate
from homestretch.data.samplers import epoch_batches
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError, RecipeError
from homestretch.generation.engine import generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.policies.trunk import Trunk
from homestretch.progress import progress
from homestretch.results import StageFolder
from homestretch.rewards.named import of_samples, weighted
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.training.doctor import watcher
from homestretch.training.loop import Plan, Progress, fit
from homestretch.training.precomputed import once
from homestretch.training.stored_rewards import PROBABILITY, stored_rewards, total
from homestretch.writing import write_text

ADVANTAGES, SUMMARY = "advantages", "value.json"


def run(context: Context, config: ValueConfig, folder: Path) -> Progress:
    """Fit the head, keep the best checkpoint, and write the advantages of the training rows.

    Raises RecipeError where stored rewards and the reward model's may be of different units.
    """
    examples = context.splits.train
    rows = context.tokens(examples, is_encoder_decoder=bool(context.config.is_encoder_decoder))
    if config.responses == "sampled" and not config.rewards and rows[0].reward is not None:
        raise RecipeError(
            "The data have rewards of their own, and the reward model's may be of another unit: set "
            "value.responses=stored, or name the reward of both in value.rewards."
        )
    reward_N = in_range(stored_rewards(context, examples, rows, folder / "rewards", config.rewards), config.r_max)
    targets = targets_of(context, config, folder)
    in_range(rewards_of(targets), config.r_max)
    learned, held = split(targets, config.held_out_fraction, seed=context.recipe.seed)
    trunk = context.load_trunk()
    policy = context.policy(trunk, None, config)
    torch.manual_seed(fold("new weights", context.recipe.seed, "value"))
    mean = float(rewards_of(learned).mean())
    edge = 0.01 * config.r_max
    trunk.add_prompt_head(r_max=config.r_max).start_at(min(max(mean, edge), config.r_max - edge))
    plan = plan_of(context, config, folder, policy, learned, held)
    made = fit(ValueFit(), Models(policy=policy), plan, context.accelerator("value"))
    adv_N = once(folder / ADVANTAGES, lambda: advantages(policy, rows, reward_N))["adv"]
    summary = {
        "rows": len(rows),
        "kept_fraction": float((adv_N > 0).float().mean()),
        "mse": error(policy, held),
        "mse_of_constant": float((rewards_of(held) - mean).square().mean()),
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=1))
    return made


def plan_of(
    context: Context,
    config: ValueConfig,
    folder: Path,
    policy: Policy,
    learned: Sequence[TokenizedExample],
    held: Sequence[TokenizedExample],
) -> Plan:
    """Regression of the head alone; everything else is frozen."""
    seed, size = context.recipe.seed, config.train_batch_size
    passes = epoch_batches(range(len(learned)), size, seed=seed)
    for name, parameter in policy.trunk.named_parameters():
        parameter.requires_grad_(name.startswith("heads.prompt_value."))

    def batch_of(number: int) -> SequenceBatch:
        return collate([learned[i] for i in passes(number)])

    return Plan(
        label=StageFolder(folder).name,
        folder=folder,
        config=config,
        rounds=config.rounds(math.ceil(len(learned) / size)),
        batch_of=batch_of,
        parameters={name: p for name, p in policy.trunk.named_parameters() if p.requires_grad},
        seed=seed,
        budget=context.budget(config),
        validate=lambda number: {"mse": error(policy, held)},
        keep_start=True,
        watch=watcher(config),
    )


def targets_of(context: Context, config: ValueConfig, folder: Path) -> list[TokenizedExample]:
    """Validation prompts, each with the reward of its stored response, or of one that the current model samples."""
    examples = context.splits.validation
    rows = context.tokens(examples, is_encoder_decoder=bool(context.config.is_encoder_decoder))
    if config.responses == "stored":
        reward_N = stored_rewards(context, examples, rows, folder / "targets", config.rewards)
    else:
        rows = [row for row in rows for _ in range(config.num_generations)]
        reward_N = once(folder / "targets", lambda: {"reward": sampled_rewards(context, config, rows)})["reward"]
    return [replace(row, completion_ids=[], reward=r) for row, r in zip(rows, reward_N.tolist(), strict=True)]


def sampled_rewards(context: Context, config: ValueConfig, rows: Sequence[TokenizedExample]) -> Tensor:
    """The reward model's probabilities (N,) of one sample for each row; copies of a prompt stand side by side."""
    trunk = context.load_trunk()
    longest = context.recipe.dataset.max_completion_length
    with progress(len(rows), "responses of the reference", "sample") as bar:
        made = generate(
            context.policy(trunk, None, config),
            [row.prompt_ids for row in rows[:: config.num_generations]],
            eos_ids=end_ids(trunk.lm, context.tokenizer),
            sampling=SamplingConfig(temperature=config.temperature, max_new_tokens=longest),
            seed=fold("value", context.recipe.seed),
            num_samples=config.num_generations,
            on_done=counted(bar.advance),
        )
    responses = with_responses(collate(rows), [sample for group in made for sample in group])
    return sample_rewards(context, config, trunk, responses)


def sample_rewards(context: Context, config: ValueConfig, trunk: Trunk, responses: SequenceBatch) -> Tensor:
    """The terms' sum (N,) for samples, or the reward model's probability."""
    terms, examples = config.rewards or PROBABILITY, context.splits.validation
    parts = of_samples(context.named_rewards(terms), examples, responses, context.tokenizer)
    if MODEL in terms:
        parts[MODEL] = weighted(terms[MODEL], context.reward_model(trunk).score_ids(responses).tolist())
    assert responses.index_B is not None
    return total(parts, [examples[i] for i in responses.index_B.tolist()])


def in_range(reward_N: Tensor, r_max: float) -> Tensor:
    """The rewards, if the head can express them. Raises DataError."""
    low, high = float(reward_N.min()), float(reward_N.max())
    if low < 0 or high > r_max:
        raise DataError(
            f"Rewards run from {low:g} to {high:g}, and V can only be between 0 and {r_max:g}: "
            + ("shift them to start at 0" if low < 0 else f"set value.r_max={high:g}")
            + ", or take a probability of each with value.rewards.NAME.sigmoid=true."
        )
    return reward_N


def split(
    rows: Sequence[TokenizedExample], held_out_fraction: float, *, seed: int
) -> tuple[list[TokenizedExample], list[TokenizedExample]]:
    """Rows to fit and rows to choose the checkpoint by, disjoint by prompt. Raises DataError for fewer than two."""
    prompts = sorted({tuple(row.prompt_ids) for row in rows}, key=lambda ids: fold("value_split", seed, *ids))
    if len(prompts) < 2:
        raise DataError(f"The stage `value` needs two validation prompts at least, not {len(prompts)}; give more.")
    held = set(prompts[: min(max(round(len(prompts) * held_out_fraction), 1), len(prompts) - 1)])
    return [r for r in rows if tuple(r.prompt_ids) not in held], [r for r in rows if tuple(r.prompt_ids) in held]


def rewards_of(rows: Sequence[TokenizedExample]) -> Tensor:
    """The rows' rewards (N,)."""
    return torch.tensor([row.reward for row in rows], dtype=torch.float32)


@torch.no_grad()
def values(policy: Policy, rows: Sequence[TokenizedExample]) -> Tensor:
    """V of the rows' prompts (N,), without dropout, on the CPU."""
    value_N = policy.score(collate(rows), want={"prompt_value"}).prompt_value_B
    assert value_N is not None
    return value_N.cpu()


def error(policy: Policy, rows: Sequence[TokenizedExample]) -> float:
    """Mean squared error of V on the rows."""
    return float(value_loss(values(policy, rows), rewards_of(rows)).mean())


def advantages(policy: Policy, rows: Sequence[TokenizedExample], reward_N: Tensor) -> dict[str, Tensor]:
    """Reward, value and advantage of every row, each (N,)."""
    value_N = values(policy, rows)
    return {"reward": reward_N, "value": value_N, "adv": advantage(reward_N, value_N)}
