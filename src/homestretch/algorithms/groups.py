"""What online methods without a critic have in common: groups of samples, one advantage for each, and their replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from homestretch.algorithms.base import Models, Round
from homestretch.algorithms.rollouts import behaviour, replay, response_weights, sample_stats
from homestretch.batch import AdvantageBatch, SequenceBatch
from homestretch.config.rollouts import GroupConfig


class Groups:
    """Collects samples of each prompt, computes advantages once, and replays them.

    A method says with `advantage` what rewards, log-ratios and groups make of each sample.
    """

    needs = frozenset({"pairs", "rewards", "reference", "rollouts"})

    def __init__(self, config: GroupConfig) -> None:
        self.rollouts = config

    def advantage(self, reward_B: Tensor, log_ratio_BT: Tensor, index_B: Tensor) -> Tensor:
        """(B,) from rewards, log-ratios of policy and reference (0 where there is no token), and groups."""
        raise NotImplementedError

    def expect(self, rounds: float) -> None:
        """Nothing hangs on it."""

    def state(self) -> dict[str, float]:
        """Nothing changes beside the weights."""
        return {}

    def load_state(self, state: dict[str, float]) -> None:
        """Nothing to restore."""

    def stream(self, models: Models, batches: Iterable[tuple[int, SequenceBatch]]) -> Iterator[Round]:
        """Samples of each batch of prompts, then their updates."""
        for number, prompts in batches:
            batch, stats = self.collect(models, prompts, number)
            yield Round(updates=replay(batch, number, self.rollouts), stats=stats)

    @torch.no_grad()
    def collect(self, models: Models, prompts: SequenceBatch, number: int) -> tuple[AdvantageBatch, dict[str, float]]:
        """Samples of the current policy with their advantages, and what the log says of them."""
        assert models.sample and models.reward and models.reference
        responses = models.sample(prompts, number)
        old = behaviour(models.policy, responses, want={"logp"})
        ref = models.reference.score(responses, want={"logp"})
        reward_B, parts = models.reward(responses)
        assert responses.index_B is not None and old.logp_BT is not None and ref.logp_BT is not None
        log_ratio_BT = torch.where(responses.mask_BT.bool(), old.logp_BT - ref.logp_BT, 0.0)
        adv_B = self.advantage(reward_B, log_ratio_BT, responses.index_B)
        weight_B = response_weights(responses, old.logp_BT, cap=self.rollouts.vllm_importance_sampling_cap)
        batch = AdvantageBatch(
            **{k: v for k, v in vars(responses).items() if k != "reward_B"},
            reward_B=reward_B,
            adv_B=adv_B * weight_B,
            logp_old_BT=old.logp_BT,
            logp_ref_BT=ref.logp_BT,
        )
        return batch, sample_stats(batch, reward_B, old.logp_BT, ref.logp_BT, parts)
