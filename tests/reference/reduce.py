"""Averages over the valid entries of ragged rows: each row is a list of its valid entries only."""

import math


def token_mean(rows: list[list[float]]) -> float:
    """Mean over all entries of all rows."""
    entries = [x for row in rows for x in row]
    return sum(entries) / len(entries) if entries else 0.0


def sequence_mean(rows: list[list[float]]) -> float:
    """Mean over rows of each row's mean, an empty row being 0."""
    return sum(sum(row) / len(row) if row else 0.0 for row in rows) / len(rows)


def whiten(rows: list[list[float]], eps: float) -> list[list[float]]:
    """Entries minus their common mean, over the population standard deviation plus eps."""
    mean = token_mean(rows)
    variance = token_mean([[(x - mean) ** 2 for x in row] for row in rows])
    return [[(x - mean) / (math.sqrt(variance) + eps) for x in row] for row in rows]
