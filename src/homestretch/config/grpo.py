"""Settings of the stage `grpo`: group-relative policy optimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from homestretch.config.rollouts import GroupConfig


class GRPOConfig(GroupConfig):
    """Clipped policy gradient with rewards normalised within each prompt's samples (Shao et al. 2024)."""

    beta: float = Field(0.04, ge=0)
    """Weight of the divergence from the start policy in the loss. Origin: paper."""
    scale_rewards: Literal["group", "none"] = "group"
    """`group` divides by the standard deviation of a prompt's rewards. Origin: paper; without it (Liu et al. 2025,
    arXiv:2503.20783) prompts where samples hardly differ do not count more."""
    average: Literal["token", "sequence"] = "sequence"
    """Mean over sequences of their means, or over all tokens. Origin: paper."""
