"""Settings that online methods share: how they sample, and what they are rewarded for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.rewards import MODEL, GoldenRewards, SampleRewards, weights_of, with_weights
from homestretch.config.training import TrainingConfig


class RolloutConfig(TrainingConfig):
    """Rounds of samples of the policy, each scored and learnt from."""

    learning_rate: float = Field(3e-4, gt=0)
    """Peak step size. Origin: ours for LoRA (docs/log.md); full fine-tuning wants 1e-6 to 1e-5."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the step size. Origin: TRL's PPO used linear; constant leaves the stopping point to validation."""
    train_batch_size: PositiveInt = 64
    """Sequences of one optimiser step. Origin: ours; updates of 16 were noise on the built-in task (docs/log.md)."""
    rollout_batch_size: PositiveInt = 128
    """Sequences sampled in one round. Origin: scaled down from 256 (sheet 3)."""
    num_generations: PositiveInt = 8
    """Samples of each prompt in a round; the prompt is read once for all of them. Origin: ours."""
    num_ppo_epochs: PositiveInt = 1
    """Passes over each rollout. Origin: 4 in sheet 3; ours, a fresh rollout is worth more than an old one."""
    max_steps: PositiveInt | None = 20
    """Rounds of rollout and update; None, or `num_train_epochs` given alone, counts passes over the prompts instead."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the policy that samples and learns, and of its reference. Greedy outputs are those of any
    temperature; below 1 the samples are nearer to them. Origin: sheet 3."""
    max_completion_length: PositiveInt | None = None
    """Tokens of a rollout at most, end marker included; None takes the evaluation's limit."""
    cliprange: float = Field(0.2, gt=0)
    """Half-width of the ratio interval. Origin: sheet 3 (TRL)."""
    reward_clip_range: float | None = Field(5.0, gt=0)
    """The reward model's logit is clipped to +- this. Origin: sheet 3."""
    rewards: SampleRewards = Field(default_factory=dict)
    """Rewards by name, which join the reward model's score, and do without where there is none: `overlap`,
    length-adjusted ROUGE-L (0 to 1) with the training reference; `rules`, -1 for a sample that breaks a rule of the
    audit; or a function or a classifier of yours. A number is a weight; `model` gives one to the reward model's score,
    which is 1 otherwise. Origin: ours."""
    standardise: bool = False
    """Divide the reward model's score and each reward by its standard deviation over a round of samples of the start,
    so that weights compare like with like. Origin: ours."""
    length_penalty: Literal["ratio", "deviation", "linear", "budget", "none"] = "ratio"
    """Form of the length term. `ratio` charges what is longer than the training reference, `deviation` also what is
    shorter; inference needs no reference."""
    length_coef: float | None = Field(None, ge=0)
    """Weight of the length term; None is 1.0 for ratio and deviation, 0.01 for linear, 0.05 for budget (sheet 3)."""
    length_budget: float | None = Field(None, gt=0)
    """Free tokens of `budget`; None is 1.2 times the median reference length (sheet 3)."""
    missing_eos_penalty: float = Field(1.0, ge=0)
    """Cost of a sample that does not end. Origin: sheet 3."""
    use_vllm: bool = False
    """vLLM samples (the extra `vllm`): causal models, one process. Tested with its build for CPUs; nobody has measured
    it on a GPU yet, so it is off by default."""
    vllm_gpu_memory_utilization: float = Field(0.3, gt=0, lt=1)
    """Share of the device's memory for vLLM's weights and caches. Origin: TRL."""
    vllm_importance_sampling_cap: float = Field(2.0, ge=1)
    """vLLM's samples are weighed by the probability that the policy gives them over vLLM's, but not above this.
    Origin: ours."""
    golden: GoldenRewards = Field(default_factory=dict)
    """Rewards by name that are measured on every rollout and not learnt from, such as a second judge: the run doctor
    speaks where one falls while the reward rises. A number is a weight. Origin: sheet 2.5 of teacher hacking."""

    def rounds_of(self, prompts: int) -> int:
        """Rounds of training in all, given the prompts of one pass."""
        return self.rounds(math.ceil(prompts * self.num_generations / self.rollout_batch_size))

    @property
    def stands_alone(self) -> bool:
        """Rewards without a model are enough."""
        return MODEL not in self.rewards and any(term.weight for term in self.rewards.values())

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each reward; that of the model's score where it is among them."""
        return weights_of(self.rewards)

    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """The same settings with other weights of the same rewards."""
        return self.model_copy(update={"rewards": with_weights(self.rewards, shares)})

    @model_validator(mode="after")
    def _golden_is_measured(self) -> Self:
        for name, term in self.golden.items():
            if not term.weight:
                raise ValueError(f"golden reward `{name}` has the weight 0 and would never be measured; give it 1")
        return self

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.rollout_batch_size % self.num_generations:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} must be a multiple of "
                f"num_generations {self.num_generations}"
            )
        return self


class GroupConfig(RolloutConfig):
    """Samples of one prompt are compared with each other, so there are two of each at least."""

    num_generations: int = Field(8, ge=2)
    """Samples of each prompt in a round; the prompt is read once for all of them. Origin: ours."""
