"""Settings of the stages `evaluate` and `report`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.base import Config
from homestretch.config.measured import VERDICT, check_metrics
from homestretch.config.rewards import OutputRewards

PostStep = Literal["end_marker", "tail", "dedupe"]


class EvaluateConfig(Config):
    """Arms of the test prompts, raw and post-processed (sheet 2.9): `ml`, the model of `sft` (or of `ift`, where there
    is no `sft`), and `rl`, that of the last other stage that changes what the run answers."""

    max_examples: PositiveInt | None = None
    """Test prompts at most; None takes all."""
    sampled: bool = True
    """Also sample every arm at temperature 1 (arms `...@t1`)."""
    baseline: bool = True
    """Also evaluate the model of `sft` or `ift` (arms `ml_...`)."""
    postprocess: list[PostStep] = ["end_marker", "tail", "dedupe"]
    """Steps of the post-processed arms, in order (sheet 2.9)."""
    la_rouge: Literal["a", "b", "c", "d"] = "a"
    """Form of the length-adjusted ROUGE (sheet 2.8)."""
    metrics: list[str] | None = None
    """Metrics to compute; None computes all that need no checkpoint of their own."""
    bleurt_checkpoint: str | None = None
    """Path or Hub name of a BLEURT checkpoint in Hugging Face format."""
    rewards: OutputRewards = {}
    """Rewards of the raw outputs (see rewards), each a metric `rewards/NAME` in its own unit, and their weighted sum
    `reward`; `model` is the run's reward model. Less is better of one whose weight is negative."""
    score_kl: bool = False
    """Also measure how far sampled arms are from the model of `ml`, or from the recipe's where there is none (metric
    `kl`): two more passes."""
    metric_for_verdict: str = VERDICT
    """Metric of the verdict in the report: one of `metrics`, `rewards/NAME` of a reward, or `failures/NAME`."""
    seed: int = Field(0, ge=0)
    """Seed of sampling and of the resampling statistics."""

    @model_validator(mode="after")
    def _measured(self) -> Self:
        missing = {
            "bleurt": "" if self.bleurt_checkpoint else "a `bleurt_checkpoint`",
            "reward": "" if self.rewards else "`rewards`",
            "kl": "" if self.score_kl and self.sampled else "`score_kl` and `sampled`",
        }
        check_metrics(
            self.metrics,
            self.metric_for_verdict,
            rewards=self.rewards,
            missing={key: need for key, need in missing.items() if need},
        )
        return self


class ReportConfig(Config):
    """One self-contained page about the run."""

    max_samples: PositiveInt = 300
    """Test prompts whose samples are shown."""
