"""Settings of the stage `best_of`: the best of several samples of a model that stays as it is.

best_of: {num_samples: 8, rewards: {model: 0.7, concise: 0.3}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from homestretch.config.base import Config
from homestretch.config.rewards import OutputRewards, some_weight, weights_of, with_weights


class BestOfConfig(Config):
    """What the current model answers is the best of n samples by a weighted sum of rewards (Stiennon et al. 2020)."""

    trains_policy: ClassVar[bool] = True

    num_samples: PositiveInt | None = None
    """n, samples of each prompt."""
    kl: float | None = Field(None, gt=0, le=10)
    """Instead of `num_samples`: the n whose divergence from the model that is sampled, ln n - (n - 1) / n nats, is
    nearest to this, such as the `kl` of a trained model that it is compared with. 10 nats are 60,000 samples."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the samples; the formula is of one that samples as the model says, 1."""
    rewards: Annotated[OutputRewards, AfterValidator(some_weight)]
    """The rewards by name (see rewards), each with its weight; `model` is the run's reward model."""
    standardise: bool = True
    """Divide each reward by its standard deviation over all samples, so that weights compare like with like."""

    @property
    def shares(self) -> dict[str, float]:
        """The weight of each reward."""
        return weights_of(self.rewards)

    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """The same settings with other weights of the same rewards."""
        return self.model_copy(update={"rewards": with_weights(self.rewards, shares)})

    @model_validator(mode="after")
    def _one_way_to_say_how_many(self) -> Self:
        if (self.num_samples is None) == (self.kl is None):
            raise ValueError("how many samples there are is said by `num_samples` or by `kl`; give one of them")
        return self
