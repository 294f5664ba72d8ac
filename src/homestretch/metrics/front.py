"""Models along a trade-off: which of them no other beats in everything, and how much they cover together.

    i dominates j   v_ik >= v_jk for every objective k, and > for one
    front           the points that no other dominates
    hypervolume     volume of the union of the boxes between a reference point and each point, in the units of the
                    objectives multiplied; points that are not above the reference in everything add nothing

(Zitzler and Thiele 1998, "Multiobjective optimization using evolutionary algorithms".) Larger is better everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from homestretch.metrics.base import Floats
from homestretch.metrics.stats import percentile_interval


class Volume(NamedTuple):
    """A hypervolume with its 95 % interval."""

    value: float
    low: float
    high: float


class Covered(NamedTuple):
    """`members` (M,) are True on the front; the volumes are those above `reference` (K,): of all points, of those of
    each group, and of each group minus each other one."""

    members: list[bool]
    reference: list[float]
    volume: Volume
    groups: dict[str, Volume]
    differences: dict[tuple[str, str], Volume]


def covered(value_MK: Floats, draws_RMK: Floats, groups: Mapping[str, Sequence[int]] | None = None) -> Covered:
    """The front of M points in K objectives, with R bootstrap samples of the same; groups are indices of points.

    The reference point is the least value of each objective among the points, so that the volume compares sets of
    points only where that point is the same.
    """
    reference_K = value_MK.min(0)

    def volumes(points: Sequence[int]) -> tuple[float, Floats]:
        at = list(points)
        drawn_R = np.array([hypervolume(draw_MK[at], reference_K) for draw_MK in draws_RMK])
        return hypervolume(value_MK[at], reference_K), drawn_R

    def with_interval(value: float, drawn_R: Floats) -> Volume:
        low, high = percentile_interval(drawn_R)
        return Volume(value, float(low), float(high))

    made = {name: volumes(points) for name, points in (groups or {}).items()}
    return Covered(
        members=nondominated(value_MK).tolist(),
        reference=reference_K.tolist(),
        volume=with_interval(*volumes(range(len(value_MK)))),
        groups={name: with_interval(*volume) for name, volume in made.items()},
        differences={
            (a, b): with_interval(made[a][0] - made[b][0], made[a][1] - made[b][1]) for a, b in combinations(made, 2)
        },
    )


def nondominated(value_MK: Floats) -> np.ndarray:
    """True (M,) for the points that no other dominates; equal points do not dominate each other."""
    above_MM = (value_MK[:, None] >= value_MK[None]).all(-1) & (value_MK[:, None] > value_MK[None]).any(-1)
    return np.asarray(~above_MM.any(0))


def hypervolume(value_MK: Floats, reference_K: Floats) -> float:
    """Volume that the points cover above the reference, in two objectives or more; slices along the last one, from the
    top down."""
    edge_MK = value_MK - reference_K
    edge_MK = edge_MK[(edge_MK > 0).all(1)]
    if not len(edge_MK):
        return 0.0
    if edge_MK.shape[1] > 2:
        edge_MK = edge_MK[nondominated(edge_MK)]
    edge_MK = edge_MK[np.argsort(-edge_MK[:, -1], kind="stable")]
    if edge_MK.shape[1] == 2:
        below_M = np.maximum.accumulate(edge_MK[:, 0])
    else:
        zero = np.zeros(edge_MK.shape[1] - 1)
        below_M = np.array([hypervolume(edge_MK[: i + 1, :-1], zero) for i in range(len(edge_MK))])
    return float(-np.diff(edge_MK[:, -1], append=0.0) @ below_M)
