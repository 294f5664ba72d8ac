"""Rewards of stored text: the data's own column as it is, or else the run's reward model, asked once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from homestretch.data.collate import collate
from homestretch.data.records import Example
from homestretch.data.tokenize import TokenizedExample
from homestretch.errors import DataError
from homestretch.policies.memory import release
from homestretch.progress import progress
from homestretch.rewards.model import RewardModel
from homestretch.training.context import Context
from homestretch.training.precomputed import once


def stored_rewards(
    context: Context, examples: Sequence[Example], rows: Sequence[TokenizedExample], folder: Path
) -> Tensor:
    """One reward (N,) for each row, float32: its column `reward`, or the reward model's probability (0 to 1) that the
    response is a reference. `folder` keeps what a model was asked.

    Raises DataError where only some rows have a reward, or all have the same.
    """
    given = [row.reward for row in rows]
    if any(reward is not None for reward in given):
        reward_N = torch.tensor([_own(e) for e in examples], dtype=torch.float32)
    else:
        reward_N = once(folder, lambda: {"reward": model_rewards(context, rows)})["reward"]
    check_rewards(reward_N, examples)
    return reward_N


def model_rewards(context: Context, rows: Sequence[TokenizedExample]) -> Tensor:
    """Probability (N,) of each row under the run's reward model."""
    model = context.reward_model()
    with progress(None, "reward of stored text", "batch"):
        reward_N = probability(model, rows)
    del model
    release()
    return reward_N


def probability(model: RewardModel, rows: Sequence[TokenizedExample]) -> Tensor:
    """The reward model's logits as probabilities (N,) that the responses are references, on the CPU."""
    return model.score_ids(collate(rows)).float().sigmoid().cpu()


def check_rewards(reward_N: Tensor, examples: Sequence[Example]) -> None:
    """Raise DataError for rewards that are no numbers, or that do not tell one response from another."""
    bad = (~torch.isfinite(reward_N)).nonzero().flatten().tolist()
    if bad:
        raise DataError(f"{examples[bad[0]].where}: the reward model gives no finite number; train it again.")
    if reward_N.min() == reward_N.max():
        raise DataError(
            f"All {len(reward_N)} rewards are {float(reward_N[0]):g}: nothing tells good responses from bad ones; "
            "give rewards that differ, or use the stage `sft`."
        )


def refuse_negative(reward_N: Tensor, examples: Sequence[Example], method: str) -> None:
    """Raise DataError for a negative reward, which would teach a method that weighs by rewards to avoid the row."""
    lowest = int(reward_N.argmin())
    if reward_N[lowest] < 0:
        raise DataError(
            f"{examples[lowest].where}: the reward {float(reward_N[lowest]):g} is negative, and `{method}` weighs by "
            "rewards; shift them to start at 0, or use `alol`, which compares them with what is expected."
        )


def _own(example: Example) -> float:
    reward = example.columns.get("reward")
    if reward is None:
        raise DataError(
            f"{example.where}: the row has no `reward` although others have one; give every training row one, or none."
        )
    return float(reward)
