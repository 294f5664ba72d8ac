"""Hypothesis strategies of ragged batches, for the tests of tensor functions."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor


@st.composite
def ragged(draw: st.DrawFn, *, min_length: int = 0, max_rows: int = 5, max_width: int = 6) -> tuple[Tensor, list[int]]:
    """(values (B, T) in float64, lengths): NaN stands behind each row's length, so that a dropped mask shows."""
    lengths = draw(st.lists(st.integers(min_length, max_width), min_size=1, max_size=max_rows))
    width = max(lengths) + draw(st.integers(0, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    values = torch.randn(len(lengths), width, generator=generator, dtype=torch.float64)
    for row, length in enumerate(lengths):
        values[row, length:] = torch.nan
    return values, lengths


def rows_of(values: Tensor, lengths: list[int]) -> list[list[float]]:
    """The valid entries of each row."""
    return [row[:length].tolist() for row, length in zip(values, lengths, strict=True)]


def mask_of(values: Tensor, lengths: list[int]) -> Tensor:
    """(B, T) mask of those entries."""
    return torch.tensor([[int(t < length) for t in range(values.shape[1])] for length in lengths]).reshape(values.shape)
