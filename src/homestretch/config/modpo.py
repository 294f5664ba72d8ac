"""Settings of the stage `modpo`: multi-objective direct preference optimisation.

modpo:
  weight: 0.6                       # of the objective by which the pairs are ordered
  rewards:                          # the others, with their weights; all weights sum to 1
    concise: 0.2                    # a rule
    truth: {column: rewards.truth, weight: 0.2}      # of chosen_rewards and rejected_rewards in the data
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from homestretch.config.rewards import NAME, RewardTerm, known
from homestretch.config.training import TrainingConfig

LEAST_WEIGHT = 0.01
TOLERANCE = 1e-6


class ObjectiveTerm(RewardTerm):
    """One other objective: a reward, and its weight in the sum, 0 to 1."""

    weight: float = Field(ge=0, le=1)
    """The objective's share; all shares sum to 1."""
    policy: str | None = Field(None, min_length=1)
    """A model that was trained from the same start by DPO on pairs of this objective, at the same beta: the reward is
    beta times the log-ratio of its probabilities to those of the start."""

    @property
    def sources(self) -> list[str]:
        """Which of the keys that say what a reward is are given, `policy` among them."""
        return [*super().sources, *(["policy"] if self.policy is not None else [])]


class MODPOConfig(TrainingConfig):
    """Pairs for one objective, rewards for the others, one model for each choice of weights (Zhou et al. 2024)."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size. Origin: that of `dpo` here; the paper has 5e-4 with adapters that are scaled by 1/64."""
    beta: float = Field(0.1, gt=0)
    """Strength of the divergence from the reference, per nat. Origin: paper (0.1 and 0.5)."""
    weight: float = Field(0.5, le=1)
    """w_k: share of the objective by which the pairs are ordered."""
    rewards: Annotated[dict[NAME, ObjectiveTerm], AfterValidator(known)] = {"concise": ObjectiveTerm(weight=0.5)}
    """The other objectives by name (see rewards), each with its share."""
    standardise: bool = True
    """Divide each reward by its standard deviation over the responses of all pairs, so that shares compare like with
    like; that of a `policy` is in the units of the pairs already."""
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    """How an order that the policy does not follow costs. Origin: paper (sigmoid), authors' code (either)."""
    failure_modes: list[str] | None = None
    """Only pairs of these failure modes, e.g. `[mined]`; None takes all."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.weight < LEAST_WEIGHT:
            raise ValueError(
                f"weight {self.weight:g} leaves the order of the pairs out, by which the loss divides; use "
                f"{LEAST_WEIGHT} or more, or for the other objectives alone the model that one of them names as its "
                "`policy`, or `ppo` with these rewards"
            )
        shares = {"weight": self.weight, **{name: term.weight for name, term in self.rewards.items()}}
        if abs(sum(shares.values()) - 1) > TOLERANCE:
            listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
            raise ValueError(f"the shares ({listed}) sum to {sum(shares.values()):g}; make them sum to 1")
        return self
