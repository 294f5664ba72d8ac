"""Masked averages, with the denominator as an argument.

    token       L = sum_bt m_bt l_bt / D,                       D = sum_bt m_bt                          (1)
    sequence    L = sum_b (sum_t m_bt l_bt / sum_t m_bt) / D,   D = number of rows                       (2)

D belongs to the whole optimiser batch. Parts of the batch, each aggregated with the D of the whole, sum to the whole;
hence a loss does not depend on how a batch was cut into micro-batches.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Average = Literal["token", "sequence"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Scalar mean of `values` where `mask` is 1, both of one shape; 0 where nothing is. Other entries may be NaN."""
    return _kept(values, mask).sum() / mask.bool().sum().clamp(min=1)


def denominator(mask: Tensor, average: Average) -> Tensor:
    """Integer scalar D of eq. 1 or 2 for a mask (B, T) or (B,); those of parts add up to that of the whole."""
    if average == "token":
        return mask.bool().sum()
    return torch.tensor(len(mask), device=mask.device)


def aggregate(terms: Tensor, mask: Tensor, *, average: Average, denominator: Tensor | float) -> Tensor:
    """Scalar of eq. 1 (`average="token"`) or eq. 2 (`"sequence"`).

    terms, mask   (B, T), or (B,) for one term a sequence; entries where the mask is 0 may be NaN
    denominator   D of the whole optimiser batch, of which `terms` may be a part

    A row whose mask is empty adds 0 and still counts as a row of eq. 2. The result is 0 where D is 0.
    """
    kept = _kept(terms, mask)
    if average == "sequence":
        within_row = tuple(range(1, mask.dim()))
        kept = kept.sum(within_row) / mask.bool().sum(within_row).clamp(min=1) if within_row else kept
    total = torch.as_tensor(denominator, device=terms.device)
    return kept.sum() / torch.where(total == 0, torch.ones_like(total), total)


def whiten(values: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """(values - mean) / (std + eps) with mean and population standard deviation over the valid entries; 0 elsewhere.

    `values` and `mask` have one shape. Meant for constants such as advantages.
    """
    centred = _kept(values - masked_mean(values, mask), mask)
    std = masked_mean(centred.square(), mask).sqrt()
    return centred / (std + eps)


def _kept(values: Tensor, mask: Tensor) -> Tensor:
    # a product would let a NaN under the mask through
    return torch.where(mask.bool(), values, torch.zeros((), dtype=values.dtype, device=values.device))
