"""The best of several samples of each prompt, drawn once for all weights of the rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from homestretch.config.best_of import BestOfConfig
from homestretch.config.objectives import FAR_APART
from homestretch.config.rewards import MODEL
from homestretch.data.collate import collate
from homestretch.data.records import Example
from homestretch.data.tokenize import TokenizedExample
from homestretch.generation.engine import Sample, generate
from homestretch.generation.rollout import with_responses
from homestretch.generation.sampling import SamplingConfig
from homestretch.generation.schedule import counted
from homestretch.ops.best_of import best, best_of_n, spread
from homestretch.policies.load import end_ids
from homestretch.policies.policy import Policy
from homestretch.progress import progress, say
from homestretch.rewards.cache import content_key
from homestretch.rewards.remembered import contents, reward_keys
from homestretch.seeds import fold
from homestretch.training.context import Context
from homestretch.training.output_scores import output_rewards
from homestretch.training.precomputed import once

REWARD = "reward/"


def samples_of(config: BestOfConfig) -> int:
    """n, given or by the divergence that it is to have."""
    return best_of_n(config.kl) if config.kl is not None else config.num_samples or 1


def best_samples(
    context: Context,
    config: BestOfConfig,
    policy: Policy,
    examples: list[Example],
    tokens: list[TokenizedExample],
    folder: Path,
    *,
    model: Path,
    seed: int,
) -> list[Sample]:
    """The best sample of each prompt. Samples and rewards are kept in `samples/` of the evaluation's folder.

    Another method of a comparison that draws from the same `model`, and weighs the same rewards in another way, takes
    them over.
    """
    n = samples_of(config)
    longest = context.recipe.dataset.max_completion_length
    prompts = [row.prompt_ids for row in tokens]
    how = n, longest, config.temperature, seed
    key = content_key(context.model_key(str(model)), rewards_key(context, config), how, prompts)

    def drawn() -> dict[str, Tensor]:
        with progress(n * len(prompts), f"best of {n}", "sample") as bar:
            made = generate(
                policy,
                prompts,
                eos_ids=end_ids(policy.trunk.lm, context.tokenizer),
                sampling=SamplingConfig(temperature=config.temperature, max_new_tokens=longest),
                seed=fold("best_of", seed),
                num_samples=n,
                on_done=counted(bar.advance),
            )
        flat = [sample for group in made for sample in group]
        responses = with_responses(collate([row for row in tokens for _ in range(n)]), flat)
        given = output_rewards(context, config.rewards, examples, responses)
        rewards = {REWARD + name: numbers(values).view(-1, n) for name, values in given.items()}
        return stored(flat) | rewards

    found = once(folder / "samples", drawn, key=key, others=context.others)
    reward_NKM = torch.stack([found[REWARD + name] for name in config.rewards], dim=-1)
    weights = [term.weight for term in config.rewards.values()]
    chosen_N = best(reward_NKM, weights, standardise=config.standardise)
    if not config.standardise:
        tell_scales(config, reward_NKM)
    say(f"best_of: the best of {n} samples of each of {len(prompts)} prompts.")
    return [sample_at(found, i * n + int(k)) for i, k in enumerate(chosen_N)]


def tell_scales(config: BestOfConfig, reward_NKM: Tensor) -> None:
    """Say on screen where one reward, with its weight, is so wide that it decides alone."""
    wide = {
        name: abs(term.weight) * float(spread(part_NK))
        for (name, term), part_NK in zip(config.rewards.items(), reward_NKM.unbind(-1), strict=True)
        if term.weight
    }
    low, high = min(wide, key=wide.__getitem__), max(wide, key=wide.__getitem__)
    if wide[high] > FAR_APART * wide[low]:
        say(
            f"best_of: `{high}` with its weight spreads {wide[high] / wide[low]:,.0f} times as widely as `{low}` and "
            "decides alone; set best_of.standardise=true."
        )


def rewards_key(context: Context, config: BestOfConfig) -> str:
    """A name for what the rewards are, weights aside."""
    of_model = MODEL in config.rewards
    parts: list[object] = [reward_keys(context.reward_folder(), **context.reward_options())] if of_model else []
    parts += [(name, term.model_dump_json(exclude={"weight"}), contents(term)) for name, term in config.rewards.items()]
    return content_key(parts)


def numbers(values: Sequence[float | None]) -> Tensor:
    """(N,), float32; NaN for None."""
    return torch.tensor([torch.nan if value is None else value for value in values], dtype=torch.float32)


def stored(samples: Sequence[Sample]) -> dict[str, Tensor]:
    """Samples as tensors: `ids` (N, T), padded with -1, and `terminated` (N,)."""
    width = max(max(len(sample.ids) for sample in samples), 1)
    rows = [
        pad(torch.tensor(sample.ids, dtype=torch.long), (0, width - len(sample.ids)), value=-1) for sample in samples
    ]
    return {"ids": torch.stack(rows), "terminated": torch.tensor([sample.terminated for sample in samples])}


def sample_at(found: dict[str, Tensor], row: int) -> Sample:
    """One of them again, without its log-probabilities."""
    ids = found["ids"][row]
    return Sample(ids[ids >= 0].tolist(), [], bool(found["terminated"][row]))
