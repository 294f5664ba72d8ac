"""Settings that every training stage shares, under the names that the Hugging Face trainers use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.base import Config

MICRO_BATCH_TOKENS, MICRO_BATCH_TOKENS_CPU = 16_384, 768


class TrainingConfig(Config):
    """How one stage trains; the method's own fields are added by its subclass."""

    trains_policy: ClassVar[bool] = True

    learning_rate: float = Field(2e-4, gt=0)
    """Peak step size of AdamW. 1e-4 to 5e-4 suits LoRA, 1e-5 to 5e-5 full fine-tuning."""
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "linear"
    """Shape of the step size after warm-up; linear and cosine end at zero."""
    warmup_steps: float = Field(0.05, ge=0)
    """Optimiser steps of linear warm-up; below 1 it is a share of all steps, as in transformers 5."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    train_batch_size: PositiveInt = 16
    """Sequences (or pairs) of one optimiser step, whatever the micro-batches."""
    micro_batch_tokens: PositiveInt | None = None
    """Padded tokens of one forward pass; None chooses by device. It changes speed and memory, not the loss."""
    num_train_epochs: float = Field(1.0, gt=0)
    """Passes over the training data; `max_steps` wins when it is given."""
    max_steps: PositiveInt | None = None
    """Rounds of training in all: optimiser steps, or rollouts for an online method."""
    train_until: dict[Literal["tokens", "samples", "seconds"], PositiveInt] = {}
    """What the stage may spend: it ends with the round in which one of these is used up, and wins over `max_steps` and
    `num_train_epochs`. Tokens and samples are those of optimiser batches, seconds leave validation out."""
    eval_steps: PositiveInt | None = None
    """Rounds between validations; None validates four times in a stage."""
    eval_examples: PositiveInt = 64
    """Validation prompts that are generated for at each validation."""
    metric_for_best_model: str = "la_rougeL"
    """Validation metric that chooses the checkpoint to keep; `none` keeps the last one. A name that the first
    validation does not have is refused there."""
    save_steps: PositiveInt | None = None
    """Rounds between checkpoints; None saves at each validation."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    use_peft: bool = True
    """Train LoRA adapters; False trains every weight."""
    lora_r: PositiveInt = 16
    """Rank of the adapters."""
    lora_alpha: PositiveInt = 32
    """Adapters are scaled by lora_alpha / lora_r."""
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input; off, so that sampling and training agree to the bit."""
    lora_target_modules: str | list[str] = "all-linear"
    """Modules that get adapters, in peft's terms."""
    bf16: bool | None = None
    """Mixed precision in bfloat16; None switches it on where the hardware multiplies bfloat16 matrices."""
    doctor: Literal["warn", "stop", "off"] = "warn"
    """What the run doctor does with an alarm: say it, or end the stage too, with the best checkpoint kept. `off`
    neither watches nor speaks."""

    @model_validator(mode="before")
    @classmethod
    def _passes_alone(cls, given: Any) -> Any:
        """Passes that are given without rounds count, whatever rounds a method has by default."""
        alone = isinstance(given, Mapping) and "num_train_epochs" in given and "max_steps" not in given
        return {**given, "max_steps": None} if alone else given

    @model_validator(mode="after")
    def _stopped_at_its_best(self) -> Self:
        if self.doctor == "stop" and self.metric_for_best_model == "none":
            raise ValueError(
                "`doctor: stop` keeps the best checkpoint, and `metric_for_best_model: none` has none; name a metric, "
                "or set doctor to warn"
            )
        return self

    def rounds(self, per_epoch: int) -> int:
        """Rounds of training in all, given those of one pass over the data."""
        return self.max_steps or max(round(per_epoch * self.num_train_epochs), 1)

    def eval_every(self, rounds: int) -> int:
        """Rounds between validations."""
        return self.eval_steps or max(math.ceil(rounds / 4), 1)
