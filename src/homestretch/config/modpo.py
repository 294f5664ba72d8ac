"""Settings of the stage `modpo`: multi-objective direct preference optimisation; shares are those of `objectives`."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from homestretch.config.objectives import Objectives, ObjectivesConfig, ObjectiveTerm, refuse_other_sums

LEAST_WEIGHT = 0.01
LOW_WEIGHT = 0.1
"""Below this a sentence warns: the loss divides by the weight."""


class MODPOConfig(ObjectivesConfig):
    """Pairs for one objective, rewards for the others, one model for each choice of weights (Zhou et al. 2024)."""

    least_share: ClassVar[float] = LEAST_WEIGHT

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size. Origin: that of `dpo` here; the paper has 5e-4 with adapters that are scaled by 1/64."""
    beta: float = Field(0.1, gt=0)
    """Strength of the divergence from the reference, per nat. Origin: paper (0.1 and 0.5)."""
    weight: float = Field(0.5, le=1)
    """w_k: share of the objective by which the pairs are ordered."""
    rewards: Objectives = {"concise": ObjectiveTerm(weight=0.5)}
    """The other objectives by name (see rewards), each with its share."""
    standardise: bool = True
    """Divide each reward by its standard deviation over the responses of all pairs, so that shares compare like with
    like; that of a `policy` is in the units of the pairs already."""
    metric_for_best_model: str = "loss"
    """Validation metric that chooses the checkpoint to keep: the loss of held-out pairs, in which every objective has
    its share; `none` keeps the last one. Origin: paper."""
    loss_type: Literal["sigmoid", "hinge"] = "sigmoid"
    """How an order that the policy does not follow costs. Origin: paper (sigmoid), authors' code (either)."""

    @property
    def without_order(self) -> str:
        """What stands for a model of weight 0, which this loss does not have."""
        policies = [term.policy for term in self.rewards.values()]
        if len(policies) == 1 and policies[0] is not None:
            return f"weight 0 is the margin policy itself, `{policies[0]}`"
        return "weight 0, the other objectives alone, is learnt by `dpo` of weight 0 or by `ppo` with these rewards"

    @model_validator(mode="after")
    def _on_the_simplex(self) -> Self:
        # Before the sum of the shares, which says nothing to whoever wants the other objectives alone.
        if self.weight < LEAST_WEIGHT:
            raise ValueError(
                f"weight {self.weight:g} leaves the order of the pairs out, by which the loss divides: use "
                f"{LEAST_WEIGHT} or more; {self.without_order}"
            )
        refuse_other_sums(self.shares)
        return self
