"""Settings of the stage `gold`: reward GOLD."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from homestretch.config.weighted import WeightedConfig


class GOLDConfig(WeightedConfig):
    """Policy gradient on stored responses (Pang and He 2021, in the form of Baheti et al. 2024, sheet 2.2)."""

    floor: float = Field(0.1, gt=0, le=1)
    """u: least weight of a token relative to its response's reward. Origin: authors' code."""
    sampling: Literal["priority", "uniform"] = "priority"
    """`priority` draws rows with replacement, in proportion to their reward; `uniform` passes over all of them.
    Origin: authors' code of the released models."""
