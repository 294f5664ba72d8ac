"""How scores order pairs of a better and a worse text: share in the right order, likelihood, calibration.

    right         1 where the better text has the larger score, 1/2 where both have the same, else 0
    accuracy      mean of right over the pairs of a prompt, then over prompts; Wilson's interval over prompts
    nll           mean of ln(1 + exp(worse - better)) over pairs; ln 2 for scores that say nothing
    calibration   pairs by what is claimed of the order that the scores give, c = 1 / (1 + exp(-|better - worse|)),
                  cut at 0.6, 0.7, 0.8 and 0.9: mean c beside the share that is right
    lead          difference of two accuracies: intervals from resampling prompts, p-values from random signs

nll and calibration are for scores whose differences are log-odds, as those of a Bradley-Terry model are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from homestretch.metrics.base import Floats
from homestretch.metrics.stats import cluster_means, paired_bootstrap, paired_permutation, wilson
from homestretch.ordered import ACCURACY, Agreement, Claim
from homestretch.results import Comparison, Measured

CUTS = (0.6, 0.7, 0.8, 0.9)


def right_order(better_N: ArrayLike, worse_N: ArrayLike) -> Floats:
    """`right` of N pairs."""
    margin_N = np.asarray(better_N, dtype=np.float64) - np.asarray(worse_N, dtype=np.float64)
    return (margin_N > 0) + 0.5 * (margin_N == 0)


def accuracy(right_N: Floats, prompts: Sequence[str]) -> Measured:
    """Share of pairs in the right order; `prompts` say which pairs belong together."""
    own_P = cluster_means(right_N, prompts)
    return Measured(**wilson(float(own_P.sum()), len(own_P))._asdict(), n=len(own_P))


def lead(a: str, b: str, right: Mapping[str, Floats], prompts: Sequence[str], *, seed: int = 0) -> Comparison:
    """Accuracy of `a` minus that of `b` on the same pairs."""
    a_P, b_P = (cluster_means(right[name], prompts) for name in (a, b))
    difference, low, high = paired_bootstrap(a_P, b_P, seed=seed)
    p_value = paired_permutation(a_P, b_P, seed=seed)
    return Comparison(a=a, b=b, metric=ACCURACY, difference=difference, low=low, high=high, p_value=p_value, n=len(a_P))


def agreement(
    better_N: ArrayLike,
    worse_N: ArrayLike,
    prompts: Sequence[str],
    *,
    log_odds: bool,
    annotators: Sequence[str | None] = (),
) -> Agreement:
    """How scores order N pairs; `log_odds` says that their differences are. `annotators`: who ordered each pair, None
    where nobody is named."""
    right_N = right_order(better_N, worse_N)
    margin_N = np.asarray(better_N, dtype=np.float64) - np.asarray(worse_N, dtype=np.float64)
    return Agreement(
        accuracy=accuracy(right_N, prompts),
        nll=float(np.logaddexp(0, -margin_N).mean()) if log_odds else None,
        calibration=calibration(margin_N) if log_odds else [],
        annotators=_by_annotator(right_N, prompts, annotators),
    )


def _by_annotator(right_N: Floats, prompts: Sequence[str], annotators: Sequence[str | None]) -> dict[str, Measured]:
    places: dict[str, list[int]] = {}
    for i, name in enumerate(annotators):
        if name is not None:
            places.setdefault(name, []).append(i)
    return {name: accuracy(right_N[at], [prompts[i] for i in at]) for name, at in sorted(places.items())}


def calibration(margin_N: Floats) -> list[Claim]:
    """Claims beside what came true, for pairs with these margins (logits, better minus worse)."""
    claim_N = 1 / (1 + np.exp(-np.abs(margin_N)))
    right_N = right_order(margin_N, np.zeros_like(margin_N))
    place_N = np.searchsorted(CUTS, claim_N, side="right")
    return [
        Claim(
            claimed=float(claim_N[at].mean()),
            right=Measured(**wilson(float(right_N[at].sum()), int(at.sum()))._asdict(), n=int(at.sum())),
        )
        for place in range(len(CUTS) + 1)
        if (at := place_N == place).any()
    ]
