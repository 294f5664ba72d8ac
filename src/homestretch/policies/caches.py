"""Keys and values of rows that are being decoded: cast, dropped, joined and counted, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad as zeros_around
from transformers import DynamicCache


def cast(cache: DynamicCache, dtype: torch.dtype) -> None:
    """Keys and values in another type."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys.to(dtype), layer.values.to(dtype)


def narrow(cache: DynamicCache, columns: slice) -> None:
    """Only these columns."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[..., columns, :], layer.values[..., columns, :]


def join(cache: DynamicCache, other: DynamicCache, *, padding: str) -> None:
    """The rows of another cache behind these; the narrower ones get padding in front or behind."""
    for mine, theirs in zip(cache.layers, other.layers, strict=True):
        mine.keys = stacked(mine.keys, theirs.keys, padding=padding)
        mine.values = stacked(mine.values, theirs.values, padding=padding)


def stacked(mine: Tensor, theirs: Tensor, *, padding: str) -> Tensor:
    """Rows (..., L, d) of two widths, one set behind the other, with zeros in front of or behind the narrower ones."""
    width = max(mine.shape[-2], theirs.shape[-2])

    def widened(rows: Tensor) -> Tensor:
        missing = width - rows.shape[-2]
        return zeros_around(rows, (0, 0, missing, 0) if padding == "front" else (0, 0, 0, missing))

    return torch.cat([widened(mine), widened(theirs)])


def stacked_masks(mine_BL: Tensor, theirs_BL: Tensor, *, padding: str) -> Tensor:
    """The same of two masks."""
    return stacked(mine_BL[..., None], theirs_BL[..., None], padding=padding).squeeze(-1)


def first_used(mask_BL: Tensor) -> int:
    """The first column that any row uses."""
    return int(mask_BL.any(0).long().argmax())


def nbytes(cache: DynamicCache) -> int:
    """Memory of the keys and values."""
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
