"""Settings of the stage `reward`: a model that tells references from failure modes."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from homestretch.config.contrast import ContrastConfig
from homestretch.config.training import TrainingConfig


class RewardConfig(TrainingConfig):
    """A scalar head on the last hidden state of prompt and completion (Solway 2024, sheet 2.3)."""

    trains_policy: ClassVar[bool] = False

    kind: Literal["classifier", "pairwise"] = "classifier"
    """`classifier`: binary cross-entropy of references (1) against negatives (0); `pairwise`: Bradley-Terry, with the
    column `margin` of pairs that have one as the difference that is wanted."""
    learning_rate: float = Field(3e-4, gt=0)
    """Peak step size of adapters and head."""
    head_learning_rate: float = Field(1e-3, gt=0)
    """Peak step size of the scalar head, which starts from nothing."""
    num_train_epochs: float = Field(1.0, gt=0)
    """Passes over the pairs; for other failures of the same pairs raise negatives.classes_per_example."""
    metric_for_best_model: str = "auroc"
    """Held-out area under the ROC curve, averaged over the trained failure modes."""
    contrast: ContrastConfig | None = None
    """Settings of a contrastive term, `{}` for its defaults: the model then also says at every token how near the text
    is to a good ending. None trains without."""
