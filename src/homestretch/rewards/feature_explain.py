"""What a reward of features looks at: how much worse it orders pairs without a feature, and how it answers to one.

permutation    accuracy lost when one feature is shuffled over all texts, mean over shuffles
leave-one-out  accuracy lost when one feature is set to its mean everywhere
slope          mean change of phi when one feature grows by 0.1 of its range, others as they are
correlation    Pearson's r between features over all texts: where it is high, influence is shared arbitrarily
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from homestretch.config.features import FeaturesConfig
from homestretch.ordered import Explanation, Influence
from homestretch.rewards.feature_fit import measured
from homestretch.rewards.features import FeatureNet
from homestretch.seeds import fold

SHUFFLES = 20
STEP = 0.1
POINTS = 5


@torch.no_grad()
def explanation(config: FeaturesConfig, net: FeatureNet, chosen_NF: Tensor, rejected_NF: Tensor) -> Explanation:
    """Influence of each feature by name, partial dependence, and correlations, on N pairs of scaled features."""
    names = sorted(config.features)
    both_MF = torch.cat([chosen_NF, rejected_NF])
    accuracy = _accuracy(net, both_MF)
    influence = {
        name: Influence(
            permutation=accuracy - _shuffled(net, both_MF, column, config.seed),
            leave_one_out=accuracy - _accuracy(net, _put(both_MF, column, both_MF[:, column].mean())),
            slope=float((net(_put(both_MF, column, both_MF[:, column] + STEP)) - net(both_MF)).mean()),
        )
        for column, name in enumerate(names)
    }
    grid = torch.linspace(0, 1, POINTS)
    return Explanation(
        accuracy=accuracy,
        influence=influence,
        at=grid.tolist(),
        partial_dependence={
            name: [float(net(_put(both_MF, column, at)).mean()) for at in grid] for column, name in enumerate(names)
        },
        correlation=_correlation(both_MF),
    )


def _accuracy(net: FeatureNet, both_MF: Tensor) -> float:
    return measured(*net(both_MF).chunk(2)).accuracy_ties_half


def _shuffled(net: FeatureNet, both_MF: Tensor, column: int, seed: int) -> float:
    generator = torch.Generator().manual_seed(fold("permutation", seed, column))
    orders = [torch.randperm(len(both_MF), generator=generator) for _ in range(SHUFFLES)]
    return float(np.mean([_accuracy(net, _put(both_MF, column, both_MF[order, column])) for order in orders]))


def _put(both_MF: Tensor, column: int, values: Tensor) -> Tensor:
    changed = both_MF.clone()
    changed[:, column] = values
    return changed


def _correlation(both_MF: Tensor) -> list[list[float]]:
    if both_MF.shape[1] == 1:
        return [[1.0]]
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant feature correlates with nothing
        return np.nan_to_num(np.corrcoef(both_MF.numpy(), rowvar=False)).tolist()
