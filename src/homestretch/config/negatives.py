"""Settings of the stage `negatives`: which failure modes, how many, and which one is kept from the reward model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from homestretch.config.base import Config, nearest

FailureMode = Literal[
    "random", "irrelevant", "shuffled", "repetitive", "copy", "run_on", "swapped", "near_miss", "spliced", "action",
    "roles", "opposite", "mined",
]  # fmt: skip


class MinedConfig(Config):
    """Bad samples of the fine-tuned model on training documents (sheet 2.2)."""

    num_samples: int = Field(2, ge=0)
    """Samples of each training prompt at `temperature`, beside the greedy one. Origin: ours; the sheet has one."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the samples. Origin: sheet 2.2."""
    max_prompts: PositiveInt | None = 1000
    """At most this many training prompts are sampled; None is all. Origin: ours, a matter of time."""
    per_example: PositiveInt = 1
    """At most this many bad samples are kept of a document. Origin: sheet 2.2."""
    repeated: float = Field(0.3, ge=0, le=1)
    """Kept above this share of repeated word 4-grams. Origin: sheet 2.2."""
    shortest: float = Field(0.5, ge=0)
    """Kept below this ratio of lengths, sample to reference. Origin: sheet 2.2."""
    longest: float = Field(2.0, ge=1)
    """Kept above this ratio of lengths. Origin: sheet 2.2."""
    quantile: float = Field(0.2, gt=0, le=1)
    """Kept in this lowest share of ROUGE-L F over all samples, if also below `low`. Origin: sheet 2.2."""
    low: float = Field(0.3, ge=0, le=1)
    """See `quantile`. Origin: sheet 2.2."""
    good: float = Field(0.5, gt=0, le=1)
    """Never kept from this ROUGE-L F on. Origin: sheet 2.2."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low > self.good:
            raise ValueError(f"mined.low {self.low} is above mined.good {self.good}, from which on nothing is kept")
        return self


class NegativesConfig(Config):
    """Failure modes made from the pairs, one class per pair unless more are asked for (Solway 2024, sheet 2.2)."""

    classes: list[FailureMode] = Field(
        default=["random", "irrelevant", "shuffled", "repetitive", "copy", "run_on", "swapped", "near_miss", "spliced",
                 "action", "roles", "opposite", "mined"],
        min_length=1,
    )  # fmt: skip
    """Classes that are made. Origin: the first five and `run_on`, `swapped`, `mined` sheet 2.2; the others ours."""
    held_out: FailureMode | None = "spliced"
    """A class of `classes` kept out of the reward model's training and only measured: does it know a failure that it
    was never shown? `spliced` because it is one of content and has kin among the others. None trains on all."""
    held_out_fraction: float = Field(0.15, gt=0, lt=1)
    """Share of the training prompts whose pairs only measure the reward model. Their failures are made of one another:
    a wrong answer that was trained on as somebody's right one would be measured as a mistake. Origin: ours."""
    max_held_out: PositiveInt = 200
    """At most this many prompts are held out. Origin: ours, a matter of time."""
    weights: dict[FailureMode, float] = Field(default_factory=dict)
    """Chance of a class against the others where several apply, 1 where not given. Origin: uniform, sheet 2.2."""
    classes_per_example: PositiveInt | Literal["all"] = 1
    """Different classes that a pair gets; n of them in one pass stand for n epochs of the sheet. Origin: C = 1 of sheet
    2.2."""
    max_words: PositiveInt | None = None
    """No negative has more words; None is twice the longest reference. Origin: ours (T of the sheet, in words)."""
    mined: MinedConfig = Field(default_factory=MinedConfig)
    """Settings of `mined`."""
    seed: int = 0
    """Seed of all draws; the recipe's seed is added to it."""

    @property
    def trained(self) -> list[FailureMode]:
        """The classes that the reward model is trained on."""
        return [name for name in self.classes if name != self.held_out]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names one class twice; name each once")
        for name in [self.held_out, *self.weights]:
            if name is not None and name not in self.classes:
                raise ValueError(f"`{name}` is not among classes; {nearest(name, list(self.classes))}")
        if not self.trained:
            raise ValueError(f"held_out `{self.held_out}` is the only class; add another, or set held_out to null")
        if any(w < 0 for w in self.weights.values()) or all(self.weights.get(c, 1.0) == 0 for c in self.trained):
            raise ValueError("weights must not be negative, and one trained class at least must have a positive one")
        return self
