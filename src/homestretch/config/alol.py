"""Settings of the stage `alol`: advantage-based offline policy gradient."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from homestretch.config.weighted import WeightedConfig


class ALOLConfig(WeightedConfig):
    """Stored responses, each weighted by what it earns beyond the reference (Baheti et al. 2024)."""

    variant: Literal["a_lol", "a_lol_seq", "a_lol_ref_free", "a_lol_kl", "r_lol"] = "a_lol"
    """Form of the weight (sheet 2.2). `r_lol` takes the reward itself and needs no stage `value`; `a_lol_ref_free` has
    no importance weight; `a_lol_seq` has one for each token."""
    cliprange: float | None = Field(0.9, gt=0)
    """eps: importance weights are cut to 1 - eps and 1 + eps; None does not cut. Origin: authors' code."""
    beta: float = Field(0.2, ge=0)
    """Weight of the divergence in `a_lol_kl`, in units of reward. Origin: an early text; their code's default is 0."""
    clamp_advantage: bool = True
    """A negative advantage counts as 0. Origin: ours for every form; their 7B script leaves it out of one."""
    sampling: Literal["priority", "filtered", "uniform"] = "priority"
    """`priority` draws rows with replacement, in proportion to max(A, 0) (to R for `r_lol`); `filtered` passes over the
    rows with A > 0 (all of them for `r_lol`); `uniform` passes over all rows. A pass over fewer rows has fewer steps.
    Origin: authors' code of the released models (`good_priority`; `good_random` and `none` are the others)."""

    @property
    def stands_alone(self) -> bool:
        """Rewards themselves need no value."""
        return self.variant == "r_lol"

    @property
    def names_rewards(self) -> bool:
        """The stage `value` has the rewards, except for a variant without."""
        return bool(self.rewards) or not self.stands_alone

    @model_validator(mode="after")
    def _is_read(self) -> Self:
        if self.variant != "a_lol_kl":
            self.refuse_unread(["beta"], "belongs to variant `a_lol_kl`; set that, or remove it")
        if self.rewards and not self.stands_alone:
            raise ValueError("`rewards` belong to the stage `value`, which the advantages come from; move them there")
        return self
