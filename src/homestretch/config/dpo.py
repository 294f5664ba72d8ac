"""Settings of the stage `dpo`: direct preference optimisation, of one objective or of several by weighted losses.

dpo: {weight: 0.7, rewards: {concise: 0.3}}     # 0.7 times the loss of the pairs, 0.3 times that of the same pairs
                                                # ordered by the reward; shares are those of `objectives`
"""

from __future__ import annotations

from pydantic import Field

from homestretch.config.objectives import Objectives, ObjectivesConfig


class DPOConfig(ObjectivesConfig):
    """Better against worse responses: the data's `chosen` and `rejected`, or references against the run's negatives
    (Rafailov et al. 2023)."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size. Origin: the DPO baseline of A-LoL's authors, with adapters; all weights want 5e-7 to 5e-6."""
    beta: float = Field(0.1, ge=0)
    """How fast a difference of preference counts, per nat. Origin: paper."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """eps: share of pairs whose order is taken to be wrong. Origin: paper (none)."""
    weight: float = Field(1.0, ge=0, le=1)
    """Share of the loss of the pairs' own order; 0 learns from the other objectives alone."""
    rewards: Objectives = {}
    """Other objectives by name (see rewards), each with the share of the loss of the same pairs in the order that this
    reward gives them; a pair that it does not order adds nothing. Origin: the baseline of MODPO's authors."""
