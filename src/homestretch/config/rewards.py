"""Settings of rewards: named terms of a weighted sum, the same for stored text and for samples.

rewards:
  overlap: 10.0                                               # a rule; the number is its weight
  brevity: {function: my_rewards.py:brevity, weight: 0.5}     # a Python function
  polite: {classifier: org/politeness, label: polite, sigmoid: true}
  helpful: {column: reward_logits.0, sigmoid: true}           # what the data say
  relevant: {local: relevance}                                # an extractor: computed here, or asked of a `judge`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from homestretch.config.base import Config, nearest
from homestretch.config.extractors import JudgeConfig, LocalConfig

RULES = ("overlap", "rules", "concise", "faithful", "coverage")
"""Rewards without a model (`rewards.rules`): their name alone says what they are."""

MODEL = "model"
"""The name of the run's reward model."""

SOURCES = ("function", "classifier", "column", "reward_model", "features", "local", "judge")
"""Keys of a term that say what it is, where its name does not."""

OWN = ("prompts", "completions", "references", "document", "terminated", "where")
"""What every reward is given, by the names of its arguments: columns of the data are given by the other names."""

_PLACE = re.compile(r".+:[^\W\d]\w*")

LOGGED = ("kl", "entropy", "kl_coef", "scores", "length_penalty")
"""Names that an online stage logs beside its rewards, behind `objective/`."""


class RewardTerm(Config):
    """One term: `weight` times the reward, or times its sigmoid. A number stands for the weight alone."""

    weight: float = 1.0
    """Factor of the term. A rule's is not negative."""
    sigmoid: bool = False
    """Take the reward for a log-odds and use the probability, 0 to 1."""
    function: str | None = None
    """`module:function`, or `path/to/file.py:function`, with the signature of TRL's reward functions."""
    classifier: str | None = Field(None, min_length=1)
    """A sequence classification model: a folder in Hugging Face format or a name on the Hub."""
    column: str | None = Field(None, min_length=1)
    """A number in the data: a column, or behind dots a part of one, such as `rewards.truth` or `reward_logits.0`."""
    reward_model: str | None = Field(None, min_length=1)
    """The folder of a reward model of another run, such as `runs/other/stages/03-reward/model`, whose logit is the
    reward; it reads texts with its own tokenizer. The run's own is called `model`."""
    features: str | None = Field(None, min_length=1)
    """A reward of features: a folder that `homestretch reward fit --kind features` has made."""
    local: LocalConfig | None = None
    """A quality of the text that words and small local models tell, 0 to 1, without a language model as a judge."""
    judge: JudgeConfig | None = None
    """A quality of the text that a language model behind an endpoint grades, 0 to 1."""
    label: int | str | None = None
    """The class whose log-odds are the reward, by number or name; a classifier with one output needs none."""
    reads: Literal["completion", "text", "pair"] = "completion"
    """What the classifier reads: the completion; prompt and completion as one text; or both as a pair of segments."""

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, given: Any) -> Any:
        return {"weight": given} if isinstance(given, int | float) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.function is not None and not _PLACE.fullmatch(self.function):
            raise ValueError("write `module:function` or `path/to/file.py:function`")
        if self.column is not None and (root := self.column.partition(".")[0]) in OWN:
            raise ValueError(f"`{root}` is what rewards are given beside the data's columns; call the column otherwise")
        if len(self.sources) > 1:
            raise ValueError(f"`{self.sources[0]}` and `{self.sources[1]}` are two rewards; make two terms of them")
        if self.classifier is None and (self.label is not None or self.reads != "completion"):
            raise ValueError("`label` and `reads` belong to a `classifier`; remove them")
        return self

    @property
    def sources(self) -> list[str]:
        """Which of the keys that say what a reward is are given."""
        return [name for name in SOURCES if getattr(self, name) is not None]


Term = TypeVar("Term", bound=RewardTerm)


def known(terms: dict[str, Term]) -> dict[str, Term]:
    """The terms, each of which says what it is. Raises ValueError."""
    for name, term in terms.items():
        built_in = name in (*RULES, MODEL)
        if not built_in and not term.sources:
            hint = nearest(name, [*RULES, MODEL]).rstrip(".?")
            raise ValueError(
                f"`{name}` is no reward ({hint}); give it a `function`, a `classifier`, a `column`, a `reward_model`, "
                "`features`, `local` or a `judge`"
            )
        if built_in and term.sources:
            raise ValueError(f"`{name}` is the name of a reward of ours; call yours by another name")
        if name in RULES and term.weight < 0:
            raise ValueError(f"the weight of `{name}` is negative, which would pay for what is wrong; use 0 or more")
    return terms


def some_weight(terms: dict[str, RewardTerm]) -> dict[str, RewardTerm]:
    """The terms, one of which has a weight at least. Raises ValueError."""
    if terms and not any(term.weight for term in terms.values()):
        raise ValueError("every weight is 0, and then all responses are worth the same; give one a weight")
    return terms


def _no_columns(terms: dict[str, RewardTerm]) -> dict[str, RewardTerm]:
    for name, term in terms.items():
        if term.column is not None:
            raise ValueError(f"`{name}` is a column of the data, which says nothing about samples; use another reward")
    return terms


def _beside_a_model(terms: dict[str, RewardTerm]) -> dict[str, RewardTerm]:
    for name, term in terms.items():
        if name == MODEL and term.sigmoid:
            raise ValueError("the reward model's score is a log-odds in the sum; leave out `sigmoid`")
        if name in LOGGED:
            raise ValueError(f"`{name}` is the name of a logged quantity; call the reward by another name")
    return terms


def _without_the_model(terms: dict[str, RewardTerm]) -> dict[str, RewardTerm]:
    if MODEL in terms:
        raise ValueError(f"the reward model's score is learnt from, so it cannot be held out; remove `{MODEL}`")
    return terms


def weights_of(terms: Mapping[str, RewardTerm]) -> dict[str, float]:
    """The weight of each term."""
    return {name: term.weight for name, term in terms.items()}


def falling(terms: Mapping[str, RewardTerm]) -> list[str]:
    """The names of those of which less is better: their weight is negative."""
    return [name for name, term in terms.items() if term.weight < 0]


def with_weights(terms: Mapping[str, Term], weights: Mapping[str, float]) -> dict[str, Term]:
    """The terms with other weights."""
    return {name: term.model_copy(update={"weight": weights[name]}) for name, term in terms.items()}


NAME = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Rewards = Annotated[dict[NAME, RewardTerm], AfterValidator(known)]
"""Terms by name."""
StoredRewards = Annotated[Rewards, AfterValidator(some_weight)]
"""Terms that are all of what a stored response earns; none for the data's own column, or else the reward model."""
OutputRewards = Annotated[Rewards, AfterValidator(_no_columns)]
"""Terms that can be asked of what a model writes."""
SampleRewards = Annotated[OutputRewards, AfterValidator(_beside_a_model)]
"""Terms that join a reward model's score of samples, which is there with the weight 1 where none of them is it."""
GoldenRewards = Annotated[SampleRewards, AfterValidator(_without_the_model)]
"""Terms that are measured of samples beside what is learnt from."""
