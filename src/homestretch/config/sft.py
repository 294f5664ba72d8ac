"""Settings of the stage `sft`: maximum likelihood on the pairs."""

from __future__ import annotations

from pydantic import Field

from homestretch.config.training import TrainingConfig


class SFTConfig(TrainingConfig):
    """Token cross-entropy on the completion, end marker included (sheet 2.7)."""

    learning_rate: float = Field(5e-4, gt=0)
    """Peak step size. Origin: validation loss on the built-in task, LoRA rank 16."""
    num_train_epochs: float = Field(2.0, gt=0)
    """Passes over the pairs; the best checkpoint is kept, so a spare pass costs time, not quality."""
