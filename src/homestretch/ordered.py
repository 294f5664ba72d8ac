"""How rewards order the same pairs of a better and a worse text, and what rewards of features look at."""

from __future__ import annotations

from pydantic import Field

from homestretch.results import Comparison, Measured, Part

ACCURACY = "accuracy"
"""The metric of comparisons: share of pairs in the right order, ties counting half."""
LENGTH = "length"
"""The baseline that calls the longer text the better one."""


class Claim(Part):
    """Pairs of whose order a reward is about as sure: the mean of what it claims, 0.5 to 1, and the share that is
    right."""

    claimed: float = Field(ge=0, le=1)
    right: Measured


class Agreement(Part):
    """How one reward orders the pairs."""

    accuracy: Measured
    """Share in the right order, ties counting half; `n` is the number of prompts."""
    nll: float | None = None
    """Mean of ln(1 + exp(worse - better)), ln 2 for a reward that says nothing; None where scores are no logits."""
    calibration: list[Claim] = []
    """From the least to the most sure, where scores are logits."""
    annotators: dict[str, Measured] = {}
    """Accuracy on the pairs of each `annotator`, where the rows name them."""


class Influence(Part):
    """What one feature does."""

    permutation: float
    """Accuracy lost when it is shuffled over all texts, mean over shuffles."""
    leave_one_out: float
    """Accuracy lost when it is set to its mean everywhere."""
    slope: float
    """Mean change of the reward, a logit, when it grows by a tenth of its range and the others stay."""


class CurvePoint(Part):
    """Fits to the first pairs of an order, one an order, measured on pairs that were held out."""

    pairs: int = Field(ge=1)
    accuracy: list[float]
    """Of each order, ties counting half."""
    nll: list[float]


class FitRecord(Part):
    """What `fit.json` of a reward of features says about its making."""

    pairs: dict[str, int] = {}
    """Pairs that it was fitted to (`train`) and measured on (`validation`)."""
    dead_starts: int = 0
    """Starts that ended constant and were thrown away."""
    remarks: list[str] = []
    """Sentences about the pairs and the features."""
    curve: list[CurvePoint] = []
    """What fewer pairs would have given."""


class Explanation(Part):
    """What a reward of features looks at."""

    accuracy: float
    """On the pairs that it is explained on, ties counting half."""
    influence: dict[str, Influence]
    """By feature, in the order of their names."""
    at: list[float]
    """Places in a feature's range, 0 to 1."""
    partial_dependence: dict[str, list[float]]
    """Mean reward of all texts, a logit, with one feature set to each of those places."""
    correlation: list[list[float]]
    """Pearson's r between features over all texts, rows and columns in the order of their names."""
    fit: FitRecord | None = None


class Disagreement(Part):
    """A pair that a reward orders the other way."""

    where: str
    margin: float
    """Score of the better text minus that of the worse one."""
    prompt: str
    chosen: str
    rejected: str
    annotator: str | None = None
    features: dict[str, tuple[float, float]] = {}
    """Of the better and the worse text, as shares of their ranges."""


class Ordered(Part):
    """Rewards beside each other, and beside what is simpler, on the same pairs."""

    data: str
    pairs: int
    held_out: bool
    """Whether these are the pairs that `reward fit` on the same data does not fit to."""
    rewards: dict[str, Agreement]
    baselines: dict[str, Agreement] = {}
    """Length, and each reward's features alone (`REWARD.FEATURE`) and their plain mean (`REWARD, mean`)."""
    comparisons: list[Comparison] = []
    """Of accuracy: every two rewards, and each reward with length."""
    explanations: dict[str, Explanation] = {}
    """Of the rewards that are computed from features."""
    disagreements: list[Disagreement] = []
    """Pairs that the first reward orders the other way, those first of which it is the surest."""
