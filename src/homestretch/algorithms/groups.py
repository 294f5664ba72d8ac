"""What online methods without a critic have in common: groups of samples, one advantage for each, and their replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Round
from homestretch.batch import AdvantageBatch, SequenceBatch
from homestretch.config.rollouts import RolloutConfig
from homestretch.ops.reduce import masked_mean


class Groups:
    """Collects samples of each prompt, computes advantages once, and replays them.

    A method says with `advantage` what rewards (B,), log-probabilities under policy and reference (B, T), the mask and
    the groups (B,) make of each sample.
    """

    needs = frozenset({"pairs", "rewards", "reference", "rollouts"})

    def __init__(self, config: RolloutConfig) -> None:
        self.rollouts = config

    def advantage(self, reward_B: Tensor, log_ratio_BT: Tensor, index_B: Tensor) -> Tensor:
        """(B,) from rewards, log-ratios of policy and reference (0 where there is no token), and groups."""
        raise NotImplementedError

    def state(self) -> dict[str, float]:
        """Nothing changes beside the weights."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Nothing to restore."""

    def stream(self, models: Models, batches: Iterable[tuple[int, SequenceBatch]]) -> Iterator[Round]:
        """Samples of each batch of prompts, then their updates."""
        for number, prompts in batches:
            batch, stats = self.collect(models, prompts, number)
            yield Round(updates=self._replay(batch, number), stats=stats)

    def _replay(self, batch: AdvantageBatch, number: int) -> Iterator[AdvantageBatch]:
        size, generator = self.rollouts.train_batch_size, torch.Generator().manual_seed(number)
        first_U, prompt_B = batch.distinct_prompts
        for _ in range(self.rollouts.num_ppo_epochs):
            # Samples of one prompt stay together: its states are then computed once for all of them.
            order = torch.randperm(len(first_U), generator=generator)[prompt_B].argsort(stable=True)
            for at in range(0, len(order), size):
                yield batch.select(order[at : at + size])

    @torch.no_grad()
    def collect(self, models: Models, prompts: SequenceBatch, number: int) -> tuple[AdvantageBatch, dict[str, float]]:
        """Samples of the current policy with their advantages, and what the log says of them."""
        assert models.sample and models.reward and models.reference
        responses = models.sample(prompts, number)
        assert responses.index_B is not None
        old = models.policy.score(responses, want={"logp", "entropy"})
        ref = models.reference.score(responses, want={"logp"})
        reward_B, parts = models.reward(responses)
        assert old.logp_BT is not None and old.entropy_BT is not None and ref.logp_BT is not None
        log_ratio_BT = torch.where(responses.mask_BT.bool(), old.logp_BT - ref.logp_BT, 0.0)
        batch = AdvantageBatch(
            **{k: v for k, v in vars(responses).items() if k != "reward_B"},
            reward_B=reward_B,
            adv_B=self.advantage(reward_B, log_ratio_BT, responses.index_B),
            logp_old_BT=old.logp_BT,
            logp_ref_BT=ref.logp_BT,
        )
        return batch, group_stats(batch, log_ratio_BT, old.entropy_BT, parts)


def group_stats(
    batch: AdvantageBatch, log_ratio_BT: Tensor, entropy_BT: Tensor, parts: dict[str, Tensor]
) -> dict[str, float]:
    """Numbers of one rollout: reward and its parts, divergence, length, ends."""
    assert batch.reward_B is not None and batch.terminated_B is not None
    stats = {
        "reward": float(batch.reward_B.mean()),
        "reward_std": float(batch.reward_B.std(unbiased=False)),
        "objective/kl": float(log_ratio_BT.sum(1).mean()),
        "objective/entropy": float(masked_mean(entropy_BT, batch.mask_BT)),
        "completions/mean_length": float(batch.length_B.float().mean()),
        "completions/clipped_ratio": float((~batch.terminated_B).float().mean()),
    }
    return stats | {f"objective/{name}": float(value_B.float().mean()) for name, value_B in parts.items()}


def ratio_diagnostics(
    log_ratio_BT: Tensor, ratio: Tensor, mask: Tensor, batch: AdvantageBatch, *, cliprange: float
) -> dict[str, tuple[Tensor, Tensor]]:
    """What the log says of an update, unreduced: of each token's ratio, and how often the method's own was cut."""
    log_ratio_BT = torch.where(batch.mask_BT.bool(), log_ratio_BT, 0.0)
    ratio_BT = log_ratio_BT.exp()
    return {
        "policy/approxkl_avg": (0.5 * log_ratio_BT.square(), batch.mask_BT),
        "policy/clipfrac_avg": (((ratio - 1).abs() > cliprange).float(), mask),
        "val/ratio": (ratio_BT, batch.mask_BT),
        "val/ratio_tail": (((ratio_BT > 2) | (ratio_BT < 0.5)).float(), batch.mask_BT),
    }
