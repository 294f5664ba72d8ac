"""Settings of the stage `dpo`: direct preference optimisation."""

from __future__ import annotations

from pydantic import Field

from homestretch.config.training import TrainingConfig


class DPOConfig(TrainingConfig):
    """Better against worse responses: the data's `chosen` and `rejected`, or references against the run's negatives
    (Rafailov et al. 2023)."""

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size. Origin: the DPO baseline of A-LoL's authors, with adapters; all weights want 5e-7 to 5e-6."""
    beta: float = Field(0.1, ge=0)
    """How fast a difference of preference counts, per nat. Origin: paper."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """eps: share of pairs whose order is taken to be wrong. Origin: paper (none)."""
    failure_modes: list[str] | None = None
    """Only pairs of these failure modes, e.g. `[mined]`; None takes all."""
