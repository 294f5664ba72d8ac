"""Settings of the stage `wbc`: weighted behaviour cloning."""

from __future__ import annotations

from typing import Literal

from homestretch.config.weighted import WeightedConfig


class WBCConfig(WeightedConfig):
    """Maximum likelihood on stored responses, each weighted by its reward (Baheti et al. 2024, sheet 2.2)."""

    sampling: Literal["priority", "uniform"] = "priority"
    """`priority` draws rows with replacement, in proportion to their reward; `uniform` passes over all of them.
    Origin: authors' code of the released models."""
