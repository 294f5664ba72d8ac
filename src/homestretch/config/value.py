"""Settings of the stage `value`: what the current model would earn for a prompt."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.rewards import MODEL, StoredRewards
from homestretch.config.training import TrainingConfig

UNREAD = ("use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "gradient_checkpointing")


class ValueConfig(TrainingConfig):
    """A head on the prompt's states of the frozen current model (Baheti et al. 2024, sheet 2.3 and 2.4)."""

    trains_policy: ClassVar[bool] = False

    learning_rate: float = Field(1e-3, gt=0)
    """Peak step size of the head. Origin: ours; the authors' 1e-5 to 2e-5 moves a new head little in few steps."""
    num_train_epochs: float = Field(10.0, gt=0)
    """Passes over the prompts. Origin: authors' code."""
    metric_for_best_model: str = "mse"
    """Squared error on held-out prompts, the smaller the better; the start is the constant that fits best."""
    responses: Literal["sampled", "stored"] = "sampled"
    """`sampled`: the current model answers the validation prompts and the run's reward model scores the answers, as in
    the paper. `stored`: V is fitted to the rewards of the validation rows, which needs no reward model."""
    num_generations: PositiveInt = 1
    """Answers sampled for each prompt. Origin: authors' code."""
    temperature: float = Field(1.0, ge=0)
    """Sampling temperature; 0 is greedy, as in the authors' code, which is not what the paper says."""
    r_max: float = Field(1.0, gt=0)
    """Rewards lie between 0 and this. Origin: 1 where the reward is a probability, as in the authors' code."""
    rewards: StoredRewards = Field(default_factory=dict)
    """What a response earns, stored or sampled: a weighted sum by name. Without it the column `reward`, or else the
    run's reward model's probability."""
    held_out_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the validation prompts that choose the checkpoint. Origin: ours."""

    @property
    def stands_alone(self) -> bool:
        """Stored rewards need no reward model, nor does a sum without it."""
        return self.responses == "stored" or (self.names_rewards and MODEL not in self.rewards)

    @property
    def names_rewards(self) -> bool:
        """The sum, if there is one."""
        return bool(self.rewards)

    @model_validator(mode="after")
    def _head_alone(self) -> Self:
        self.refuse_unread(UNREAD, "has no effect here: the stage trains a head on a frozen model; remove it")
        columns = [name for name, term in self.rewards.items() if term.column is not None]
        if columns and self.responses == "sampled":
            raise ValueError(f"the column of `{columns[0]}` says nothing about sampled responses; use responses=stored")
        return self
