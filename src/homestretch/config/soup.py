"""Settings of the stage `soup`: the weighted mean of the weights of several models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator

from homestretch.config.base import Config
from homestretch.config.seeded import SeededName

TOLERANCE = 1e-6


def _shares(models: dict[str, float]) -> dict[str, float]:
    if len(models) < 2:
        raise ValueError("a soup is made of two models at least")
    if abs(sum(models.values()) - 1) > TOLERANCE:
        raise ValueError(f"the shares sum to {sum(models.values()):g}; make them sum to 1")
    return models


class SoupConfig(Config):
    """One model out of several that were trained from the same start (Wortsman et al. 2022, arXiv:2203.05482; of DPO
    policies: Rame et al. 2023, arXiv:2306.04488)."""

    trains_policy: ClassVar[bool] = True

    models: Annotated[dict[SeededName, float], AfterValidator(_shares)]
    """Folder of each model and its share; shares sum to 1, and one may be negative to go beyond the others. `{seed}` in
    a folder's name stands for the run's seed."""

    @property
    def shares(self) -> dict[str, float]:
        """The share of each model."""
        return self.models

    def with_shares(self, shares: Mapping[str, float]) -> Self:
        """The same models with other shares."""
        return self.model_copy(update={"models": dict(shares)})
