"""Settings that online methods without a critic share: how they sample, and what they are rewarded for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.training import TrainingConfig


class RolloutConfig(TrainingConfig):
    """Groups of samples of one prompt, compared with each other."""

    learning_rate: float = Field(3e-4, gt=0)
    """Peak step size. Origin: that of `ppo` here, for LoRA; full fine-tuning wants 1e-6 to 1e-5."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "constant"
    """Shape of the step size. Origin: that of `ppo` here, which leaves the stopping point to validation."""
    train_batch_size: PositiveInt = 64
    """Sequences of one optimiser step. Origin: that of `ppo` here."""
    rollout_batch_size: PositiveInt = 128
    """Sequences sampled in one round. Origin: that of `ppo` here."""
    num_generations: int = Field(8, ge=2)
    """Samples of each prompt in a round. Origin: ours."""
    num_ppo_epochs: PositiveInt = 1
    """Passes over each rollout. Origin: papers."""
    max_steps: PositiveInt | None = 20
    """Rounds of rollout and update."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the policy that samples and learns, and of its reference. Origin: papers."""
    max_completion_length: PositiveInt | None = None
    """Tokens of a rollout at most, end marker included; None takes the evaluation's limit."""
    cliprange: float = Field(0.2, gt=0)
    """Half-width of the ratio interval. Origin: PPO's."""
    reward_clip_range: float | None = Field(5.0, gt=0)
    """The reward model's logit is clipped to +- this. Origin: that of `ppo` here."""
    rewards: dict[Literal["overlap", "rules"], Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Rewards without a model that join the reward model's score, and their weights, as for `ppo`."""
    length_penalty: Literal["ratio", "linear", "budget", "none"] = "ratio"
    """Form of the length term, as for `ppo`."""
    length_coef: float | None = Field(None, ge=0)
    """Weight of the length term; None is 1.0 for ratio, 0.01 for linear, 0.05 for budget."""
    length_budget: float | None = Field(None, gt=0)
    """Free tokens of `budget`; None is 1.2 times the median reference length."""
    missing_eos_penalty: float = Field(1.0, ge=0)
    """Cost of a sample that does not end."""
    doctor: Literal["warn", "stop", "off"] = "warn"
    """What the run doctor does when the reward rises while the validation metric falls."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.rollout_batch_size % self.num_generations:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} must be a multiple of "
                f"num_generations {self.num_generations}"
            )
        return self
