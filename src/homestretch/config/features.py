"""Settings of a reward that is computed from named features of a text.

features:
  concise: {low: -60}                                          # a rule; its range, if that is not 0 to 1
  aspects: {column: features.aspect-coverage, high: 5}         # a number of either side of the data's pairs
  polite: {classifier: org/politeness, label: polite, sigmoid: true}
hidden_sizes: [6, 4, 2]
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from homestretch.config.base import Config
from homestretch.config.rewards import NAME, RewardTerm, known

Activation = Literal["none", "relu", "tanh", "sigmoid"]


class FeatureTerm(RewardTerm):
    """One feature: a reward by name, and the range that the net sees as 0 to 1. More need not be better."""

    low: float = 0.0
    """The least value."""
    high: float = 1.0
    """The greatest value."""

    @model_validator(mode="after")
    def _range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.weight != 1:
            raise ValueError("a feature has no weight, the net finds one; leave it out")
        return self


def _some(features: dict[str, FeatureTerm]) -> dict[str, FeatureTerm]:
    if not features:
        raise ValueError("a reward of features needs one feature at least")
    return known(features)


class FeaturesConfig(Config):
    """A small net on named features, fitted to pairs (Nath et al. 2024, arXiv:2402.15473)."""

    features: Annotated[dict[NAME, FeatureTerm], AfterValidator(_some)]
    """Features by name; the net takes them in the order of their names."""
    hidden_sizes: list[PositiveInt] = [6, 4, 2]
    """Widths of the hidden layers; none is a linear model. Origin: authors' code."""
    activation: Activation = "relu"
    """Behind the first layer; the other hidden layers are linear. Origin: authors' code."""
    output_activation: Activation = "none"
    """Behind the last layer. Origin: ours; the authors' relu ends constant from most starts."""
    learning_rate: float = Field(0.02, gt=0)
    """Peak step size of AdamW, cosine with warm-up. Origin: ours, within what the authors searched."""
    warmup_share: float = Field(0.3, ge=0, lt=1)
    """Share of the steps that warm up. Origin: authors' code."""
    weight_decay: float = Field(0.05, ge=0)
    """AdamW's decoupled weight decay. Origin: authors' code."""
    ridge: float = Field(0.0, ge=0)
    """Penalty on the squared weights in the loss, for features that say nearly the same."""
    num_train_epochs: PositiveInt = 150
    """Passes over the pairs. Origin: authors' code (100 to 200)."""
    train_batch_size: PositiveInt = 32
    """Pairs of a step. Origin: authors' code."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm. Origin: authors' code."""
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    """Share of the prompts that only measure, where the data have no validation split."""
    restarts: PositiveInt = 3
    """Starts at most: one that ends constant is thrown away."""
    seed: int = Field(0, ge=0)
    """Seed of weights, order and splits."""
