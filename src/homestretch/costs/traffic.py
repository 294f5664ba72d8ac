"""Bytes that each of R processes sends and receives, as rings do it.

    all-gather, reduce-scatter of n bytes    (R - 1) / R  n                                              (1)
    sum of n bytes in every process          2 (R - 1) / R  n                                            (2)

A sum is both of (1), one after the other (Patarasu and Yuan, 2009).
"""

from __future__ import annotations

from homestretch.costs.shape import Shape, trained

FLOAT = 4
TEXT = 23
"""Bytes of a token of a rollout on its way: its id, its log-probability and its value, pickled (3 to 5, 9, 9)."""


def gathering(size: float, ranks: int) -> float:
    """An all-gather or a reduce-scatter of `size` bytes (eq. 1)."""
    return size * (ranks - 1) / ranks


def summing(size: float, ranks: int) -> float:
    """A sum of `size` bytes that every process knows in the end (eq. 2)."""
    return 2 * gathering(size, ranks)


def update_traffic(
    shape: Shape, rank: int | None, ranks: int, *, sharded: bool = False, passes: int = 1, width: int = FLOAT
) -> float:
    """Bytes of one optimiser step.

    Whole weights: gradients of what learns are summed once, in float32. Sharded ones, of `width` bytes, are gathered
    forwards and backwards in each of the `passes` of a process; their gradients, if they learn, are scattered in each.
    """
    gradients = FLOAT * trained(shape, rank)
    if not sharded:
        return summing(gradients, ranks)
    weights = passes * 2 * gathering(width * shape.parameters, ranks)
    return weights + (passes * gathering(gradients, ranks) if rank is None else summing(gradients, ranks))


def pass_traffic(shape: Shape, ranks: int, *, passes: int, width: int = FLOAT) -> float:
    """Bytes of passes without gradients over sharded weights, or of decoding, which gathers them once."""
    return passes * gathering(width * shape.parameters, ranks)


def text_traffic(samples: float, answer: float, ranks: int) -> float:
    """Bytes of a round's texts, which every process learns."""
    return gathering(TEXT * samples * answer, ranks)
