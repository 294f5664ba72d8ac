"""Settings that stages of several objectives share: pairs that one objective has ordered, and rewards of the others.

modpo:
  weight: 0.6                       # of the objective by which the pairs are ordered
  rewards:                          # the others, with their weights; all weights sum to 1
    concise: 0.2                    # a rule
    truth: {column: rewards.truth, weight: 0.2}      # of chosen_rewards and rejected_rewards in the data
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from homestretch.config.rewards import NAME, RewardTerm, known, weights_of, with_weights
from homestretch.config.seeded import SeededName
from homestretch.config.training import TrainingConfig

ORDER = "weight"
"""What the share of the objective that orders the pairs is called."""
TOLERANCE = 1e-6
FAR_APART = 100.0
"""A reward that spreads this many times as widely as another decides alone."""


class ObjectiveTerm(RewardTerm):
    """One other objective: a reward, and its weight in the sum, 0 to 1."""

    weight: float = Field(ge=0, le=1)
    """The objective's share; all shares sum to 1."""
    policy: SeededName | None = None
    """A model that was trained by DPO on pairs of this objective, at the same beta: the reward is beta times the
    log-ratio of its probabilities to those of the model that it was trained from. `{seed}` stands for the run's
    seed."""

    @property
    def sources(self) -> list[str]:
        """Which of the keys that say what a reward is are given, `policy` among them."""
        return [*super().sources, *(["policy"] if self.policy is not None else [])]


Objectives = Annotated[dict[NAME, ObjectiveTerm], AfterValidator(known)]
"""The other objectives by name."""


class ObjectivesConfig(TrainingConfig):
    """Shares of the objective that orders the pairs and of the others, on the simplex."""

    beta: float = Field(0.1, gt=0)
    """Strength of the divergence from the reference, per nat."""
    weight: float = Field(1.0, ge=0, le=1)
    """Share of the objective by which the pairs are ordered."""
    rewards: Objectives = {}
    """The other objectives by name (see rewards), each with its share."""
    failure_modes: list[str] | None = None
    """Only pairs of these failure modes, e.g. `[mined]`; None takes all."""

    @property
    def shares(self) -> dict[str, float]:
        """The share of each objective, the one that orders the pairs first."""
        return {ORDER: self.weight, **weights_of(self.rewards)}

    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """The same settings with other shares."""
        return self.model_copy(update={"weight": shares[ORDER], "rewards": with_weights(self.rewards, shares)})

    @model_validator(mode="after")
    def _on_the_simplex(self) -> Self:
        refuse_other_sums(self.shares)
        return self


def refuse_other_sums(shares: Mapping[str, float]) -> None:
    """Raise ValueError unless the shares sum to 1."""
    if abs(sum(shares.values()) - 1) > TOLERANCE:
        listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
        raise ValueError(f"the shares ({listed}) sum to {sum(shares.values()):g}; make them sum to 1")
