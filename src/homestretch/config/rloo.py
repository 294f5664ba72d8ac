"""Settings of the stage `rloo`: REINFORCE, leave one out."""

from __future__ import annotations

from pydantic import Field

from homestretch.config.rollouts import GroupConfig


class RLOOConfig(GroupConfig):
    """Policy gradient with the other samples of a prompt as the baseline (Ahmadian et al. 2024)."""

    kl_coef: float = Field(0.05, ge=0)
    """Weight of the divergence from the start policy in the reward, a nat a sequence. Origin: that of `ppo` here; the
    paper has 0.03 to 0.10 by task."""
