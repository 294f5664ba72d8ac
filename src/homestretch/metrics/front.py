"""Models along a trade-off: which of them no other beats in everything, and how much they cover together.

    i dominates j   v_ik >= v_jk for every objective k, and > for one
    front           the points that no other dominates
    hypervolume     volume of the union of the boxes between a reference point and each point, in the units of the
                    objectives multiplied; points that are not above the reference in everything add nothing

(Zitzler and Thiele 1998, "Multiobjective optimization using evolutionary algorithms".) Larger is better everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from homestretch.metrics.base import Floats
from homestretch.metrics.stats import percentile_interval


class Covered(NamedTuple):
    """`members` (M,) are True on the front; the hypervolume is that above `reference` (K,), with its interval."""

    members: list[bool]
    reference: list[float]
    hypervolume: float
    low: float
    high: float


def covered(value_MK: Floats, draws_RMK: Floats) -> Covered:
    """The front of M points in K objectives, with R bootstrap samples of the same.

    The reference point is the least value of each objective among the points, so that the volume compares sets of
    points only where that point is the same.
    """
    reference_K = value_MK.min(0)
    volumes = np.array([hypervolume(draw_MK, reference_K) for draw_MK in draws_RMK])
    low, high = percentile_interval(volumes)
    members = nondominated(value_MK).tolist()
    return Covered(members, reference_K.tolist(), hypervolume(value_MK, reference_K), float(low), float(high))


def nondominated(value_MK: Floats) -> np.ndarray:
    """True (M,) for the points that no other dominates; equal points do not dominate each other."""
    above_MM = (value_MK[:, None] >= value_MK[None]).all(-1) & (value_MK[:, None] > value_MK[None]).any(-1)
    return np.asarray(~above_MM.any(0))


def hypervolume(value_MK: Floats, reference_K: Floats) -> float:
    """Volume that the points cover above the reference; slices along the last objective, from the top down."""
    edge_MK = value_MK - reference_K
    edge_MK = edge_MK[(edge_MK > 0).all(1)]
    if not len(edge_MK):
        return 0.0
    if edge_MK.shape[1] == 1:
        return float(edge_MK.max())
    order = np.argsort(-edge_MK[:, -1], kind="stable")
    heights = [*edge_MK[order, -1], 0.0]
    zero = np.zeros(edge_MK.shape[1] - 1)
    slices = (
        (heights[i] - heights[i + 1]) * hypervolume(edge_MK[order[: i + 1], :-1], zero)
        for i in range(len(order))
        if heights[i] > heights[i + 1]
    )
    return float(sum(slices))
