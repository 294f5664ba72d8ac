"""Settings of the stage `ift`: intuitive fine-tuning."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from homestretch.config.training import TrainingConfig


class IFTConfig(TrainingConfig):
    """Maximum likelihood on inputs mixed with the model's own predictions (Hua et al. 2025)."""

    learning_rate: float = Field(5e-4, gt=0)
    """Peak step size. Origin: that of `sft` here; the paper's 5e-7 is for all weights of 2 to 8 billion."""
    num_train_epochs: float = Field(3.0, gt=0)
    """Passes over the pairs. Origin: paper, section 3 of the sheet."""
    warmup_steps: float = Field(0.1, ge=0)
    """Optimiser steps of linear warm-up; below 1 a share of all steps. Origin: paper."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "cosine"
    """Shape of the step size after warm-up. Origin: paper."""
    max_grad_norm: float = Field(10.0, gt=0)
    """Gradients are scaled down to this norm. Origin: authors' code."""
    lam: float = Field(0.2, ge=0, le=1)
    """Share of the model's prediction in each input; 0 does without the first pass. Origin: paper."""
    gamma: float = Field(0.95, ge=0, le=1)
    """Decay of the coupling over time; 0 weighs all tokens alike. Origin: paper."""
    formula: Literal["authors", "eq21", "alg1"] = "authors"
    """Which of the published forms couples the losses. Origin: authors' code; the paper prints the other two."""
    detach_weights: bool = False
    """Let no gradient through the weights. Origin: authors' code does let it through."""
    lam_schedule: Literal["constant", "linear", "noisy"] = "constant"
    """`linear` rises from lam_start to lam; `noisy` draws lam (1 + z / 2) within [0, 1] for each step, z normal.
    Origin: paper; the noisy form is our reading of a row of its table."""
    lam_start: float = Field(0.0, ge=0, le=1)
    """First share of a rising lam."""
    lam_warmup_steps: float = Field(0.1, ge=0)
    """Steps over which it rises; below 1 a share of all steps. Origin: ours, as for the step size."""
    embedding: Literal["frozen", "live"] = "frozen"
    """Whether the mixed embeddings learn, where all weights are trained. Origin: authors' code keeps a frozen copy. An
    encoder's own reading of the prompt learns in either case, and so does a table that is also the output layer."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.lora_dropout > 0:
            raise ValueError("lora_dropout must be 0: predictions and loss come from two passes of one network")
        if self.lam_schedule != "linear":
            why = "belongs to lam_schedule `linear`; set that, or remove it"
            self.refuse_unread(("lam_start", "lam_warmup_steps"), why)
        return self
