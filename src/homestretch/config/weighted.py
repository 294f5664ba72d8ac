"""Settings that the methods share which learn from stored responses with rewards (Baheti et al. 2024, sheet 3)."""

from __future__ import annotations

from pydantic import Field

from homestretch.config.rewards import StoredRewards
from homestretch.config.training import TrainingConfig


class WeightedConfig(TrainingConfig):
    """Stored responses, each with one reward."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size. Origin: authors' code with adapters; 2e-5 for full fine-tuning."""
    warmup_steps: float = Field(0.0, ge=0)
    """Optimiser steps of linear warm-up; below 1 a share of all steps. Origin: authors' code has none."""
    num_train_epochs: float = Field(1.0, gt=0)
    """Passes over the rows that are learned from. Origin: authors' code."""
    rewards: StoredRewards = Field(default_factory=dict)
    """What a stored response earns: a weighted sum by name. Without it the column `reward`, or else the run's reward
    model's probability."""

    @property
    def names_rewards(self) -> bool:
        """The sum, if there is one."""
        return bool(self.rewards)
